import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createGraph, type Graph } from "../../native/hnsw.ts";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { DistanceMetric, Engine, Query, Search } from "../../src/engine/engine.ts";
import type { Filter } from "../../src/filter/filter.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { clustered, type DataSet, gaussian, words } from "./data.ts";

const IS_FULL = process.env.QUIVER_TEST_RECALL === "full";
const COUNTS = IS_FULL ? { vectors: 100_000, queries: 300 } : { vectors: 10_000, queries: 240 };
/** Half the default makes building take half as long; the model measures whichever graph there is. */
const EF_CONSTRUCTION = IS_FULL ? 200 : 100;
const TOP_KS = [1, 10, 100];
const TARGETS = [0.95, 0.99];
const SHARES = [0.9, 0.5, 0.1, 0.01, 0.001];
const PARTITION = { bucket: "b", index: "i", namespace: "" };

/** A graph search never compares so many times what the cheapest search of sufficient recall does. */
const COMPARED_TIMES_MAX = 3;

type Make = (t: TestContext, random: Random) => Promise<DataSet | undefined> | DataSet;
const gaussianNorms: Make = (_, random) => gaussian(random, 64, COUNTS, [0.1, 3]);
const clusters: Make = (_, random) => clustered(random, 32, COUNTS);
const glove: Make = (t, random) => words(t, random, COUNTS);

const rows: { name: string; metric: DistanceMetric; make: Make; filters: boolean; after?: "halved" | "overwritten" }[] =
  [
    { name: "word vectors, cosine", metric: "cosine", make: glove, filters: true },
    { name: "word vectors, euclidean", metric: "euclidean", make: glove, filters: false },
    { name: "word vectors, dot_product", metric: "dot_product", make: glove, filters: false },
    { name: "clusters, euclidean", metric: "euclidean", make: clusters, filters: true },
    { name: "Gaussian with norms 0.1-3, dot_product", metric: "dot_product", make: gaussianNorms, filters: true },
    { name: "word vectors, cosine, half deleted", metric: "cosine", make: glove, filters: false, after: "halved" },
    {
      name: "clusters, cosine, all overwritten",
      metric: "cosine",
      make: clusters,
      filters: true,
      after: "overwritten",
    },
  ];

for (const { name, metric, make, filters, after } of rows) {
  test(`the recall target is reached at no more than three times the least price: ${name}`, async (t) => {
    const random = new Random(Number(process.env.QUIVER_TEST_SEED ?? 4711));
    t.diagnostic(`seed ${random.seed}`);
    const data = await make(t, random);
    if (!data) return;
    const held = await hold(t, metric, data, random);
    if (after === "halved") await held.halve();
    if (after === "overwritten") await held.overwrite();
    for (const topK of TOP_KS) {
      for (const target of TARGETS) await held.check(t, { topK, target, filter: undefined });
    }
    for (const by of filters ? (["random", "near", "far"] as const) : []) {
      for (const share of SHARES) {
        for (const target of TARGETS) await held.check(t, { topK: 10, target, filter: { by, share } });
      }
    }
    assert.deepEqual(held.failures, []);
  });
}

interface Row {
  readonly topK: number;
  readonly target: number;
  readonly filter: { readonly by: "random" | "near" | "far"; readonly share: number } | undefined;
}

/** An index that holds the data, beside a graph of the same vectors that tells the truth and the least price. */
async function hold(t: TestContext, metric: DistanceMetric, data: DataSet, random: Random) {
  let engine: Engine | undefined;
  t.after(() => engine?.close());
  const path = temporaryDirectory();
  const sampled = new Random(random.seed);
  engine = await openEmbeddedEngine({
    path,
    random: () => sampled.next(),
    onBackgroundError: (message, error) => assert.fail(`${message}: ${error}`),
  });
  const { dimension } = data;
  const settings = {
    nonFilterableMetadataKeys: [],
    m: 16,
    efConstruction: EF_CONSTRUCTION,
    deletionProtection: false,
    tags: {},
  };
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  await engine.createIndex({ bucket: "b", index: "i", createdAt: 1, dimension, distanceMetric: metric, ...settings });
  const directed = alongDirection(data, random);
  const ids = new Map(data.vectors.map((_, i) => [i, random.next()]));
  await putAll(engine, data.vectors, (i) => ({ random: ids.get(i) ?? 0, rank: directed.ranks[i] ?? 0 }));
  const reference = await Reference.of(metric, data.vectors);
  t.after(() => reference.graph.dispose());
  const held = engine;
  await settled(held);
  const failures: string[] = [];

  const allowedBy = ({ by, share }: NonNullable<Row["filter"]>): { filter: Filter; allows: (i: number) => boolean } => {
    const key = by === "random" ? "random" : "rank";
    const value = (i: number) => (key === "random" ? ids.get(i) : directed.ranks[i]) as number;
    if (by === "far") return { filter: { kind: "range", key, bounds: { lt: share } }, allows: (i) => value(i) < share };
    return { filter: { kind: "range", key, bounds: { gte: 1 - share } }, allows: (i) => value(i) >= 1 - share };
  };

  return {
    /** What fell short, or cost too much. */
    failures,
    /** Deletes every second vector. */
    async halve() {
      const odd = data.vectors.keys().filter((i) => i % 2 === 1);
      for (const keys of chunks([...odd].map(keyOf), 1_000))
        await held.deleteVectors(PARTITION, { kind: "keys", keys });
      reference.graph.remove(Uint32Array.from(data.vectors.keys().filter((i) => i % 2 === 1)));
      for (const i of ids.keys()) if (i % 2 === 1) ids.delete(i);
      await settled(held);
    },
    /** Gives every key the data of another one. */
    async overwrite() {
      const moved = data.vectors.map((_, i) => data.vectors[(i + 1) % data.vectors.length] as Float32Array);
      const ranks = moved.map((_, i) => directed.ranks[(i + 1) % data.vectors.length] as number);
      directed.ranks = ranks;
      await putAll(held, moved, (i) => ({ random: ids.get(i) ?? 0, rank: ranks[i] ?? 0 }));
      reference.graph.dispose();
      Object.assign(reference, await Reference.of(metric, moved));
      await settled(held);
    },
    async check(at: TestContext, { topK, target, filter }: Row) {
      const constraint = filter && allowedBy(filter);
      const allowed = constraint && [...ids.keys()].filter(constraint.allows);
      const queries = filter && filter.by !== "random" ? directed.queries : data.queries;
      const search: Search = { kind: "recall_target", recallTarget: target };
      const projection = { data: false, metadata: false };
      let compared = 0;
      const distances: number[][] = [];
      for (const query of queries) {
        const asked: Query = {
          target: { kind: "vector", data: query },
          topK,
          search,
          filter: constraint?.filter,
          projection,
        };
        const answer = await held.queryVectors(PARTITION, asked, {
          pageSize: 10_000,
        });
        compared += answer.plan.compared;
        distances.push(answer.vectors.map(({ distance }) => distance));
      }
      const truth = await reference.exact(queries, topK, allowed);
      const recall = truth.recallOf(distances);
      const least = await reference.leastCompared(queries, { topK, target, allowed, truth });
      const ratio = compared / queries.length / Math.max(1, least);
      const label = `top_k ${topK}, target ${target}, ${filter ? `${filter.by} ${filter.share * 100} %` : "no filter"}`;
      const mean = Math.round(compared / queries.length);
      at.diagnostic(`${label}: recall ${recall.toFixed(4)}, compared ${mean}, ${ratio.toFixed(2)} times the least`);
      if (recall < target - 1e-9) failures.push(`${label}: recall ${recall}`);
      if (ratio > COMPARED_TIMES_MAX) failures.push(`${label}: compared ${mean}, the least is ${least}`);
    },
  };
}

/** Resolves when every graph stands without its dead, and its recall is measured. */
async function settled(engine: Engine): Promise<void> {
  const [ref] = engine.indexStates();
  assert.ok(ref);
  await until(async () => {
    const stats = await engine.indexStats(ref);
    return stats.state === "ready" && stats.deletedVectors === 0 && stats.recall !== undefined;
  });
}

async function putAll(
  engine: Engine,
  vectors: readonly Float32Array[],
  metadataOf: (i: number) => { random: number; rank: number },
): Promise<void> {
  for (const part of chunks([...vectors.entries()], 1_000)) {
    await engine.putVectors(
      PARTITION,
      part.map(([i, data]) => ({ key: keyOf(i), data, metadata: metadataOf(i) })),
    );
  }
}

function keyOf(i: number): string {
  return `v${i}`;
}

function chunks<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Where each vector lies along a random direction, as its rank in [0, 1); and the third of the queries that lie highest. */
function alongDirection({ dimension, vectors, queries }: DataSet, random: Random) {
  const direction = random.vector(dimension);
  const along = (vector: Float32Array) => {
    let dot = 0;
    for (let i = 0; i < dimension; i++) dot += (vector[i] as number) * (direction[i] as number);
    return dot / Math.hypot(...vector);
  };
  const values = vectors.map(along);
  const order = [...values.keys()].sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks = new Array<number>(vectors.length);
  for (const [position, i] of order.entries()) ranks[i] = position / vectors.length;
  const highest = [...queries].sort((a, b) => along(b) - along(a)).slice(0, Math.ceil(queries.length / 3));
  return { ranks, queries: highest };
}

class Reference {
  readonly graph: Graph;

  constructor(graph: Graph) {
    this.graph = graph;
  }

  static async of(metric: DistanceMetric, vectors: readonly Float32Array[]): Promise<Reference> {
    const graph = createGraph({ dimension: vectors[0]?.length ?? 0, metric, efConstruction: EF_CONSTRUCTION });
    graph.add(Uint32Array.from(vectors.keys()), concatenate(vectors));
    await graph.build(vectors.length);
    return new Reference(graph);
  }

  async exact(queries: readonly Float32Array[], topK: number, allowed: readonly number[] | undefined) {
    const results = await this.graph.search(concatenate(queries), { k: topK, exact: true, ...bitmap(allowed) });
    return new Truth(results.counts, results.distances);
  }

  /** Of the exact scan, and of a walk with the least ef_search that reaches the target. */
  async leastCompared(
    queries: readonly Float32Array[],
    {
      topK,
      target,
      allowed,
      truth,
    }: { topK: number; target: number; allowed: readonly number[] | undefined; truth: Truth },
  ): Promise<number> {
    const scan = allowed?.length ?? this.graph.stats().indexed;
    for (let ef = topK; ef < 10_000; ef = Math.ceil(ef * 1.5)) {
      const walked = await this.graph.search(concatenate(queries), { k: topK, efSearch: ef, ...bitmap(allowed) });
      const compared = walked.compared.reduce((total, each) => total + each, 0) / queries.length;
      if (compared >= scan) return scan;
      let at = 0;
      const distances = Array.from(walked.counts, (count) => {
        at += count;
        return [...walked.distances.subarray(at - count, at)];
      });
      if (truth.recallOf(distances) >= target) return compared;
    }
    return scan;
  }
}

/** The exact distances of some queries, one after the other. */
class Truth {
  readonly #counts: Uint32Array;
  readonly #distances: Float32Array;

  constructor(counts: Uint32Array, distances: Float32Array) {
    this.#counts = counts;
    this.#distances = distances;
  }

  /** The mean share of the exact answers that these are as near as. */
  recallOf(found: readonly (readonly number[])[]): number {
    let at = 0;
    let total = 0;
    for (const [query, count] of this.#counts.entries()) {
      at += count;
      const farthest = this.#distances[at - 1] ?? 0;
      const hits = (found[query] ?? []).filter((distance) => distance <= farthest).length;
      total += count === 0 ? 1 : Math.min(hits, count) / count;
    }
    return total / this.#counts.length;
  }
}

function bitmap(allowed: readonly number[] | undefined): { allowed?: Uint32Array } {
  if (!allowed) return {};
  const words = new Uint32Array(Math.ceil(((allowed.at(-1) ?? 0) + 1) / 32));
  for (const ordinal of allowed) words[ordinal >> 5] = (words[ordinal >> 5] ?? 0) | (1 << (ordinal & 31));
  return { allowed: words };
}

function concatenate(vectors: readonly Float32Array[]): Float32Array {
  const dimension = vectors[0]?.length ?? 0;
  const all = new Float32Array(vectors.length * dimension);
  for (const [i, vector] of vectors.entries()) all.set(vector, i * dimension);
  return all;
}
