import assert from "node:assert/strict";
import { test } from "node:test";
import type { PageOptions } from "../../src/engine/engine.ts";
import { onlyAllowed } from "../../src/service/access/only-allowed.ts";
import { LIMITS } from "../../src/service/limits.ts";

const NAMES = Array.from({ length: 10 * LIMITS.listPageMax }, (_, i) => `${i}`.padStart(6, "0"));

function readerOf(isAllowed: (name: string) => boolean) {
  let reads = 0;
  const read = async ({ after, maxResults }: PageOptions) => {
    reads++;
    const start = after === undefined ? 0 : NAMES.findIndex((name) => name > after);
    const items = NAMES.slice(start, start + maxResults);
    return { items, more: start + items.length < NAMES.length };
  };
  const page = onlyAllowed(
    read,
    (name) => name,
    async (name) => isAllowed(name),
  );
  return { page, reads: () => reads };
}

test("a short page of a list that is mostly hidden takes few reads, and others have their turns between them", async () => {
  const { page, reads } = readerOf(() => false);
  let turns = 0;
  const count = () => {
    turns++;
    ticking = setImmediate(count);
  };
  let ticking = setImmediate(count);
  assert.deepEqual(await page({ prefix: "", after: undefined, maxResults: 1 }), { items: [], more: false });
  clearImmediate(ticking);
  assert.equal(reads(), NAMES.length / LIMITS.listPageMax);
  assert.ok(turns >= reads() - 1, `${turns} turns`);
});

test("pages hold what is allowed, each name once, and no more than is wanted", async () => {
  const isAllowed = (name: string) => Number(name) % 700 === 3;
  const { page } = readerOf(isAllowed);
  const seen: string[] = [];
  let after: string | undefined;
  for (;;) {
    const { items, more } = await page({ prefix: "", after, maxResults: 4 });
    seen.push(...items);
    after = items.at(-1);
    if (!more) break;
    assert.equal(items.length, 4);
  }
  assert.deepEqual(seen, NAMES.filter(isAllowed));
});
