import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Turns, takeTurns } from "../../src/service/turns.ts";

const CALLERS = 20;
const ITEMS = 5;
/** Longer than a turn. */
const WORK_MS = 12;

test("other work has its turn between the items of many callers", async () => {
  const turns = new Turns();
  let running = true;
  let othersTurns = 0;
  const other = (async () => {
    for (; running; othersTurns++) await setImmediate();
  })();
  const callers = Array.from({ length: CALLERS }, async () => {
    const seen: number[] = [];
    for await (const item of takeTurns(items(), turns)) {
      const end = performance.now() + WORK_MS;
      while (performance.now() < end);
      seen.push(item);
    }
    return seen;
  });
  for (const seen of await Promise.all(callers)) assert.deepEqual(seen, [0, 1, 2, 3, 4]);
  running = false;
  await other;
  assert.ok(othersTurns >= (CALLERS * ITEMS) / 2, `Other work had ${othersTurns} turns`);
});

test("short work does not wait for turns of its own", async () => {
  const turns = new Turns();
  let waited = 0;
  for (let i = 0; i < 1_000; i++) {
    const before = performance.now();
    const next = turns.next();
    let isOver = false;
    next.then(() => {
      isOver = true;
    });
    await Promise.resolve();
    await Promise.resolve();
    if (!isOver) waited++;
    await next;
    if (performance.now() - before > 1_000) assert.fail("A turn took a second");
  }
  assert.ok(waited < 500, `${waited} of 1,000 waited`);
});

test("an end is handed on while an item is awaited, and so is a failure", async () => {
  const waiting: AsyncIterable<number> & { ended: boolean } = {
    ended: false,
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: async () => {
        waiting.ended = true;
        return { done: true, value: undefined };
      },
    }),
  };
  const iterator = takeTurns(waiting, new Turns())[Symbol.asyncIterator]();
  iterator.next();
  await iterator.return?.();
  assert.equal(waiting.ended, true);

  const failing = (async function* () {
    yield 1;
    throw new Error("broken");
  })();
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const item of takeTurns(failing, new Turns())) seen.push(item);
  }, /broken/);
  assert.deepEqual(seen, [1]);
});

async function* items(): AsyncGenerator<number> {
  for (let i = 0; i < ITEMS; i++) yield i;
}
