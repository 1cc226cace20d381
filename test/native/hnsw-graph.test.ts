import assert from "node:assert/strict";
import { test } from "node:test";
import { createGraph, type Graph, type Metric } from "../../native/hnsw.ts";
import { Random } from "../support/random.ts";
import { bitmapOf, clustered, concatenate, effort, recall, resultsOf, sequence } from "./hnsw-data.ts";

const dimension = 32;

async function built(random: Random, count: number, metric: Metric = "cosine"): Promise<[Graph, Float32Array]> {
  const graph = createGraph({ dimension, metric });
  const vectors = clustered(random, count, dimension);
  graph.add(Uint32Array.from(sequence(count)), vectors);
  assert.equal(await graph.build(count), count);
  return [graph, vectors];
}

for (const metric of ["cosine", "euclidean"] as const) {
  test(`A ${metric} graph search finds 95 % of the nearest at efSearch 100, with and without a filter`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const count = Math.max(effort, 2_000); // fewer are nearly all compared
    const [graph, vectors] = await built(random, count, metric);
    const queries = vectors.subarray(0, 200 * dimension).map((value) => value + 0.05 * (random.next() - 0.5));
    const half = bitmapOf(sequence(count).filter(() => random.next() < 0.5));
    const tenth = bitmapOf(sequence(count).filter(() => random.next() < 0.1));
    for (const [name, allowed] of Object.entries({ all: undefined, half, tenth })) {
      const filter = allowed ? { allowed } : {};
      const expected = await graph.search(queries, { k: 10, exact: true, ...filter });
      const found = await graph.search(queries, { k: 10, efSearch: 100, ...filter });
      const share = recall(expected, found);
      t.diagnostic(`recall of ${name}: ${share}`);
      assert.ok(share >= 0.95, `recall ${share}`);
      assert.ok(found.exact.every((flag) => flag === 0));
      assert.ok(allowed || found.compared.every((compared) => compared < count));
      for (const { ordinal } of allowed ? resultsOf(found, 0) : []) {
        assert.ok(((allowed?.[ordinal >> 5] ?? 0) >>> (ordinal & 31)) & 1);
      }
    }
    graph.dispose();
  });
}

test("A short search answers at once on the calling thread, and otherwise later, with the same results", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const [graph] = await built(random, 3_000);
  const query = clustered(random, 1, dimension);
  const many = concatenate(sequence(2_000).map(() => query));
  for (const options of [{ k: 7 }, { k: 7, allowed: bitmapOf(sequence(1_000)) }, { k: 7, exact: true }]) {
    const here = graph.searchHere(query, options);
    assert.ok("counts" in here, "a short search was handed over");
    assert.deepEqual(here, await graph.search(query, options));
    const long = graph.searchHere(many, options);
    assert.ok(long instanceof Promise, "a long search held the caller up");
    assert.deepEqual(resultsOf(await long, 1_999), resultsOf(here, 0));
  }
  await assert.rejects(async () => graph.searchHere(query, { k: 0 }), { code: "INVALID_ARGUMENT" });
  graph.add(Uint32Array.of(3_000), query);
  const building = graph.build(1);
  assert.equal(resultsOf(await graph.searchHere(query, { k: 1 }), 0)[0]?.ordinal, 3_000);
  await building;
  graph.dispose();
});

test("A batch answers as its queries do one by one", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const [graph] = await built(random, 3_000);
  graph.add(
    Uint32Array.from(sequence(100), (i) => 10_000 + i),
    clustered(random, 100, dimension),
  );
  const queries = clustered(random, 50, dimension);
  const allowed = bitmapOf(sequence(10_100).filter((ordinal) => ordinal % 3 === 0));
  for (const options of [{ k: 7 }, { k: 7, allowed }, { k: 7, exact: true }]) {
    const batch = await graph.search(queries, options);
    const singles = await Promise.all(
      sequence(50).map((i) => graph.search(queries.subarray(i * dimension, (i + 1) * dimension), options)),
    );
    for (const [i, single] of singles.entries()) {
      assert.deepEqual(resultsOf(batch, i), resultsOf(single, 0));
      assert.equal(batch.compared[i], single.compared[0]);
    }
  }
  graph.dispose();
});

test("A vector that a query leaves out is neither found nor walked through", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const [graph] = await built(random, 5_000);
  graph.add(
    Uint32Array.from(sequence(50), (i) => 6_000 + i),
    clustered(random, 50, dimension),
  );
  graph.remove(Uint32Array.from(sequence(100)));
  const without = Uint32Array.from([...sequence(50).map((i) => 100 + 90 * i), ...sequence(50).map((i) => 6_000 + i)]);
  const queries = concatenate(Array.from(without, (ordinal) => graph.get(ordinal) as Float32Array));
  const allowed = bitmapOf(sequence(6_050).filter((ordinal) => ordinal % 2 === 0));
  for (const filter of [{}, { allowed }]) {
    const all = await graph.search(queries, { k: 11, exact: true, ...filter });
    const exact = await graph.search(queries, { k: 10, exact: true, without, ...filter });
    const found = await graph.search(queries, { k: 10, efSearch: 1_000, without, ...filter });
    for (const [i, ordinal] of without.entries()) {
      const others = resultsOf(all, i).filter((hit) => hit.ordinal !== ordinal);
      assert.deepEqual(resultsOf(exact, i), others.slice(0, 10));
      assert.ok(resultsOf(found, i).every((hit) => hit.ordinal !== ordinal));
    }
    assert.ok(recall(exact, found) > 0.95);
    assert.ok(found.exact.every((flag) => flag === 0));
  }
  const everything = await graph.search(queries, { k: 4_950, efSearch: 4_950, without });
  assert.ok(everything.counts.every((count) => count === 4_949));
  // Dead and unknown ordinals leave nothing out.
  const one = queries.subarray(0, dimension);
  const plain = await graph.search(one, { k: 10 });
  for (const ordinal of [5, 5_999, 2 ** 32 - 1]) {
    const same = await graph.search(one, { k: 10, without: Uint32Array.of(ordinal) });
    assert.deepEqual(resultsOf(same, 0), resultsOf(plain, 0));
  }
  // Alone in its graph.
  const single = createGraph({ dimension, metric: "euclidean" });
  single.add(Uint32Array.of(3), one);
  await single.build(1);
  assert.equal((await single.search(one, { k: 1, without: Uint32Array.of(3) })).ordinals.length, 0);
  assert.equal((await single.search(one, { k: 1, without: Uint32Array.of(4) })).ordinals.length, 1);
  single.dispose();
  graph.dispose();
});

test("A query that spends its visit budget is answered by the exact scan", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const [graph] = await built(random, 5_000);
  graph.add(Uint32Array.of(9_000), clustered(random, 1, dimension));
  const queries = clustered(random, 20, dimension);
  const allowed = bitmapOf(sequence(9_001).filter((ordinal) => ordinal % 100 === 0));
  for (const filter of [{}, { allowed }]) {
    const expected = await graph.search(queries, { k: 5, exact: true, ...filter });
    const found = await graph.search(queries, { k: 5, visitBudget: 60, ...filter });
    assert.deepEqual([...found.exact], new Array(20).fill(1));
    assert.deepEqual(found.ordinals, expected.ordinals);
    assert.deepEqual(found.distances, expected.distances);
    const eligible = filter.allowed ? 51 : 5_001;
    const descent = 1_000; // above level 0, outside of the budget
    assert.ok(found.compared.every((compared) => compared > eligible && compared <= eligible + 60 + descent));
  }
  const enough = await graph.search(queries, { k: 5, visitBudget: 100_000 });
  assert.ok(enough.exact.every((flag) => flag === 0));
  graph.dispose();
});

test("Every query is answered in full when most of the vectors are gone", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const count = 4_000;
  const [graph, vectors] = await built(random, count);
  const live = new Set(sequence(count));
  for (const remaining of [200, 5, 0]) {
    const removed = [...live].slice(remaining);
    graph.remove(Uint32Array.from(removed));
    for (const ordinal of removed) live.delete(ordinal);
    for (const k of [1, 10, 300]) {
      const found = await graph.search(vectors.subarray(0, 30 * dimension), { k, efSearch: 10 });
      assert.ok(found.counts.every((results) => results === Math.min(k, live.size)));
      assert.ok(found.ordinals.every((ordinal) => live.has(ordinal)));
    }
  }
  const { indexed, deleted } = graph.stats();
  assert.deepEqual({ indexed, deleted }, { indexed: 0, deleted: count });

  graph.add(Uint32Array.of(7, 8), vectors.subarray(0, 2 * dimension));
  assert.equal(await graph.build(10), 2);
  const found = await graph.search(vectors.subarray(0, dimension), { k: 3 });
  assert.deepEqual([...found.ordinals], [7, 8]);
  graph.dispose();
});

test("The tail gives its memory back as vectors go to the graph or are removed", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const bytes = dimension * 4;
  const graph = createGraph({ dimension, metric: "euclidean" });
  const live = new Map<number, Float32Array>();
  for (let ordinal = 0; ordinal < 3 * effort; ordinal++) {
    const vector = random.vector(dimension);
    graph.add(Uint32Array.of(ordinal), vector);
    live.set(ordinal, vector);
    if (live.size <= 1_000) continue;
    const victim = ordinal % 2 === 0 ? ordinal - 1 : (live.keys().next().value as number);
    const gone = live.has(victim) ? victim : ordinal;
    graph.remove(Uint32Array.of(gone));
    live.delete(gone);
  }
  const before = graph.stats();
  assert.equal(before.unindexed, live.size);
  assert.ok(before.vectorBytes <= (5 * live.size + 4_096) * bytes, `${before.vectorBytes / bytes} vectors are held`);
  for (const [ordinal, vector] of live) assert.deepEqual(graph.get(ordinal), vector);
  assert.equal(await graph.build(400), 400);
  for (const [ordinal, vector] of live) assert.deepEqual(graph.get(ordinal), vector);
  await graph.build(1_000_000);
  const { indexed, unindexed, deleted } = graph.stats();
  assert.deepEqual({ indexed, unindexed, deleted }, { indexed: live.size, unindexed: 0, deleted: 0 });
  graph.dispose();
});
