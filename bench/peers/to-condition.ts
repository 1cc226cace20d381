import type { Equals } from "./peer.ts";

/** The filter in SQL: `tag = 'tag-3'`. */
export function toCondition({ field, value }: Equals): string {
  return `${field} = ${typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : value}`;
}
