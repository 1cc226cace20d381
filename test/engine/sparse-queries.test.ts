import assert from "node:assert/strict";
import { test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine, Query, QueryTarget, SparseData, VectorInput } from "../../src/engine/engine.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 3;
const GROUPS = 4;
const partition = { bucket: "b", index: "i", namespace: "" };

test("Sparse, hybrid and key queries answer what the definition says, while vectors come and go", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  t.after(() => engine.close());
  const path = temporaryDirectory();
  let engine = await open(path);
  await createIndex(engine);
  const stored = new Map<string, VectorInput>();
  for (let round = 0; round < 20; round++) {
    // Few positions make many vectors at distance 0 that share one; many positions make many that share none.
    const positions = random.pick([4, 30, 3_000]);
    const fresh = Array.from({ length: 200 }, () => randomVector(random, positions));
    const distinct = new Map(fresh.map((vector) => [vector.key, vector]));
    await engine.putVectors(partition, [...distinct.values()]);
    for (const [key, vector] of distinct) stored.set(key, vector);
    const gone = [...stored.keys()].filter(() => random.next() < 0.05);
    await engine.deleteVectors(partition, { kind: "keys", keys: gone });
    for (const key of gone) stored.delete(key);
    if (round === 12) {
      await engine.close();
      engine = await open(path);
      await until(() => engine.indexStates().every(({ state }) => state === "ready"));
    }
    for (let i = 0; i < 12; i++) await assertAnswer(engine, stored, randomQuery(random, positions, [...stored.keys()]));
  }
});

test("Distances beyond float32 are infinite in a hybrid query, and never NaN", async (t) => {
  t.after(() => engine.close());
  const engine = await open(temporaryDirectory());
  await createIndex(engine);
  const huge = (dense: number, sparse: number) => ({
    data: Float32Array.of(dense, 0, 0),
    sparse: { indices: Uint32Array.of(1), values: Float32Array.of(sparse) },
  });
  const vectors = [
    { key: "a", ...huge(3e38, -3e38), metadata: {} },
    { key: "b", ...huge(-3e38, -3e38), metadata: {} },
    { key: "c", ...huge(1, -3e38), metadata: {} },
  ];
  await engine.putVectors(partition, vectors);
  const search = async (denseWeight: number | undefined) => {
    const target = { kind: "hybrid", ...huge(3e38, 3e38), denseWeight } as const;
    const query = { target, topK: 3, search: { kind: "exact" }, projection: { data: false, metadata: false } } as const;
    const answer = await engine.queryVectors(partition, query, { pageSize: 3 });
    return answer.vectors.map(({ key, distance }) => [key, distance]);
  };
  const { POSITIVE_INFINITY: far, NEGATIVE_INFINITY: near } = Number;
  const infinite = [
    ["a", far],
    ["b", far],
    ["c", far],
  ];
  assert.deepEqual(await search(undefined), infinite);
  assert.deepEqual(await search(0.5), infinite);
  assert.deepEqual(await search(0), infinite);
  assert.deepEqual(await search(1), [
    ["a", near],
    ["c", Math.fround(-3e38)],
    ["b", far],
  ]);
});

async function assertAnswer(engine: Engine, stored: ReadonlyMap<string, VectorInput>, query: Query): Promise<void> {
  const { target, topK, filter } = query;
  const group = filter?.kind === "in" ? filter.values[0] : undefined;
  const expected = [...stored.values()]
    .filter(({ metadata }) => group === undefined || metadata.group === group)
    .map((vector) => ({ key: vector.key, distance: distanceOf(resolve(target, stored), vector) }))
    .filter((each): each is { key: string; distance: number } => each.distance !== undefined)
    .filter(({ key }) => target.kind !== "key" || key !== target.key)
    .sort((a, b) => a.distance - b.distance || (a.key < b.key ? -1 : 1))
    .slice(0, topK);
  const { vectors, plan } = await engine.queryVectors(partition, query, { pageSize: topK });
  const found = vectors.map(({ key, distance }) => ({ key, distance: distance + 0 }));
  assert.deepEqual(found, expected, JSON.stringify({ target, topK, group }));
  assert.ok(plan.exact);
}

/** A target by key as one by that vector's data, or by its sparse values. */
function resolve(target: QueryTarget, stored: ReadonlyMap<string, VectorInput>): QueryTarget {
  if (target.kind !== "key") return target;
  const { data, sparse } = stored.get(target.key) as VectorInput;
  return data ? { kind: "vector", data } : { kind: "sparse", sparse: sparse as SparseData };
}

/** Undefined when the query does not compare the vector. All values are small whole numbers: sums are exact. */
function distanceOf(target: QueryTarget, vector: VectorInput): number | undefined {
  const dense = "data" in target && vector.data ? 0 - product(target.data, vector.data) : undefined;
  const sparse = "sparse" in target && vector.sparse ? 0 - sparseProduct(target.sparse, vector.sparse) : undefined;
  if (target.kind !== "hybrid") return dense ?? sparse;
  const { denseWeight } = target;
  if (denseWeight === undefined) return (dense ?? 0) + (sparse ?? 0);
  return denseWeight * (dense ?? 0) + (1 - denseWeight) * (sparse ?? 0);
}

function product(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
}

function sparseProduct(a: SparseData, b: SparseData): number {
  const weights = new Map([...a.indices].map((position, i) => [position, a.values[i] as number]));
  return b.indices.reduce((sum, position, i) => sum + (weights.get(position) ?? 0) * (b.values[i] as number), 0);
}

function randomQuery(random: Random, positions: number, keys: readonly string[]): Query {
  const data = randomData(random);
  const sparse = randomSparse(random, positions);
  const target = random.pick<() => QueryTarget>([
    () => ({ kind: "sparse", sparse }),
    () => ({ kind: "hybrid", data, sparse, denseWeight: random.pick([undefined, 0, 0.25, 0.5, 1]) }),
    () => ({ kind: "key", key: random.pick(keys) }),
  ])();
  const filter = { kind: "in", key: "group", values: [random.below(GROUPS)] } as const;
  return {
    target,
    topK: random.pick([1, 5, 50, 1_000, 10_000]),
    search: { kind: "exact" },
    filter: random.next() < 0.5 ? filter : undefined,
    projection: { data: false, metadata: false },
  };
}

function randomVector(random: Random, positions: number): VectorInput {
  const parts = random.below(3);
  return {
    key: `k${random.below(2_000)}`,
    data: parts === 1 ? undefined : randomData(random),
    sparse: parts === 0 ? undefined : randomSparse(random, positions),
    metadata: { group: random.below(GROUPS) },
  };
}

function randomData(random: Random): Float32Array {
  return Float32Array.from({ length: DIMENSION }, () => random.below(5) - 2);
}

function randomSparse(random: Random, positions: number): SparseData {
  const distinct = new Set(Array.from({ length: 1 + random.below(6) }, () => random.below(positions)));
  const indices = Uint32Array.from(distinct).sort();
  return { indices, values: Float32Array.from(indices, () => random.below(5) - 2) };
}

function open(path: string): Promise<Engine> {
  return openEmbeddedEngine({
    path,
    onBackgroundError: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });
}

async function createIndex(engine: Engine): Promise<void> {
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  await engine.createIndex({
    bucket: "b",
    index: "i",
    createdAt: 1,
    dimension: DIMENSION,
    distanceMetric: "dot_product",
    nonFilterableMetadataKeys: [],
    m: 16,
    efConstruction: 200,
    deletionProtection: false,
    tags: {},
  });
}
