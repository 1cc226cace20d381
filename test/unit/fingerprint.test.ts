import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { QuiverError } from "../../src/errors.ts";
import { fingerprint } from "../../src/service/fingerprint.ts";
import { idempotencyOf } from "../../src/service/idempotency.ts";
import { EVERYBODY } from "../support/everybody.ts";

const hex = (value: unknown) => fingerprint(value).toString("hex");

const nothing = Object.create(null) as Record<string, unknown>;
/** All of them mean something else. */
const DIFFERENT: readonly unknown[] = [
  undefined,
  null,
  "",
  "null",
  "undefined",
  0,
  "0",
  1,
  "1",
  12,
  [1, 2],
  [12],
  ["1", "2"],
  ["1,2"],
  [[1], 2],
  [1, [2]],
  [],
  [[]],
  {},
  [{}],
  { a: 1 },
  { a: "1" },
  { a: { b: 1 } },
  { a: null },
  { b: 1 },
  { a: 1, b: 2 },
  { a: 2, b: 1 },
  ["a", 1],
  { 'a"': 1 },
  'a" 1 ',
  true,
  "true",
  false,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Object.assign(nothing, JSON.parse('{"__proto__": 1}')),
  Float32Array.of(),
  Float32Array.of(1),
  Float32Array.of(1, 2),
  Float32Array.of(0),
  Float32Array.of(-0),
  [Float32Array.of(1), Float32Array.of(2)],
  Uint32Array.of(1),
  { a: Float32Array.of(1), b: undefined, c: Float32Array.of() },
  { a: Float32Array.of(1) },
  "\ud800",
  "\ufffd",
];

test("different values have different fingerprints", () => {
  const seen = new Map<string, unknown>();
  for (const value of DIFFERENT) {
    const print = hex(value);
    assert.ok(!seen.has(print), `${inspect(value)} and ${inspect(seen.get(print))}`);
    seen.set(print, value);
  }
});

test("the order of properties, absent ones and the place of typed arrays do not change a fingerprint", () => {
  assert.equal(hex({ a: 1, b: [{ c: 2, d: 3 }] }), hex({ b: [{ d: 3, c: 2 }], a: 1, e: undefined }));
  const inMemory = Float32Array.of(9, 1, 2).subarray(1);
  assert.equal(hex([inMemory]), hex([Float32Array.of(1, 2)]));
});

test("a long value has the fingerprint of its parts put together in any way", () => {
  const long = "x".repeat(70_000);
  assert.equal(hex([long, { a: long }]), hex([long, { a: "x".repeat(69_999).concat("x") }]));
  assert.notEqual(hex([long, { a: long }]), hex([long, { a: `${long}x` }]));
  assert.notEqual(hex(Array.from({ length: 50_000 }, (_, i) => i)), hex(Array.from({ length: 50_001 }, (_, i) => i)));
});

test("an idempotency key has at most 128 characters, and the empty one is none", () => {
  assert.equal(idempotencyOf(EVERYBODY, "", ["put"]), undefined);
  assert.equal(idempotencyOf(EVERYBODY, "k".repeat(128), ["put"])?.key.length, 128);
  for (const key of ["k".repeat(129), "\ud800"]) {
    assert.throws(
      () => idempotencyOf(EVERYBODY, key, ["put"]),
      (error) => error instanceof QuiverError && error.violations[0]?.field === "idempotency_key",
    );
  }
});

test("the same idempotency key of two access keys is not the same", () => {
  const of = (keyId: string | undefined) => idempotencyOf({ ...EVERYBODY, keyId }, "k", ["put"])?.key;
  assert.equal(new Set([of(undefined), of("QKA"), of("QKB")]).size, 3);
  assert.equal(of("QKA"), of("QKA"));
});

test("the same request has the same idempotency, and another method or vector another one", () => {
  const vector = (metadata: object) => ({ key: "a", data: Float32Array.of(1, 2), metadata });
  const of = (...request: unknown[]) => idempotencyOf(EVERYBODY, "k", request)?.fingerprint;
  assert.equal(of("put", [vector({ a: 1, b: 2 })]), of("put", [vector({ b: 2, a: 1 })]));
  assert.notEqual(of("put", [vector({ a: 1 })]), of("put", [vector({ a: 2 })]));
  assert.notEqual(of("put", [vector({})]), of("update", [vector({})]));
  assert.notEqual(of("put", [vector({})]), of("put", [vector({}), vector({})]));
});
