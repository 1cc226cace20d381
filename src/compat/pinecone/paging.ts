import type { PageResult } from "../../service/listing.ts";
import type { JsonFields } from "../json-fields.ts";
import { orIfAbsent } from "./absent-namespace.ts";
import { PINECONE_LIMITS } from "./limits.ts";

/** Where to go on; absent on the last page. */
export function pagination({ nextToken }: { readonly nextToken: string }) {
  return nextToken === "" ? {} : { pagination: { next: nextToken } };
}

/** "": the first page. */
export function tokenOf(fields: JsonFields): string {
  return fields.string("paginationToken") ?? "";
}

interface Paging {
  readonly limit: number;
  readonly token: string;
}

/** Pages that are read for one answer, each of at most 1 MiB. */
const PAGES_MAX = 10;

/** A page of `limit` items from shorter ones; it is shorter itself where they are too many. */
export async function gather<Item>(
  { limit, token }: Paging,
  read: (page: { maxResults: number; nextToken: string }) => Promise<PageResult<Item>>,
): Promise<PageResult<Item>> {
  const items: Item[] = [];
  let nextToken = token;
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const maxResults = Math.min(limit - items.length, PINECONE_LIMITS.listMax);
    const page = await orIfAbsent(read({ maxResults, nextToken }), { items: [], nextToken: "" });
    items.push(...page.items);
    nextToken = page.nextToken;
    if (nextToken === "" || items.length === limit) break;
  }
  return { items, nextToken };
}
