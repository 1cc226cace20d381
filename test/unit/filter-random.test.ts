import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MetadataIndex } from "../../src/engine/embedded/metadata/metadata-index.ts";
import type { Metadata, MetadataValue } from "../../src/engine/engine.ts";
import { clearBit, countBits, hasBit, ordinalsOf, setBit } from "../../src/filter/bitmap.ts";
import { matches } from "../../src/filter/evaluate.ts";
import { FILTER_LIMITS } from "../../src/filter/limits.ts";
import { parseFilter } from "../../src/filter/parse.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";

const FILTERS = rounds("FILTERS", { quick: 5_000, full: 100_000 });
const FILTERS_PER_WORLD = 50;
/** Every so many worlds one is large enough for bitmaps and for merged runs of numbers. */
const LARGE_EVERY = 20;

test(`${FILTERS} random filters select what they mean, over metadata that changes`, (t: TestContext) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let some = 0;
  for (let i = 0; i * FILTERS_PER_WORLD < FILTERS; i++) {
    const world = new World(random);
    const size = i % LARGE_EVERY === 0 ? 2_000 : 1 + random.below(150);
    for (let j = 0; j < size; j++) world.put();
    for (let j = 0; j < FILTERS_PER_WORLD; j++) {
      for (let change = random.below(20); change > 0; change--) world.change();
      const selected = world.check(randomFilter(random));
      if (selected > 0 && selected < world.size) some++;
    }
  }
  assert.ok(some > FILTERS / 3, `only ${some} filters select some vectors and not all`);
});

test("an index whose vectors are all removed takes no memory and selects nothing", () => {
  const random = new Random();
  const index = new MetadataIndex(["body"]);
  const all = Array.from({ length: 3_000 }, () => randomMetadata(random));
  const live = new Uint32Array(100).fill(0xffff_ffff);
  for (const [ordinal, metadata] of all.entries()) index.add(ordinal, metadata);
  assert.ok(index.bytes > 3_000);
  for (const [ordinal, metadata] of all.entries()) index.remove(ordinal, metadata);
  assert.equal(index.bytes, 0);
  for (const key of KEYS) assert.equal(countBits(index.select({ kind: "exists", key }, live)), 0);
});

test("ordinals beyond the end of the live bitmap are not selected", () => {
  const index = new MetadataIndex([]);
  for (let ordinal = 0; ordinal < 1_000; ordinal++)
    index.add(ordinal, { rare: `${ordinal % 50}`, n: ordinal, all: true });
  const live = new Uint32Array([0, 0xf000_000f]);
  const select = (json: unknown) => [...ordinalsOf(index.select(parse(json), live))];
  assert.deepEqual(select({ all: true }), [32, 33, 34, 35, 60, 61, 62, 63]);
  assert.deepEqual(select({ n: { $gte: 35 } }), [35, 60, 61, 62, 63]);
  assert.deepEqual(select({ rare: { $in: ["12", "33"] } }), [33, 62]);
  assert.deepEqual(select({ rare: { $nin: ["12", "33"] } }), [32, 34, 35, 60, 61, 63]);
  assert.equal(index.select(parse({ all: true }), new Uint32Array(0)).length, 0);
});

test("values that become common and then rare again are found", () => {
  const index = new MetadataIndex([]);
  const expected: number[] = [];
  const live = new Uint32Array(10_000);
  for (let ordinal = 0; ordinal < live.length * 32; ordinal++) {
    const isA = ordinal < 5_000 ? ordinal % 3 !== 0 : ordinal % 1_009 === 0;
    setBit(live, ordinal);
    if (!isA) continue;
    index.add(ordinal, { k: "a" });
    expected.push(ordinal);
  }
  assert.deepEqual(ordinalsOf(index.select(parse({ k: "a" }), live)), Uint32Array.from(expected));
  // Of the two sets of ordinals, of those that have the key and of those that have the value, neither is a bitmap.
  assert.ok(index.bytes < 1.5 * live.byteLength, `${index.bytes} bytes`);
});

test("numbers are found after most of them are removed", () => {
  const index = new MetadataIndex([]);
  const live = new Uint32Array(200).fill(0xffff_ffff);
  const count = live.length * 32;
  for (let ordinal = 0; ordinal < count; ordinal++) index.add(ordinal, { n: ordinal });
  for (let ordinal = 0; ordinal < count; ordinal++) if (ordinal % 5 !== 0) index.remove(ordinal, { n: ordinal });
  for (const [gte, lt] of [
    [0, count],
    [1_000, 5_001],
    [4_000, 4_010],
  ] as const) {
    const expected = Array.from({ length: count }, (_, n) => n).filter((n) => n % 5 === 0 && n >= gte && n < lt);
    const selected = index.select(parse({ n: { $gte: gte, $lt: lt } }), live);
    assert.deepEqual(ordinalsOf(selected), Uint32Array.from(expected));
  }
});

test("non-filterable metadata is not indexed", () => {
  const index = new MetadataIndex(["body"]);
  index.add(0, { body: "x".repeat(10_000) });
  assert.equal(index.bytes, 0);
  assert.equal(countBits(index.select({ kind: "exists", key: "body" }, new Uint32Array([1]))), 0);
});

/** Vectors with metadata, as an engine drives its index: overwrites and deletes clear live bits, updates tell the index. */
class World {
  readonly #random: Random;
  readonly #index = new MetadataIndex(["body"]);
  readonly #metadata = new Map<number, Metadata>();
  #live = new Uint32Array(0);
  #next = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get size(): number {
    return this.#metadata.size;
  }

  put(): void {
    const ordinal = this.#next++;
    const metadata = randomMetadata(this.#random);
    if (ordinal >= this.#live.length * 32) {
      const grown = new Uint32Array(this.#live.length + 1 + this.#random.below(20));
      grown.set(this.#live);
      this.#live = grown;
    }
    this.#index.add(ordinal, metadata);
    this.#metadata.set(ordinal, metadata);
    setBit(this.#live, ordinal);
  }

  change(): void {
    const ordinal = this.#random.below(this.#next);
    const metadata = this.#metadata.get(ordinal);
    if (!metadata) {
      this.put();
    } else if (this.#random.below(3) > 0) {
      const updated = { ...randomMetadata(this.#random), ...(this.#random.below(2) === 0 && metadata) };
      this.#index.remove(ordinal, metadata);
      this.#index.add(ordinal, updated);
      this.#metadata.set(ordinal, updated);
    } else {
      this.#metadata.delete(ordinal);
      clearBit(this.#live, ordinal);
      if (this.#random.below(2) === 0) this.put();
    }
  }

  /** How many vectors the filter selects; fails unless they are those that match by both evaluators. */
  check(json: Json): number {
    const filter = parse(json);
    const selected = this.#index.select(filter, this.#live);
    assert.equal(selected.length, this.#live.length);
    for (let ordinal = 0; ordinal < this.#next; ordinal++) {
      const metadata = this.#metadata.get(ordinal);
      const expected = metadata !== undefined && meansByDefinition(json, metadata);
      const state = () => `${JSON.stringify(json)} over ${JSON.stringify(metadata)}`;
      if (metadata && matches(filter, metadata) !== expected) assert.fail(`matches is not ${expected}: ${state()}`);
      if (hasBit(selected, ordinal) !== expected) assert.fail(`select is not ${expected}: ${state()}`);
    }
    return countBits(selected);
  }
}

type Json = { readonly [key: string]: unknown };

function parse(json: unknown) {
  return parseFilter(json, { field: "filter", nonFilterableKeys: ["body"] });
}

/** The sentences of the contract over the filter's JSON, without a syntax tree in between. */
function meansByDefinition(filter: Json, metadata: Metadata): boolean {
  return Object.entries(filter).every(([name, operand]) => {
    if (name === "$and") return (operand as Json[]).every((each) => meansByDefinition(each, metadata));
    if (name === "$or") return (operand as Json[]).some((each) => meansByDefinition(each, metadata));
    if (name === "$not") return !meansByDefinition(operand as Json, metadata);
    const stored = Object.entries(metadata).find(([key]) => key === name)?.[1];
    return typeof operand === "object" ? holds(operand as Json, stored) : holds({ $eq: operand }, stored);
  });
}

/** `stored` is undefined when the key is absent. */
function holds(condition: Json, stored: MetadataValue | undefined): boolean {
  const equals = (value: unknown) => (Array.isArray(stored) ? stored.some((each) => each === value) : stored === value);
  const compares = (test: (stored: number) => boolean) => typeof stored === "number" && test(stored);
  return Object.entries(condition).every(([operator, operand]) => {
    const number = operand as number;
    if (operator === "$eq") return equals(operand);
    if (operator === "$ne") return !equals(operand);
    if (operator === "$in") return (operand as unknown[]).some(equals);
    if (operator === "$nin") return !(operand as unknown[]).some(equals);
    if (operator === "$gt") return compares((value) => value > number);
    if (operator === "$gte") return compares((value) => value >= number);
    if (operator === "$lt") return compares((value) => value < number);
    if (operator === "$lte") return compares((value) => value <= number);
    if (operator === "$exists") return operand === (stored !== undefined);
    if (operator === "$not") return !holds(operand as Json, stored);
    throw new Error(`No definition of ${operator}`);
  });
}

const KEYS = ["a", "n", "few", "listed", "", "a.b", "__proto__", "constructor"] as const;
const STRINGS = ["", "x", "X", "1", "true", "\u{1f600}", "__proto__"] as const;
const NUMBERS = [0, -0, 1, -1, 0.5, 2, 1e300, -5e-324] as const;

function randomNumber(random: Random): number {
  return random.below(2) === 0 ? random.pick(NUMBERS) : random.next() * 4 - 2;
}

function randomScalar(random: Random): string | number | boolean {
  const kind = random.below(5);
  if (kind < 2) return random.pick(STRINGS);
  return kind < 4 ? randomNumber(random) : random.below(2) === 0;
}

function randomList<Item>(random: Random, least: number, item: () => Item): Item[] {
  return Array.from({ length: least + random.below(4) }, item);
}

function randomMetadata(random: Random): Metadata {
  const entries = KEYS.filter(() => random.below(3) > 0).map((key): [string, MetadataValue] => {
    // Of these three, so many that there are long runs of numbers: that differ, of few values, and in lists.
    if (key === "n") return [key, random.next() * 4 - 2];
    if (key === "few") return [key, random.pick(NUMBERS)];
    if (key === "listed") return [key, randomList(random, 0, () => random.pick(NUMBERS))];
    const kind = random.below(4);
    if (kind === 0) return [key, randomList(random, 0, () => random.pick(STRINGS))];
    if (kind === 1) return [key, randomList(random, 0, () => randomNumber(random))];
    return [key, randomScalar(random)];
  });
  if (random.below(2) === 0) entries.push(["body", { any: [null, { thing: [] }] }]);
  return Object.fromEntries(entries);
}

/** Within the limits: each node takes two characters at least. */
function randomFilter(random: Random): Json {
  for (;;) {
    const filter = randomLevels(random, FILTER_LIMITS.filterDepthMax);
    if (JSON.stringify(filter).length <= FILTER_LIMITS.filterNodesMax) return filter;
  }
}

function randomLevels(random: Random, levels: number): Json {
  return Object.fromEntries(
    randomList(random, 1, () => random.below(100))
      .slice(0, 1 + random.below(2))
      .map((kind): [string, unknown] => {
        if (levels > 1 && kind < 15) return ["$and", filters(random, levels)];
        if (levels > 1 && kind < 40) return ["$or", filters(random, levels)];
        if (levels > 1 && kind < 50) return ["$not", randomLevels(random, levels - 1)];
        const key = random.pick(KEYS);
        return levels > 1 && kind < 90 ? [key, randomCondition(random, levels - 1)] : [key, randomScalar(random)];
      }),
  );
}

function filters(random: Random, levels: number): Json[] {
  return randomList(random, 1, () => randomLevels(random, levels - 1)).slice(0, 3);
}

function randomCondition(random: Random, levels: number): Json {
  const one = (): [string, unknown] => {
    const operators = ["$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte", "$exists", "$not"] as const;
    const operator = random.pick(operators);
    switch (operator) {
      case "$eq":
      case "$ne":
        return [operator, randomScalar(random)];
      case "$in":
      case "$nin":
        return [operator, randomList(random, 1, () => randomScalar(random))];
      case "$exists":
        return [operator, random.below(2) === 0];
      case "$not":
        return levels > 1 ? [operator, randomCondition(random, levels - 1)] : ["$exists", true];
      default:
        return [operator, randomNumber(random)];
    }
  };
  return Object.fromEntries(random.below(3) === 0 ? [one(), one(), one()] : [one()]);
}
