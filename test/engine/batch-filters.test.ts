import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Query } from "../../src/engine/engine.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const VECTORS = 20_000;
const QUERIES = 100;
const partition = { bucket: "b", index: "i", namespace: "" };

test("a batch with many filters lets other work have its turn between them", async (t) => {
  const engine = await openEmbeddedEngine({ path: temporaryDirectory(), onBackgroundError: assert.fail });
  t.after(() => engine.close());
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  await engine.createIndex({
    bucket: "b",
    index: "i",
    createdAt: 1,
    dimension: 1,
    distanceMetric: "euclidean",
    nonFilterableMetadataKeys: [],
    m: 2,
    efConstruction: 8,
    deletionProtection: false,
    tags: {},
  });
  for (let from = 0; from < VECTORS; from += 1_000) {
    const vectors = Array.from({ length: 1_000 }, (_, i) => ({
      key: `${from + i}`,
      data: Float32Array.of(from + i),
      metadata: { n: from + i },
    }));
    await engine.putVectors(partition, vectors);
  }
  const queries = Array.from({ length: QUERIES }, (_, i) => queryWithin(i));

  let running = true;
  let longestMs = 0;
  const watch = (async () => {
    for (let at = performance.now(); running; ) {
      await setImmediate();
      longestMs = Math.max(longestMs, performance.now() - at);
      at = performance.now();
    }
  })();
  const start = performance.now();
  const { results } = await engine.batchQueryVectors(partition, queries, { maxBytes: 1 });
  const tookMs = performance.now() - start;
  running = false;
  await watch;
  t.diagnostic(`${tookMs.toFixed()} ms, other work waited at most ${longestMs.toFixed()} ms`);
  assert.ok(results.every((result) => "vectors" in result && result.vectors.length === 0));
  assert.ok(longestMs < tookMs * 0.6, `Other work waited ${longestMs} ms of ${tookMs} ms`);
});

/** Matches nothing, so that the batch is all filters; each is another one, and costly. */
function queryWithin(i: number): Query {
  const filters = Array.from({ length: 200 }, (_, j) => ({
    kind: "not" as const,
    filter: { kind: "range" as const, key: "n", bounds: { gte: -1 - i - j } },
  }));
  return {
    target: { kind: "vector", data: Float32Array.of(0) },
    topK: 1,
    search: { kind: "exact" },
    filter: { kind: "and", filters },
    projection: { data: false, metadata: false },
  };
}
