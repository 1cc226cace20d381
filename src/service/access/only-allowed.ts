import { setImmediate } from "node:timers/promises";
import type { Page, PageOptions } from "../../engine/engine.ts";
import { LIMITS } from "../limits.ts";

/**
 * Reads pages of what the caller may see. Goes on until a page is full, so that neither its length nor where the next one
 * starts tells of what is left out. Reads long pages, however short the wanted one is.
 */
export function onlyAllowed<Item>(
  read: (options: PageOptions) => Promise<Page<Item>>,
  nameOf: (item: Item) => string,
  isAllowed: (item: Item) => Promise<boolean>,
): (options: PageOptions) => Promise<Page<Item>> {
  return async (options) => {
    const items: Item[] = [];
    let { after } = options;
    for (;;) {
      const page = await read({ ...options, after, maxResults: LIMITS.listPageMax });
      for (const item of page.items) {
        if (!(await isAllowed(item))) continue;
        if (items.length === options.maxResults) return { items, more: true };
        items.push(item);
      }
      const last = page.items.at(-1);
      if (!page.more || last === undefined) return { items, more: false };
      after = nameOf(last);
      // There may be much that is left out, and other calls have their turn.
      await setImmediate();
    }
  };
}
