import assert from "node:assert/strict";
import { test } from "node:test";
import { SparseIndex } from "../../src/engine/embedded/sparse/sparse-index.ts";
import type { SparseData } from "../../src/engine/engine.ts";
import { ordinalsOf } from "../../src/filter/bitmap.ts";
import { Random } from "../support/random.ts";

const POSITION_MAX = 0xffff_ffff;

test("A search agrees with the definition in float64, with and without k", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  for (let round = 0; round < 60; round++) {
    // Few positions and small whole numbers make ties and sums of 0; many positions make vectors that share none.
    const positions = random.pick([3, 40, 5_000, POSITION_MAX + 1]);
    const value = random.pick([() => random.below(5) - 2, () => random.vector(1)[0] as number]);
    const vectors = new Map<number, SparseData>();
    const index = new SparseIndex();
    let ordinal = random.below(100);
    for (let i = 0; i < 400; i++, ordinal += 1 + random.below(3)) {
      if (random.next() < 0.2) continue;
      const sparse = sparseOf(random, 1 + random.below(20), positions, value);
      vectors.set(ordinal, sparse);
      index.add(ordinal, sparse);
    }
    assert.deepEqual([...ordinalsOf(index.holders)], [...vectors.keys()]);
    for (const share of [0, 0.02, 0.5, 1]) {
      const eligible = new Set(Array.from({ length: ordinal + 50 }, (_, i) => i).filter(() => random.next() < share));
      const query = sparseOf(random, 1 + random.below(30), positions, value);
      for (const k of [undefined, 1, 2, 10, 100, 1_000]) await assertFound(index, { vectors, eligible, query, k });
    }
  }
});

test("All that are as far as the k-th are answered", async () => {
  const index = new SparseIndex();
  const vectors = new Map([5, 1, 3, 3, 3, 3, 1, -2].map((value, i) => [i, sparse({ 7: value })]));
  for (const [ordinal, values] of vectors) index.add(ordinal, values);
  const query = sparse({ 7: 2 });
  const found = (k: number) => index.search(query, { eligible: bitmapOf([...vectors.keys()]), k });
  assert.deepEqual([...(await found(1)).ordinals], [0]);
  for (const k of [2, 3, 5]) assert.deepEqual([...(await found(k)).ordinals], [0, 2, 3, 4, 5]);
  assert.deepEqual([...(await found(6)).ordinals], [0, 2, 3, 4, 5, 1, 6]);
  assert.deepEqual([...(await found(8)).distances], [-10, -6, -6, -6, -6, -2, -2, 4]);
  assert.equal((await found(1)).compared, 8);
});

test("Nothing is found in an empty index, by an empty query, or when nothing is eligible", async () => {
  const nothing = { ordinals: new Uint32Array(0), distances: new Float32Array(0), compared: 0 };
  const index = new SparseIndex();
  const all = new Uint32Array(4).fill(POSITION_MAX);
  assert.equal(index.bytes, 0);
  assert.deepEqual(await index.search(sparse({ 1: 1 }), { eligible: all, k: 10 }), {
    ...nothing,
    apart: new Uint32Array(0),
  });
  index.add(37, sparse({ 1: 1 }));
  const apart = Uint32Array.of(0, 1 << 5);
  for (const k of [undefined, 10]) {
    assert.deepEqual(await index.search(sparse({}), { eligible: all, k }), { ...nothing, apart });
    assert.deepEqual(await index.search(sparse({ 2: 1 }), { eligible: all, k }), { ...nothing, apart });
    const none = { ...nothing, apart: new Uint32Array(2) };
    assert.deepEqual(await index.search(sparse({ 1: 1 }), { eligible: new Uint32Array(2), k }), none);
    const short = { ...nothing, apart: new Uint32Array(1) };
    assert.deepEqual(await index.search(sparse({ 1: 1 }), { eligible: all.subarray(0, 1), k }), short);
  }
});

test("The first and the last position and weights of 0 are positions like all others", async () => {
  const index = new SparseIndex();
  index.add(0, sparse({ 0: 2, [POSITION_MAX]: -3 }));
  index.add(1, sparse({ [POSITION_MAX]: 0 }));
  index.add(2, sparse({ 1: 1, [POSITION_MAX - 1]: 1 }));
  const eligible = Uint32Array.of(7);
  const found = await index.search(sparse({ 0: 1, [POSITION_MAX]: 1 }), { eligible, k: undefined });
  assert.deepEqual([...found.ordinals], [0, 1]);
  assert.deepEqual([...found.distances], [1, 0]);
  assert.deepEqual([...found.apart], [4]);
  const zeros = await index.search(sparse({ 0: 0 }), { eligible, k: 1 });
  assert.deepEqual([...zeros.distances], [0]);
  assert.ok(!Object.is(zeros.distances[0], -0));
});

test("Sums beyond float32 become infinite, sums below it 0", async () => {
  const index = new SparseIndex();
  for (const [ordinal, value] of [3e38, -3e38, 1e-45, -1e-45].entries())
    index.add(ordinal, sparse({ 1: value, 2: value }));
  const search = (value: number) =>
    index.search(sparse({ 1: value, 2: value }), { eligible: Uint32Array.of(15), k: 4 });
  assert.deepEqual([...(await search(3e38)).ordinals], [0, 2, 3, 1]);
  assert.deepEqual([...(await search(3e38)).distances.subarray(0, 1)], [Number.NEGATIVE_INFINITY]);
  assert.deepEqual([...(await search(3e38)).distances.subarray(3)], [Number.POSITIVE_INFINITY]);
  const tiny = await search(1e-45);
  assert.deepEqual([...tiny.ordinals], [0, 2, 3, 1]);
  assert.ok([1, 2].every((rank) => Object.is(tiny.distances[rank], 0)));
});

test("An ordinal near the end of its range is found", async () => {
  const index = new SparseIndex();
  const ordinal = 50_000_000;
  index.add(ordinal, sparse({ 1: 1 }));
  const found = await index.search(sparse({ 1: 1 }), { eligible: bitmapOf([ordinal]), k: 1 });
  assert.deepEqual([...found.ordinals], [ordinal]);
});

test("Many positions with one entry each stay cheap, and are found", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const index = new SparseIndex();
  const count = 300_000;
  const stride = 1 + 2 * random.below(2 ** 31);
  // Odd factors make a permutation of the positions.
  const positionOf = (ordinal: number) => Math.imul(ordinal, stride) >>> 0;
  for (let ordinal = 0; ordinal < count; ordinal++) index.add(ordinal, sparse({ [positionOf(ordinal)]: 1 }));
  assert.ok(index.bytes < 50 * count, `${index.bytes} bytes`);
  const eligible = new Uint32Array(count / 32 + 1).fill(POSITION_MAX);
  for (let i = 0; i < 1_000; i++) {
    const ordinal = random.below(count);
    const found = await index.search(sparse({ [positionOf(ordinal)]: 1 }), { eligible, k: 5 });
    assert.deepEqual([...found.ordinals], [ordinal]);
  }
});

test("Many entries of few positions cost about 8 bytes each, and are all found", async () => {
  const index = new SparseIndex();
  const count = 300_000;
  for (let ordinal = 0; ordinal < count; ordinal++) index.add(ordinal, sparse({ 1: ordinal, 2: 1, 3: -1 }));
  assert.ok(index.bytes < 10 * 3 * count, `${index.bytes} bytes`);
  const eligible = new Uint32Array(count / 32 + 1).fill(POSITION_MAX);
  const found = await index.search(sparse({ 1: 1, 2: 1, 3: 1, 4: 1 }), { eligible, k: undefined });
  assert.equal(found.compared, count);
  assert.ok(found.ordinals.every((ordinal, i) => ordinal === i));
  assert.ok(found.distances.every((distance, i) => distance === 0 - i));
  const nearest = await index.search(sparse({ 1: 1 }), { eligible, k: 3 });
  assert.deepEqual([...nearest.ordinals], [count - 1, count - 2, count - 3]);
});

test("Searches run side by side, and other work has its turn, also additions", async () => {
  const index = new SparseIndex();
  const positions = Uint32Array.from({ length: 2_000 }, (_, i) => i);
  const ones = { indices: positions, values: new Float32Array(2_000).fill(1) };
  const count = 1_000;
  for (let ordinal = 0; ordinal < count; ordinal++) index.add(ordinal, ones);
  const eligible = bitmapOf(Array.from({ length: count }, (_, i) => i));
  let turns = 0;
  let running = true;
  const turn = () => {
    if (!running) return;
    index.add(count + turns, ones);
    turns++;
    setImmediate(turn);
  };
  setImmediate(turn);
  const queries = [1, 2, 3].map((value) => ({ ...ones, values: new Float32Array(2_000).fill(value) }));
  const found = await Promise.all(queries.map((query) => index.search(query, { eligible, k: undefined })));
  running = false;
  for (const [i, { ordinals, distances }] of found.entries()) {
    assert.equal(ordinals.length, count);
    assert.ok(distances.every((distance) => distance === -2_000 * (i + 1)));
  }
  assert.ok(turns >= 3, `${turns} turns`);
  const fresh = new SparseIndex();
  fresh.add(count + 5, sparse({ 1: 1 }));
  const clean = await fresh.search(sparse({ 1: 1 }), { eligible: bitmapOf([count + 5]), k: undefined });
  assert.deepEqual([...clean.ordinals, ...clean.distances], [count + 5, -1]);
});

interface Case {
  readonly vectors: ReadonlyMap<number, SparseData>;
  readonly eligible: ReadonlySet<number>;
  readonly query: SparseData;
  readonly k: number | undefined;
}

/** Compares a search with the definition. */
async function assertFound(index: SparseIndex, { vectors, eligible, query, k }: Case): Promise<void> {
  const weights = new Map([...query.indices].map((position, i) => [position, query.values[i] as number]));
  const hits: { ordinal: number; distance: number }[] = [];
  const apart: number[] = [];
  for (const [ordinal, { indices, values }] of vectors) {
    if (!eligible.has(ordinal)) continue;
    const shared = [...indices.keys()].filter((i) => weights.has(indices[i] as number));
    const product = shared.reduce(
      (sum, i) => sum + (weights.get(indices[i] as number) as number) * (values[i] as number),
      0,
    );
    if (shared.length === 0) apart.push(ordinal);
    else hits.push({ ordinal, distance: Math.fround(0 - product) });
  }
  hits.sort((a, b) => (k === undefined ? 0 : a.distance - b.distance) || a.ordinal - b.ordinal);
  const bound = k === undefined ? undefined : hits[k - 1]?.distance;
  const expected = bound === undefined ? hits : hits.filter(({ distance }) => distance <= bound);
  const found = await index.search(query, { eligible: bitmapOf([...eligible]), k });
  assert.deepEqual(
    [...found.ordinals],
    expected.map(({ ordinal }) => ordinal),
  );
  assert.deepEqual(
    [...found.distances],
    expected.map(({ distance }) => distance),
  );
  assert.equal(found.compared, hits.length);
  assert.deepEqual([...ordinalsOf(found.apart)], apart);
}

function sparse(values: Readonly<Record<number, number>>): SparseData {
  return { indices: Uint32Array.from(Object.keys(values), Number), values: Float32Array.from(Object.values(values)) };
}

function sparseOf(random: Random, count: number, positions: number, value: () => number): SparseData {
  const distinct = new Set(Array.from({ length: count }, () => random.below(positions)));
  const indices = Uint32Array.from(distinct).sort();
  return { indices, values: Float32Array.from(indices, value) };
}

function bitmapOf(ordinals: readonly number[]): Uint32Array {
  const bitmap = new Uint32Array((Math.max(-1, ...ordinals) >> 5) + 1);
  for (const ordinal of ordinals) bitmap[ordinal >> 5] = (bitmap[ordinal >> 5] as number) | (1 << (ordinal & 31));
  return bitmap;
}
