import assert from "node:assert/strict";
import { test } from "node:test";
import { createGraph, type Graph, type Metric } from "../../native/hnsw.ts";
import { distance } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { clustered, concatenate, effort, resultsOf, sequence } from "./hnsw-data.ts";

const metrics: readonly Metric[] = ["cosine", "euclidean", "dot_product"];

/** The bits, for which NaN is equal to NaN. */
function bitsOf(distances: Float32Array): Uint32Array {
  return new Uint32Array(Float32Array.from(distances).buffer);
}

/** What an exact search answers for the ordinals, NaN for those that it does not find. */
async function searched(graph: Graph, query: Float32Array, ordinals: Uint32Array): Promise<Float32Array> {
  const found = resultsOf(await graph.search(query, { k: 20_000, exact: true }), 0);
  const distances = new Map(found.map((hit) => [hit.ordinal, hit.distance]));
  return Float32Array.from(ordinals, (ordinal) => distances.get(ordinal) ?? Number.NaN);
}

for (const metric of metrics) {
  test(`${metric} distances are bit for bit those of an exact search, in the tail and in the graph`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    for (const dimension of [1, 3, 16, 33, 100, 768]) {
      const graph = createGraph({ dimension, metric, efConstruction: 8 });
      const vectors = new Map(sequence(3_000).map((i) => [i * 7, random.vector(dimension)]));
      graph.add(Uint32Array.from(vectors.keys()), concatenate([...vectors.values()]));
      await graph.build(random.pick([0, 1_000, 3_000]) + 1);
      const removed = [...vectors.keys()].filter(() => random.next() < 0.3);
      graph.remove(Uint32Array.from(removed));
      const asked = Uint32Array.from([...vectors.keys(), ...removed, 1, 2 ** 32 - 1]).sort(() => random.next() - 0.5);
      const query = random.vector(dimension);
      const found = await graph.distances(query, asked);
      assert.deepEqual(bitsOf(found), bitsOf(await searched(graph, query, asked)));
      const gone = new Set([...removed, 1, 2 ** 32 - 1]);
      for (const [i, ordinal] of asked.entries()) {
        const own = found[i] as number;
        if (gone.has(ordinal)) assert.ok(Number.isNaN(own));
        else {
          const expected = distance(metric, query, vectors.get(ordinal) as Float32Array);
          assert.ok(Math.abs(own - expected) <= 1e-3 + 1e-5 * Math.abs(expected), `${own} instead of ${expected}`);
        }
      }
      graph.dispose();
    }
  });
}

test("No ordinals have no distances, and an empty graph knows none", async () => {
  const graph = createGraph({ dimension: 2, metric: "euclidean" });
  const query = Float32Array.of(1, 2);
  assert.deepEqual([...(await graph.distances(query, new Uint32Array(0)))], []);
  assert.deepEqual([...(await graph.distances(query, Uint32Array.of(0, 5)))], [Number.NaN, Number.NaN]);
  graph.add(Uint32Array.of(5), Float32Array.of(4, 6));
  assert.deepEqual([...(await graph.distances(query, Uint32Array.of(5, 0, 5)))], [5, Number.NaN, 5]);
  graph.dispose();
});

test("Distances to more ordinals than one thread compares at a time are in the order of the ordinals", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const dimension = 64;
  const count = Math.max(effort, 3_000);
  const vectors = clustered(random, count, dimension);
  const graph = createGraph({ dimension, metric: "dot_product", m: 2, efConstruction: 8 });
  graph.add(Uint32Array.from(sequence(count)), vectors);
  await graph.build(count / 2);
  const asked = Uint32Array.from({ length: 100_000 }, () => random.below(count));
  const query = random.vector(dimension);
  const found = await graph.distances(query, asked);
  const alone = await graph.distances(query, Uint32Array.from(sequence(count)));
  assert.deepEqual(
    found,
    Float32Array.from(asked, (ordinal) => alone[ordinal] as number),
  );
  for (let i = 0; i < 100; i++) {
    const ordinal = random.below(count);
    const own = vectors.subarray(ordinal * dimension, (ordinal + 1) * dimension);
    assert.ok(Math.abs((alone[ordinal] as number) - distance("dot_product", query, own)) < 1e-3);
  }
  graph.dispose();
});

test("What stays has its distance, and what comes or goes has it or NaN, while vectors come, go and are built", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const dimension = 24;
  const graph = createGraph({ dimension, metric: "euclidean", efConstruction: 40 });
  const known: Float32Array[] = [];
  const live = new Set<number>();
  let building: Promise<number> | undefined;
  const running: Promise<void>[] = [];

  const compare = async () => {
    const query = random.vector(dimension);
    const before = new Set(live);
    const end = known.length;
    const asked = Uint32Array.from({ length: 2_000 }, () => random.below(known.length + 100));
    const found = await graph.distances(query, asked);
    for (const [i, ordinal] of asked.entries()) {
      const own = found[i] as number;
      if (Number.isNaN(own)) {
        assert.ok(!before.has(ordinal) || !live.has(ordinal), `${ordinal} was there all the time`);
        continue;
      }
      assert.ok(before.has(ordinal) || ordinal >= end, `${ordinal} was gone`);
      const expected = distance("euclidean", query, known[ordinal] as Float32Array);
      assert.ok(Math.abs(own - expected) < 1e-3, `${ordinal}: ${own} instead of ${expected}`);
    }
  };

  for (let round = 0; round < effort / 50; round++) {
    const fresh = sequence(1 + random.below(60)).map((i) => known.length + i);
    known.push(...fresh.map(() => random.vector(dimension)));
    graph.add(Uint32Array.from(fresh), concatenate(fresh.map((ordinal) => known[ordinal] as Float32Array)));
    for (const ordinal of fresh) live.add(ordinal);
    // Nearly all goes at times, so that chunks of the tail are freed.
    const share = random.next() < 0.05 ? 0.95 : 0.02;
    const gone = [...live].filter(() => random.next() < share);
    running.push(compare(), compare());
    graph.remove(Uint32Array.from(gone));
    for (const ordinal of gone) live.delete(ordinal);
    building ??= graph.build(1 + random.below(2_000), 1 + random.below(4)).finally(() => {
      building = undefined;
    });
    if (running.length >= 8) await Promise.all(running.splice(0));
  }
  await Promise.all(running);
  await building;
  graph.dispose();
});

test("A disposed graph answers what runs and refuses the rest", async () => {
  const graph = createGraph({ dimension: 1, metric: "euclidean" });
  graph.add(Uint32Array.of(0), Float32Array.of(3));
  const running = graph.distances(Float32Array.of(1), new Uint32Array(100_000));
  graph.dispose();
  assert.ok((await running).every((value) => value === 2));
  await assert.rejects(graph.distances(Float32Array.of(1), Uint32Array.of(0)), { code: "DISPOSED" });
});
