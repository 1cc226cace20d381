import assert from "node:assert/strict";
import { test } from "node:test";
import { QuiverError } from "../../src/errors.ts";
import type { Filter } from "../../src/filter/filter.ts";
import { FILTER_LIMITS } from "../../src/filter/limits.ts";
import { parseFilter } from "../../src/filter/parse.ts";

const parse = (value: unknown) => parseFilter(value, { field: "filter", nonFilterableKeys: ["body", "__proto__"] });

const eq = (key: string, ...values: (string | number | boolean)[]): Filter => ({ kind: "in", key, values });
const not = (filter: Filter): Filter => ({ kind: "not", filter });

const READ_AS: readonly [filter: string, as: Filter][] = [
  ['{"k": "v"}', eq("k", "v")],
  ['{"k": {"$eq": "v"}}', eq("k", "v")],
  ['{"k": {"$ne": true}}', not(eq("k", true))],
  ['{"k": {"$in": [1, "1", 1, true]}}', eq("k", 1, "1", true)],
  ['{"k": {"$nin": [1]}}', not(eq("k", 1))],
  ['{"k": {"$gt": 1}}', { kind: "range", key: "k", bounds: { gt: 1 } }],
  ['{"k": {"$gte": 1, "$lt": 2}}', { kind: "range", key: "k", bounds: { gte: 1, lt: 2 } }],
  ['{"k": {"$gt": 1, "$gte": 1, "$lt": 2, "$lte": 2}}', { kind: "range", key: "k", bounds: { gt: 1, lt: 2 } }],
  ['{"k": {"$gt": 1, "$gte": 2, "$lt": 4, "$lte": 3}}', { kind: "range", key: "k", bounds: { gte: 2, lte: 3 } }],
  ['{"k": {"$lt": -1.5e300}}', { kind: "range", key: "k", bounds: { lt: -1.5e300 } }],
  ['{"k": {"$exists": true}}', { kind: "exists", key: "k" }],
  ['{"k": {"$exists": false}}', not({ kind: "exists", key: "k" })],
  ['{"k": {"$not": {"$gt": 3}}}', not({ kind: "range", key: "k", bounds: { gt: 3 } })],
  ['{"$not": {"k": {"$not": {"$ne": 1}}}}', not(not(not(eq("k", 1))))],
  ['{"a": 1, "b": 2}', { kind: "and", filters: [eq("a", 1), eq("b", 2)] }],
  ['{"$and": [{"a": 1}, {"b": 2}]}', { kind: "and", filters: [eq("a", 1), eq("b", 2)] }],
  ['{"$or": [{"a": 1}, {"b": 2}]}', { kind: "or", filters: [eq("a", 1), eq("b", 2)] }],
  ['{"$and": [{"$or": [{"a": 1}]}]}', eq("a", 1)],
  ['{"k": {"$exists": true, "$ne": 1}}', { kind: "and", filters: [{ kind: "exists", key: "k" }, not(eq("k", 1))] }],
  ['{"": 1}', eq("", 1)],
  ['{"a.b": 1}', eq("a.b", 1)],
  ['{"constructor": 1}', eq("constructor", 1)],
];

for (const [filter, as] of READ_AS) {
  test(`${filter} is read`, () => assert.deepEqual(parse(JSON.parse(filter)), as));
}

test("__proto__ is a key like others where it is filterable", () => {
  const filter = JSON.parse('{"__proto__": {"$gt": 1}}');
  assert.deepEqual(parseFilter(filter, { field: "f", nonFilterableKeys: [] }), {
    kind: "range",
    key: "__proto__",
    bounds: { gt: 1 },
  });
});

const REFUSED: readonly [filter: string, path: string, description: RegExp][] = [
  ["null", "filter", /an object, got null/],
  ["[]", "filter", /an object, got a list/],
  ['"x"', "filter", /an object, got "x"/],
  ["{}", "filter", /at least one member/],
  ['{"k": null}', 'filter["k"]', /got null/],
  ['{"k": ["v"]}', 'filter["k"]', /got a list/],
  ['{"k": {}}', 'filter["k"]', /at least one member/],
  ['{"k": {"b": 1}}', 'filter["k"]["b"]', /operators under a key.*got "b"/],
  ['{"k": {"$regex": "x"}}', 'filter["k"].$regex', /got "\$regex"/],
  ['{"k": {"$and": [{"k": 1}]}}', 'filter["k"].$and', /operators under a key/],
  ['{"k": {"": 1}}', 'filter["k"][""]', /operators under a key/],
  ['{"$eq": 1}', "filter.$eq", /operators beside keys, \$and \$or \$not/],
  ['{"$": 1}', 'filter["$"]', /operators beside keys/],
  ['{"$a b": 1}', 'filter["$a b"]', /operators beside keys/],
  ['{"$And": []}', "filter.$And", /operators beside keys/],
  ['{"$and": []}', "filter.$and", /empty list/],
  ['{"$or": []}', "filter.$or", /empty list/],
  ['{"$and": {"k": 1}}', "filter.$and", /a list, got an object/],
  ['{"$or": [{"k": 1}, {}]}', "filter.$or[1]", /at least one member/],
  ['{"$or": [{"k": 1}, 7]}', "filter.$or[1]", /an object, got 7/],
  ['{"$and": [{"genre": "drama"}, {"year": {"$gt": "1999"}}]}', 'filter.$and[1]["year"].$gt', /number, got "1999"/],
  ['{"$not": 1}', "filter.$not", /an object, got 1/],
  ['{"$not": {}}', "filter.$not", /at least one member/],
  ['{"$not": [{"k": 1}]}', "filter.$not", /an object, got a list/],
  ['{"k": {"$not": 3}}', 'filter["k"].$not', /an object, got 3/],
  ['{"k": {"$not": {}}}', 'filter["k"].$not', /at least one member/],
  ['{"k": {"$not": {"$gt": true}}}', 'filter["k"].$not.$gt', /number, got true/],
  ['{"k": {"$in": []}}', 'filter["k"].$in', /empty list/],
  ['{"k": {"$nin": []}}', 'filter["k"].$nin', /empty list/],
  ['{"k": {"$in": "x"}}', 'filter["k"].$in', /a list, got "x"/],
  ['{"k": {"$in": ["x", null]}}', 'filter["k"].$in[1]', /got null/],
  ['{"k": {"$nin": [["x"]]}}', 'filter["k"].$nin[0]', /got a list/],
  ['{"k": {"$in": [{"$eq": 1}]}}', 'filter["k"].$in[0]', /got an object/],
  ['{"k": {"$eq": null}}', 'filter["k"].$eq', /got null/],
  ['{"k": {"$eq": [1]}}', 'filter["k"].$eq', /got a list/],
  ['{"k": {"$ne": {"a": 1}}}', 'filter["k"].$ne', /got an object/],
  ['{"k": {"$gt": null}}', 'filter["k"].$gt', /finite number, got null/],
  ['{"k": {"$gte": [1]}}', 'filter["k"].$gte', /finite number/],
  ['{"k": {"$lt": "1"}}', 'filter["k"].$lt', /finite number/],
  ['{"k": {"$lte": 1e999}}', 'filter["k"].$lte', /finite number, got Infinity/],
  ['{"k": -1e999}', 'filter["k"]', /finite number, got -Infinity/],
  ['{"k": {"$exists": "true"}}', 'filter["k"].$exists', /true or false, got "true"/],
  ['{"k": {"$exists": 1}}', 'filter["k"].$exists', /true or false, got 1/],
  ['{"body": 1}', 'filter["body"]', /non-filterable/],
  ['{"$or": [{"$not": {"body": {"$exists": true}}}]}', 'filter.$or[0].$not["body"]', /non-filterable/],
  ['{"__proto__": 1}', 'filter["__proto__"]', /non-filterable/],
  ['{"\\ud800": 1}', 'filter["\\ud800"]', /valid Unicode/],
  ['{"k": "\\ud800"}', 'filter["k"]', /valid Unicode/],
  ['{"k": {"$in": ["a", "\\udc00"]}}', 'filter["k"].$in[1]', /valid Unicode/],
  ['{"a\\"]": {"$gt": "x"}}', 'filter["a\\"]"].$gt', /finite number/],
  ['{"a.b": {"$gt": "x"}}', 'filter["a.b"].$gt', /finite number/],
];

for (const [filter, path, description] of REFUSED) {
  test(`${filter} is refused at ${path}`, () => refused(JSON.parse(filter), path, description));
}

test("paths start with the given field", () => {
  assert.throws(() => parseFilter({ $or: [] }, { field: "queries[3].filter", nonFilterableKeys: [] }), {
    message: /^queries\[3\]\.filter\.\$or: /,
  });
});

test("a filter has at most filterDepthMax levels, counted in objects", () => {
  const { filterDepthMax: max } = FILTER_LIMITS;
  const nested = (levels: number): unknown => (levels === 1 ? { k: 1 } : { $and: [nested(levels - 1)] });
  const negated = (levels: number): unknown => (levels === 1 ? { k: 1 } : { $not: negated(levels - 1) });
  const under = (levels: number): unknown => (levels === 1 ? { $eq: 1 } : { $not: under(levels - 1) });
  for (const levels of [max - 1, max]) {
    parse(nested(levels));
    parse(negated(levels));
    parse({ k: under(levels - 1) });
  }
  refused(nested(max + 1), `filter${".$and[0]".repeat(max)}`, /at most 8 levels/);
  refused(negated(max + 1), `filter${".$not".repeat(max)}`, /at most 8 levels/);
  refused({ k: under(max) }, `filter["k"]${".$not".repeat(max - 1)}`, /at most 8 levels/);
});

test("a filter has at most filterNodesMax nodes, of which the filter itself is one", () => {
  const { filterNodesMax: max } = FILTER_LIMITS;
  const values = (length: number) => Array.from({ length }, (_, i) => i);
  const members = (length: number) => Object.fromEntries(values(length).map((i) => [`k${i}`, i]));
  const filters = (length: number) => values(length).map((k) => ({ k }));
  for (const nodes of [max - 1, max]) {
    parse({ k: { $in: values(nodes - 3) } });
    parse(members(nodes - 1));
    parse({ $or: [members(nodes - 3)] });
  }
  parse({ $or: filters(511) });
  refused({ $or: filters(512) }, "filter", /at most 1024 nodes/);
  refused({ k: { $in: values(max - 2) } }, "filter", /at most 1024 nodes, has 1025/);
  refused(members(max), "filter", /at most 1024 nodes/);
  refused({ $or: [members(max - 2)] }, "filter", /at most 1024 nodes/);
});

test("a filter has at most filterBytesMax bytes of UTF-8 as JSON", () => {
  const { filterBytesMax: max } = FILTER_LIMITS;
  const frame = '{"k":""}'.length;
  parse({ k: "x".repeat(max - frame - 1) });
  parse({ k: "x".repeat(max - frame) });
  refused({ k: "x".repeat(max - frame + 1) }, "filter", /at most 65536 bytes as JSON, has 65537/);
  parse({ k: "ü".repeat((max - frame) / 2) });
  refused({ k: "ü".repeat((max - frame) / 2 + 1) }, "filter", /has 65538/);
  parse({ ["k".repeat(max - 6)]: 1 });
  refused({ ["k".repeat(max - 5)]: 1 }, "filter", /has 65537/);
});

test("filters that nest a hundred thousand levels deep are refused", () => {
  const deep = (open: string, close: string) => JSON.parse(open.repeat(100_000) + close.repeat(100_000));
  refused({ $and: deep("[", "]") }, "filter.$and[0]", /an object, got a list/);
  refused({ k: { $in: [deep("[", "]")] } }, 'filter["k"].$in[0]', /got a list/);
  refused({ k: { $eq: [deep("[", "]")] } }, 'filter["k"].$eq', /got a list/);
  let nested: unknown = { k: 1 };
  for (let i = 0; i < 100_000; i++) nested = { $not: nested };
  refused(nested, `filter${".$not".repeat(8)}`, /levels/);
});

test("long names are shortened in the paths of errors", () => {
  const long = "k".repeat(100_000);
  for (const filter of [{ [long]: null }, { [`$${long}`]: 1 }, { k: { [long]: 1 } }, { k: { $gt: long } }]) {
    const { message } = failure(filter);
    assert.ok(message.length < 1_000, `${message.length} characters`);
  }
});

test("what is wrong is told of lists and objects far beyond the limits, too", () => {
  refused({ k: { $in: Array.from({ length: 200_000 }, () => ({})) } }, "filter", /nodes/);
  refused(Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`k${i}`, {}])), "filter", /nodes/);
});

function refused(filter: unknown, path: string, description: RegExp): void {
  const error = failure(filter);
  assert.equal(error.reason, "FILTER_INVALID");
  assert.equal(error.violations[0]?.field, path);
  assert.match(error.violations[0]?.description ?? "", description);
}

function failure(filter: unknown): QuiverError {
  try {
    parse(filter);
  } catch (error) {
    assert.ok(error instanceof QuiverError, String(error));
    return error;
  }
  assert.fail("The filter is accepted");
}
