import type { Page, PageOptions } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { createPageToken, parsePageToken } from "./page-token.ts";

export interface PageRequest {
  readonly prefix: string;
  /** 0: the default. */
  readonly maxResults: number;
  /** "": the first page. */
  readonly nextToken: string;
  /** Starts after this name instead, for protocols whose pages go on so. */
  readonly after?: string;
}

export interface PageResult<Item> {
  readonly items: readonly Item[];
  /** "" on the last page. */
  readonly nextToken: string;
}

/**
 * One page of a list. `what` says what is listed, with every parameter that must stay the same from page to page;
 * `nameOf` is what the list is ordered by.
 */
export async function listPage<Item, Result extends Page<Item>>(
  what: readonly unknown[],
  request: PageRequest,
  read: (options: PageOptions) => Promise<Result>,
  nameOf: (item: Item) => string,
): Promise<Result & PageResult<Item>> {
  return listPageAfter(what, request, async (options) => {
    const page = await read(options);
    const last = page.items.at(-1);
    return { ...page, next: page.more && last !== undefined ? nameOf(last) : undefined };
  });
}

/** As listPage, for lists that tell what to go on after; a page of them may be empty though more follow. */
export async function listPageAfter<Item, Result extends Page<Item> & { readonly next: string | undefined }>(
  what: readonly unknown[],
  request: PageRequest,
  read: (options: PageOptions) => Promise<Result>,
): Promise<Result & PageResult<Item>> {
  const { prefix, maxResults } = request;
  if (maxResults > LIMITS.listPageMax) {
    throw invalidField("max_results", `Must be 1 to ${LIMITS.listPageMax}, got ${maxResults}`);
  }
  const bound = [...what, prefix];
  const after = request.after ?? parsePageToken(bound, request.nextToken);
  const page = await read({ prefix, after, maxResults: maxResults || LIMITS.listPageDefault });
  return { ...page, nextToken: page.next === undefined ? "" : createPageToken(bound, page.next) };
}
