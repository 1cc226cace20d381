import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { QuiverError } from "../../src/errors.ts";
import { gunzip } from "../../src/rpc/gunzip.ts";
import { createMemoryBudget } from "../../src/rpc/memory-budget.ts";

const MIB = 1024 * 1024;

test("bodies are unpacked one at a time, and counted while they are", async () => {
  const packed = gzipSync(Buffer.alloc(MIB));
  const turns: number[] = [];
  const sizes = await Promise.all(
    [0, 1, 2].map(async (call) => (await gunzip(packed, (bytes) => bytes > 0 && turns.push(call))).length),
  );
  assert.deepEqual(sizes, [MIB, MIB, MIB]);
  assert.deepEqual(turns, turns.toSorted(), "pieces of different bodies came in turns");
  assert.ok(turns.length >= 3 * 8, `${turns.length} pieces`);
});

test("a body whose pieces are refused is not unpacked further, and does not hold up the next", async () => {
  const packed = gzipSync(Buffer.alloc(100 * MIB));
  let counted = 0;
  const refused = gunzip(packed, (bytes) => {
    counted += bytes;
    if (counted > MIB) throw new QuiverError("MEMORY_FULL", "Full");
  });
  const next = gunzip(gzipSync("next"), () => {});
  await assert.rejects(refused, { reason: "MEMORY_FULL" });
  assert.ok(counted < 2 * MIB, `${counted} bytes`);
  assert.equal(String(await next), "next");
});

test("what a call takes after its end is refused, and never missing from the budget", () => {
  const budget = createMemoryBudget({ what: "Requests", maxBytes: 10 });
  const lease = budget.open();
  lease.reserve(6);
  lease.close();
  assert.throws(() => lease.reserve(6), { reason: "CANCELLED" });
  lease.take(20);
  budget.open().reserve(10);
  assert.throws(() => budget.open().reserve(1), { reason: "MEMORY_FULL" });
});
