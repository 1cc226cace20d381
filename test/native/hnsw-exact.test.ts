import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createGraph, type Metric, type SearchResults } from "../../native/hnsw.ts";
import { distance } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { bitmapOf, concatenate, resultsOf, sequence } from "./hnsw-data.ts";

const metrics: readonly Metric[] = ["cosine", "euclidean", "dot_product"];
const dimensions = [...sequence(33).map((i) => i + 1), 63, 64, 65, 100, 127, 128, 129, 384, 768, 1536];

/** Checks results against the definition in float64: every distance, and that nothing eligible was left out. */
function assertNearest(
  results: SearchResults,
  vectors: ReadonlyMap<number, Float32Array>,
  queries: readonly Float32Array[],
  metric: Metric,
  k: number,
): void {
  for (const [i, query] of queries.entries()) {
    const expected = new Map([...vectors].map(([ordinal, vector]) => [ordinal, distance(metric, query, vector)]));
    const nearest = [...expected.values()].sort((a, b) => a - b).slice(0, k);
    const found = resultsOf(results, i);
    assert.equal(found.length, nearest.length);
    assert.equal(new Set(found.map(({ ordinal }) => ordinal)).size, found.length);
    for (const [rank, hit] of found.entries()) {
      const own = expected.get(hit.ordinal);
      assert.ok(own !== undefined, `ordinal ${hit.ordinal} is not eligible`);
      assertNear(hit.distance, own);
      assertNear(hit.distance, nearest[rank] as number);
      const previous = found[rank - 1];
      assert.ok(!previous || previous.distance < hit.distance || previous.ordinal < hit.ordinal);
    }
  }
}

function assertNear(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-3 + 1e-5 * Math.abs(expected), `${actual} instead of ${expected}`);
}

for (const metric of metrics) {
  test(`An exact ${metric} search agrees with float64 in every dimension, with and without a bitmap`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    for (const dimension of dimensions) {
      const vectors = new Map(sequence(200).map((i) => [i * 3, random.vector(dimension)]));
      const graph = createGraph({ dimension, metric, efConstruction: 8 });
      graph.add(Uint32Array.from(vectors.keys()), concatenate([...vectors.values()]));
      await graph.build(120);
      const removed = [...vectors.keys()].filter(() => random.next() < 0.1);
      graph.remove(Uint32Array.from(removed));
      for (const ordinal of removed) vectors.delete(ordinal);
      const queries = sequence(3).map(() => random.vector(dimension));
      const allowed = new Map([...vectors].filter(() => random.next() < 0.4));
      for (const k of [1, 10, 500]) {
        const all = await graph.search(concatenate(queries), { k, exact: true });
        assertNearest(all, vectors, queries, metric, k);
        const some = await graph.search(concatenate(queries), { k, exact: true, allowed: bitmapOf(allowed.keys()) });
        assertNearest(some, allowed, queries, metric, k);
        assert.ok(all.exact.every((flag) => flag === 1));
        assert.ok(all.compared.every((count) => count === vectors.size));
        assert.ok(some.compared.every((count) => count === allowed.size));
      }
      graph.dispose();
    }
  });
}

test("Equal distances are ordered and cut off by ordinal", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const dimension = 4;
  const small = () => Float32Array.from({ length: dimension }, () => random.below(3) - 1);
  const vectors = sequence(500).map(small);
  const ordinals = sequence(500).sort(() => random.next() - 0.5);
  for (const metric of ["euclidean", "dot_product"] as const) {
    const graph = createGraph({ dimension, metric });
    graph.add(Uint32Array.from(ordinals), concatenate(vectors));
    await graph.build(300);
    for (let round = 0; round < 20; round++) {
      const query = small();
      const expected = ordinals
        .map((ordinal, i) => ({ ordinal, distance: distance(metric, query, vectors[i] as Float32Array) }))
        .sort((a, b) => a.distance - b.distance || a.ordinal - b.ordinal)
        .slice(0, 20);
      const found = resultsOf(await graph.search(query, { k: 20, exact: true }), 0);
      assert.deepEqual(
        found.map(({ ordinal }) => ordinal),
        expected.map(({ ordinal }) => ordinal),
      );
    }
    graph.dispose();
  }
});

test("A scan that is split over threads answers the same as a small one", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const dimension = 64;
  const vectors = sequence(60_000).map(() => Float32Array.from({ length: dimension }, () => random.below(5) - 2));
  const graph = createGraph({ dimension, metric: "euclidean", m: 2, efConstruction: 8 });
  graph.add(Uint32Array.from(vectors.keys()), concatenate(vectors));
  await graph.build(20_000);
  const queries = sequence(40).map(() => Float32Array.from({ length: dimension }, () => random.below(5) - 2));
  const batch = await graph.search(concatenate(queries), { k: 25, exact: true });
  for (const [i, query] of queries.entries()) {
    assert.deepEqual(resultsOf(batch, i), resultsOf(await graph.search(query, { k: 25, exact: true }), 0));
    if (i >= 3) continue;
    const expected = vectors
      .map((vector, ordinal) => ({ ordinal, distance: Math.fround(distance("euclidean", query, vector)) }))
      .sort((a, b) => a.distance - b.distance || a.ordinal - b.ordinal);
    assert.deepEqual(resultsOf(batch, i), expected.slice(0, 25));
  }
  graph.dispose();
});

test("Products that overflow do not disturb the order of the others", async () => {
  const graph = createGraph({ dimension: 2, metric: "dot_product" });
  graph.add(Uint32Array.of(1, 2, 3, 4), Float32Array.of(3e38, -3e38, 1, 1, 3e38, 3e38, 2, 2));
  for (let built = 0; built < 2; built++) {
    const results = await graph.search(Float32Array.of(3e38, 3e38), { k: 4 });
    assert.deepEqual([...results.ordinals], [2, 3, 4, 1]);
    assert.ok(results.distances.every((value) => !Number.isNaN(value)));
    await graph.build(10);
  }
  graph.dispose();
});

test("Vectors are normalised for cosine, however short or long they are", async () => {
  const graph = createGraph({ dimension: 3, metric: "cosine" });
  graph.add(Uint32Array.of(1, 2, 3), Float32Array.of(3e38, 3e38, 0, 1e-44, 0, 0, 0, 0, -7));
  const half = Math.fround(Math.SQRT1_2);
  assert.deepEqual([...(graph.get(1) ?? [])], [half, half, 0]);
  assert.deepEqual([...(graph.get(2) ?? [])], [1, 0, 0]);
  const results = await graph.search(Float32Array.of(0, 0, 1e-40), { k: 3 });
  assert.deepEqual([...results.ordinals], [1, 2, 3]);
  assert.deepEqual([...results.distances], [1, 1, 2]);
  graph.dispose();
});

for (const simd of process.env.QUIVER_SIMD ? [] : ["avx2", "generic"]) {
  test(`The ${simd} instructions compute the same distances`, () => {
    const env: NodeJS.ProcessEnv = { ...process.env, QUIVER_SIMD: simd };
    delete env.NODE_TEST_CONTEXT;
    const child = spawnSync(process.execPath, ["--test", fileURLToPath(import.meta.url)], { env, encoding: "utf8" });
    assert.equal(child.status, 0, child.stdout + child.stderr);
  });
}
