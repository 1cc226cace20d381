import { invalidField, quote } from "../../errors.ts";

/** A query string as ProtoJSON: what is asked for by its names, `ids` as a list and `limit` as a number. */
export function queryFields(query: string): Readonly<Record<string, unknown>> {
  const given = new URLSearchParams(query);
  const limit = given.get("limit");
  return {
    ids: given.getAll("ids"),
    prefix: given.get("prefix"),
    namespace: given.get("namespace"),
    paginationToken: given.get("paginationToken"),
    limit: limit === null ? null : toNumber(limit),
  };
}

function toNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalidField("limit", `Must be an integer, got ${quote(text)}`);
}
