import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { Random } from "../support/random.ts";
import type { SparseValues } from "./model.ts";

/** Random values of everything that a request carries: few distinct ones, so that they meet often, and odd ones. */

/** UTF-16 and UTF-8 order U+FFFD and U+1F600 differently; a key may be a prefix of another. */
export const KEYS: readonly string[] = [
  ...Array.from({ length: 14 }, (_, i) => `k${i}`),
  "a",
  "a/b",
  "a\u0000",
  "A",
  "__proto__",
  "constructor",
  "ü",
  "\ufffd",
  "\u{1f600}",
  "k".repeat(1024),
];

/** What a key may start with, to list by. */
export const PREFIXES: readonly string[] = ["", "", "k", "k1", "a", "a/", "ü", "\u{1f600}", "none"];

export const METADATA_KEYS: readonly string[] = ["n", "s", "list", "flag", "__proto__", "", "a.b", "$x", "ключ"];
export const NON_FILTERABLE_KEY = "doc";

const NUMBERS: readonly number[] = [0, 1, 2, 3, -1, 0.1, 1.5, 1e21, -1e308, 2 ** 53];
const STRINGS: readonly string[] = ["", "a", "b", "A", "1", "true", "\u{1f600}", "x".repeat(60)];
/** Few values, so that distances are often equal. */
const COORDINATES: readonly number[] = [0, 1, -1, 0.5, 2, 0.1, -0.25];

export function chance(random: Random, share: number): boolean {
  return random.next() < share;
}

/** Between min and max values, both included. */
export function listOf<Item>(random: Random, [min, max]: readonly [number, number], of: () => Item): Item[] {
  return Array.from({ length: min + random.below(max - min + 1) }, of);
}

export function randomKeys(random: Random, pool: readonly string[], counts: readonly [number, number]): string[] {
  return listOf(random, counts, () => random.pick(pool));
}

/** Not all 0, so that it fits every metric. */
export function randomData(random: Random, dimension: number): number[] {
  const grid = chance(random, 0.6);
  const data = Array.from({ length: dimension }, () => (grid ? random.pick(COORDINATES) : 4 * random.next() - 2));
  if (data.every((value) => Math.fround(value) === 0)) data[0] = 1;
  return data;
}

export function randomSparse(random: Random): SparseValues {
  const positions = [0, 1, 2, 3, 7, 100, 65_536, 4_294_967_295];
  const indices = positions.filter(() => chance(random, 0.4));
  if (indices.length === 0) indices.push(random.pick(positions));
  return { indices, values: indices.map(() => random.pick(COORDINATES) || 1) };
}

function randomScalar(random: Random): string | number | boolean {
  const kind = random.below(5);
  if (kind < 2) return random.pick(NUMBERS);
  return kind < 4 ? random.pick(STRINGS) : chance(random, 0.5);
}

function randomMetadataValue(random: Random): JsonValue {
  if (chance(random, 0.7)) return randomScalar(random);
  return chance(random, 0.5)
    ? listOf(random, [0, 3], () => random.pick(STRINGS))
    : listOf(random, [0, 3], () => random.pick(NUMBERS));
}

const DOCUMENTS: readonly JsonValue[] = [
  "d".repeat(3000),
  null,
  { nested: { "": [1, "a", null, { b: true }] } },
  [1, "a", false, []],
  {},
];

/** Metadata that is allowed; `doc` holds what cannot be filtered by. */
export function randomMetadata(random: Random): JsonObject {
  const metadata = emptyObject();
  for (const key of METADATA_KEYS) if (chance(random, 0.3)) metadata[key] = randomMetadataValue(random);
  if (chance(random, 0.2)) metadata[NON_FILTERABLE_KEY] = random.pick(DOCUMENTS);
  return metadata;
}

/** What an update merges: some keys get values, some are removed. */
export function randomMerge(random: Random): JsonObject {
  const merge = emptyObject();
  for (const key of [...METADATA_KEYS, NON_FILTERABLE_KEY]) {
    const kind = random.below(6);
    if (kind === 0) merge[key] = null;
    if (kind === 1) merge[key] = randomMetadataValue(random);
  }
  if (Object.keys(merge).length === 0) merge.n = random.pick(NUMBERS);
  return merge;
}

/** A filter that is allowed, at most `depth` levels of $and, $or and $not above its conditions. */
export function randomFilter(random: Random, depth = 2): JsonObject {
  const filter = emptyObject();
  if (depth > 0 && chance(random, 0.4)) {
    const operator = random.pick(["$and", "$or", "$not"]);
    const inner = () => randomFilter(random, depth - 1);
    filter[operator] = operator === "$not" ? inner() : listOf(random, [1, 3], inner);
    if (chance(random, 0.7)) return filter;
  }
  for (let i = chance(random, 0.8) ? 1 : 2; i > 0; i--) {
    filter[random.pick(FILTER_KEYS)] = chance(random, 0.3) ? randomScalar(random) : randomOperators(random);
  }
  return filter;
}

/** "$x" stands for an operator in a filter; "none" is never stored. */
const FILTER_KEYS = [...METADATA_KEYS.filter((key) => !key.startsWith("$")), "n", "n", "s", "none"];

function randomOperators(random: Random): JsonObject {
  const operators = emptyObject();
  for (let i = chance(random, 0.7) ? 1 : 2; i > 0; i--) {
    const operator = random.pick(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists"]);
    if (operator === "$eq" || operator === "$ne") operators[operator] = randomScalar(random);
    else if (operator === "$in" || operator === "$nin") {
      operators[operator] = listOf(random, [1, 3], () => randomScalar(random));
    } else if (operator === "$exists") operators[operator] = chance(random, 0.5);
    else operators[operator] = random.pick(NUMBERS);
  }
  return operators;
}

/** Filters that are refused. */
export const INVALID_FILTERS: readonly JsonObject[] = [
  {},
  { n: { $in: [] } },
  { n: { $like: "a" } },
  { $nor: [{ n: 1 }] },
  { [NON_FILTERABLE_KEY]: "a" },
  { n: { $gt: "a" } },
  { n: { $exists: 1 } },
];

/** Without a prototype, so that "__proto__" is a key like any other. */
export function emptyObject(): JsonObject {
  return Object.create(null) as JsonObject;
}
