import assert from "node:assert/strict";
import { test } from "node:test";
import type { Metadata } from "../../src/engine/engine.ts";
import { assertMetadata } from "../../src/service/metadata.ts";

/** 4 for the object, 8 for the entry, 1 for the key "a". */
const FRAME = 13;

test("filterable metadata is accepted up to 2,048 bytes", () => {
  assertMetadata("m", { a: "x".repeat(2048 - FRAME) }, []);
  refused({ a: "x".repeat(2049 - FRAME) }, "METADATA_TOO_LARGE");
  assertMetadata("m", { a: "ü".repeat((2048 - FRAME - 1) / 2) }, []);
  refused({ a: "ü".repeat((2048 - FRAME + 1) / 2) }, "METADATA_TOO_LARGE");
});

test("non-filterable metadata is accepted up to 40,960 bytes in all", () => {
  assertMetadata("m", { a: "x".repeat(40_960 - FRAME) }, ["a"]);
  refused({ a: "x".repeat(40_961 - FRAME) }, "METADATA_TOO_LARGE", ["a"]);
  assertMetadata("m", { a: { b: [null, 1, { c: [["deep"], true] }] } }, ["a"]);
});

test("lists count 4 and the value for each element, numbers 4, booleans nothing", () => {
  const numbers = (count: number) => ({ a: Array.from({ length: count }, () => 1) });
  assertMetadata("m", numbers(Math.floor((2048 - FRAME) / 8)), []);
  refused(numbers(Math.floor((2048 - FRAME) / 8) + 1), "METADATA_TOO_LARGE");
});

test("50 keys are accepted, 51 are not", () => {
  const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i}`, true]));
  assertMetadata("m", keys(50), []);
  refused(keys(51), "METADATA_TOO_LARGE");
});

test("what a filter cannot compare is refused unless its key is non-filterable", () => {
  for (const value of [null, {}, { b: 1 }, [null], [1, "1"], [[1]], [true]] as const) {
    refused({ a: value }, "METADATA_INVALID");
    assertMetadata("m", { a: value }, ["a"]);
  }
  for (const value of ["", "x", 0, -1.5, true, false, [], ["x"], [1, 2]] as const)
    assertMetadata("m", { a: value }, []);
});

test("numbers that are not finite, broken Unicode and deep nesting are refused everywhere", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", [Number.NaN]]) {
    refused({ a: value }, "METADATA_INVALID");
    refused({ a: [{ b: value }] }, "METADATA_INVALID", ["a"]);
  }
  refused({ "\ud800": 1 }, "METADATA_INVALID");
  refused({ a: { "\ud800": 1 } }, "METADATA_INVALID", ["a"]);
  const nested = (depth: number): Metadata[string] => (depth === 0 ? 1 : [nested(depth - 1)]);
  assertMetadata("m", { a: nested(15) }, ["a"]);
  refused({ a: nested(16) }, "METADATA_INVALID", ["a"]);
});

test("keys that mean something to JavaScript are keys like others", () => {
  const metadata = JSON.parse('{"__proto__": [1, "1"]}') as Metadata;
  refused(metadata, "METADATA_INVALID");
  assertMetadata("m", metadata, ["__proto__"]);
  assertMetadata("m", { constructor: "x", "": 1, "a.b": 2, $eq: 3 }, []);
});

function refused(metadata: Metadata, reason: string, nonFilterableKeys: readonly string[] = []): void {
  assert.throws(() => assertMetadata("m", metadata, nonFilterableKeys), { reason });
}
