import assert from "node:assert/strict";
import { test } from "node:test";
import { matches } from "../../src/filter/evaluate.ts";
import { parseFilter } from "../../src/filter/parse.ts";

const LONG = "k".repeat(1_024);

/** A sentence of the contract, and for a filter the metadata that matches and that does not. Metadata is JSON. */
const MEANINGS: readonly { says: string; filter: unknown; yes: readonly string[]; no: readonly string[] }[] = [
  {
    says: '{"k": v} means $eq',
    filter: { k: "v" },
    yes: ['{"k": "v"}', '{"k": "v", "other": 1}', '{"k": ["u", "v"]}'],
    no: ['{"k": "V"}', '{"k": "v "}', '{"v": "k"}', "{}", '{"k": []}'],
  },
  {
    says: "several keys in one object must all match",
    filter: { a: 1, b: 2 },
    yes: ['{"a": 1, "b": 2}'],
    no: ['{"a": 1}', '{"b": 2}', '{"a": 1, "b": 1}', "{}"],
  },
  {
    says: "several operators under one key must all match",
    filter: { k: { $gte: 1, $lt: 3, $ne: 2 } },
    yes: ['{"k": 1}', '{"k": 2.5}'],
    no: ['{"k": 2}', '{"k": 3}', '{"k": 0.5}', "{}"],
  },
  {
    says: "several operators under one key may match different elements of a list",
    filter: { k: { $eq: "a", $in: ["b"] } },
    yes: ['{"k": ["a", "b"]}'],
    no: ['{"k": "a"}', '{"k": ["b"]}'],
  },
  {
    says: "$in matches any element of a list",
    filter: { k: { $in: ["a", 2, true] } },
    yes: ['{"k": "a"}', '{"k": 2}', '{"k": true}', '{"k": ["z", "a"]}', '{"k": [1, 2]}'],
    no: ['{"k": "2"}', '{"k": 1}', '{"k": false}', '{"k": "true"}', '{"k": []}', "{}"],
  },
  {
    says: "$ne matches when no element of a list is equal, and absent fields",
    filter: { k: { $ne: "a" } },
    yes: ['{"k": "b"}', '{"k": ["b", "c"]}', '{"k": []}', '{"k": 1}', "{}", '{"j": "a"}'],
    no: ['{"k": "a"}', '{"k": ["b", "a"]}'],
  },
  {
    says: "$nin matches when no element of a list is equal, and absent fields",
    filter: { k: { $nin: ["a", 1] } },
    yes: ['{"k": "b"}', '{"k": ["b"]}', '{"k": []}', '{"k": "1"}', "{}"],
    no: ['{"k": "a"}', '{"k": 1}', '{"k": [0, 1]}', '{"k": ["b", "a"]}'],
  },
  {
    says: "$gt is greater",
    filter: { k: { $gt: 1 } },
    yes: ['{"k": 1.0000001}', '{"k": 1e300}'],
    no: ['{"k": 1}', '{"k": 0}', '{"k": -2}'],
  },
  { says: "$gte is greater or equal", filter: { k: { $gte: 1 } }, yes: ['{"k": 1}', '{"k": 2}'], no: ['{"k": 0.9}'] },
  { says: "$lt is less", filter: { k: { $lt: 1 } }, yes: ['{"k": 0}', '{"k": -1e300}'], no: ['{"k": 1}', '{"k": 2}'] },
  { says: "$lte is less or equal", filter: { k: { $lte: 1 } }, yes: ['{"k": 1}', '{"k": 0}'], no: ['{"k": 1.1}'] },
  {
    says: "ranges are for numbers: strings, booleans, lists and absent fields do not match",
    filter: { k: { $gte: 0 } },
    yes: ['{"k": 0}', '{"k": -0}'],
    no: ['{"k": "1"}', '{"k": true}', '{"k": [1]}', '{"k": []}', "{}"],
  },
  {
    says: "an empty range matches nothing",
    filter: { k: { $gt: 1, $lt: 1 } },
    yes: [],
    no: ['{"k": 1}', '{"k": 0}', '{"k": 2}'],
  },
  {
    says: "numbers are equal by value",
    filter: { k: 0 },
    yes: ['{"k": -0}', '{"k": 0.0}', '{"k": 0e5}', '{"k": [-0]}'],
    no: ['{"k": false}', '{"k": ""}', '{"k": "0"}', '{"k": 5e-324}'],
  },
  {
    says: "a stored value of another type does not match",
    filter: { k: 1 },
    yes: ['{"k": 1}'],
    no: ['{"k": "1"}', '{"k": true}', '{"k": null}', '{"k": {"k": 1}}', '{"k": [[1]]}'],
  },
  {
    says: "booleans are values of their own",
    filter: { k: false },
    yes: ['{"k": false}'],
    no: ['{"k": 0}', '{"k": ""}', '{"k": "false"}', '{"k": true}', "{}"],
  },
  {
    says: "$exists: true matches every present field",
    filter: { k: { $exists: true } },
    yes: ['{"k": ""}', '{"k": false}', '{"k": []}', '{"k": 0}'],
    no: ["{}", '{"K": 1}'],
  },
  {
    says: "$exists: false matches absent fields",
    filter: { k: { $exists: false } },
    yes: ["{}", '{"j": "k"}'],
    no: ['{"k": ""}', '{"k": false}', '{"k": []}', '{"k": 0}'],
  },
  {
    says: "$not under a key matches what its operators do not match, absent fields too",
    filter: { k: { $not: { $gt: 3 } } },
    yes: ['{"k": 3}', '{"k": "x"}', '{"k": [4]}', "{}"],
    no: ['{"k": 4}'],
  },
  {
    says: "$not under a key denies all of its operators together",
    filter: { k: { $not: { $gt: 3, $lt: 5 } } },
    yes: ['{"k": 3}', '{"k": 5}', "{}"],
    no: ['{"k": 4}'],
  },
  {
    says: "$not beside keys matches what its filter does not match",
    filter: { $not: { a: 1, b: 1 } },
    yes: ['{"a": 1}', '{"a": 1, "b": 2}', "{}"],
    no: ['{"a": 1, "b": 1}'],
  },
  {
    says: "$not stands beside keys that must match too",
    filter: { a: 1, $not: { b: 1 } },
    yes: ['{"a": 1}', '{"a": 1, "b": 2}'],
    no: ["{}", '{"a": 1, "b": 1}', '{"b": 2}'],
  },
  {
    says: "$and matches when all match",
    filter: { $and: [{ a: 1 }, { b: 1 }] },
    yes: ['{"a": 1, "b": 1}'],
    no: ['{"a": 1}', "{}"],
  },
  {
    says: "$or matches when one matches",
    filter: { $or: [{ a: 1 }, { b: 1 }] },
    yes: ['{"a": 1}', '{"b": 1}', '{"a": 1, "b": 1}'],
    no: ['{"a": 2}', "{}"],
  },
  {
    says: "what objects inherit is no metadata",
    filter: { $or: ["constructor", "toString", "__proto__"].map((key) => ({ [key]: { $exists: true } })) },
    yes: ['{"constructor": 1}', '{"__proto__": 1}'],
    no: ["{}", '{"k": 1}'],
  },
  {
    says: "__proto__ is a key like others",
    filter: JSON.parse('{"__proto__": "x"}'),
    yes: ['{"__proto__": "x"}', '{"__proto__": ["x"]}'],
    no: ["{}", '{"__proto__": "y"}'],
  },
  { says: "the empty key is a key like others", filter: { "": 1 }, yes: ['{"": 1}'], no: ["{}", '{"": 2}'] },
  {
    says: "a key with dots is taken whole",
    filter: { "a.b": 1 },
    yes: ['{"a.b": 1}'],
    no: ['{"a": {"b": 1}}', '{"a": 1, "b": 1}', "{}"],
  },
  {
    says: "metadata under a key that starts with $ changes nothing",
    filter: { x: 1 },
    yes: ['{"$x": 2, "x": 1}', '{"$not": 2, "x": 1}'],
    no: ['{"$x": 1}'],
  },
  {
    says: "long keys differ in their last character",
    filter: { [LONG]: 1 },
    yes: [`{"${LONG}": 1}`],
    no: [`{"${LONG}k": 1}`, `{"${LONG.slice(1)}": 1}`, `{"${LONG}": 2}`],
  },
  {
    says: "strings are not normalized",
    filter: { k: "\u00fc" },
    yes: ['{"k": "\u00fc"}'],
    no: ['{"k": "u\u0308"}', '{"k": "\u00dc"}'],
  },
];

for (const { says, filter, yes, no } of MEANINGS) {
  test(`${says}: ${JSON.stringify(filter).slice(0, 80)}`, () => {
    const parsed = parseFilter(filter, { field: "filter", nonFilterableKeys: [] });
    for (const metadata of yes) assert.ok(matches(parsed, JSON.parse(metadata)), `${metadata} matches`);
    for (const metadata of no) assert.ok(!matches(parsed, JSON.parse(metadata)), `${metadata} does not match`);
  });
}

test("metadata without a prototype is evaluated like other metadata", () => {
  const metadata: Record<string, unknown> = Object.create(null);
  metadata.k = "v";
  assert.ok(matches({ kind: "in", key: "k", values: ["v"] }, metadata));
  assert.ok(!matches({ kind: "exists", key: "toString" }, metadata));
});
