import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SetLoader } from "../../src/engine/embedded/set/set-loader.ts";
import { VectorSet } from "../../src/engine/embedded/set/vector-set.ts";
import type { Metadata } from "../../src/engine/engine.ts";

const key = "k";
const red = { colour: "red" };
const blue = { colour: "blue" };
const data = Float32Array.of(1, 2);
const DATA_BYTES = key.length + data.byteLength;

function openLoader(t: TestContext): SetLoader {
  const set = new VectorSet({ dimension: 2, metric: "euclidean", m: 16, efConstruction: 100, nonFilterableKeys: [] });
  t.after(() => set.dispose());
  return new SetLoader(set);
}

function bytesOf(metadata: Metadata): number {
  return JSON.stringify(metadata).length;
}

/** The write of version 2, which turns red into blue. */
function change(loader: SetLoader): void {
  const grownBy = bytesOf(blue) - bytesOf(red);
  loader.setMetadata(key, { before: red, after: blue, version: 2, grownBy }, bytesOf(blue));
}

function loadMetadata(loader: SetLoader, metadata: Metadata, version: number): void {
  loader.loadMetadata([{ key, metadata, version, bytes: bytesOf(metadata) }]);
}

function assertBlue({ set }: SetLoader): void {
  assert.equal(set.versionOf(key), 2);
  assert.equal(set.bytes, DATA_BYTES + bytesOf(blue));
  const matching = (colour: string) => [...set.select({ kind: "in", key: "colour", values: [colour] })];
  assert.deepEqual(matching("blue"), [1, 0]);
  assert.deepEqual(matching("red"), [0, 0]);
}

test("metadata that changes before the stored metadata is loaded stays changed", (t) => {
  const loader = openLoader(t);
  loader.loadData([{ key, data }]);
  change(loader);
  loadMetadata(loader, red, 1);
  loader.finish();
  assertBlue(loader);
});

test("metadata that changes while the rest is loaded stays changed", (t) => {
  const loader = openLoader(t);
  loader.loadData([{ key, data }]);
  loadMetadata(loader, red, 1);
  change(loader);
  loader.finish();
  assertBlue(loader);
});

test("a change of metadata that the read snapshot holds already is made once", (t) => {
  const loader = openLoader(t);
  loader.loadData([{ key, data }]);
  loadMetadata(loader, blue, 2);
  change(loader);
  loader.finish();
  assertBlue(loader);
});

test("metadata changes once everything is loaded", (t) => {
  const loader = openLoader(t);
  loader.loadData([{ key, data }]);
  loadMetadata(loader, red, 1);
  loader.finish();
  change(loader);
  assertBlue(loader);
});
