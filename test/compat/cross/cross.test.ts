import assert from "node:assert/strict";
import { test } from "node:test";
import { Quiver } from "../../../clients/typescript/index.ts";
import { Random } from "../../support/random.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { WITH_PYTHON } from "../support/python.ts";
import { type CrossClient, type CrossVector, crossClients } from "./clients.ts";

const DIMENSION = 7;
const INDEX = "cross";

/** Keys and metadata that every system can express, with what is easily lost on the way. */
function vectorsOf(random: Random, writer: string): CrossVector[] {
  return [`${writer} plain`, `${writer} ü/?&=#%+`, `${writer} "quoted" \\ 日本`].map((key, i) => ({
    key,
    values: [...random.vector(DIMENSION)],
    metadata: { writer, text: `Zeile ${i}\n\u00e4\u{1f3f9}`, tags: ["a", `${i}`] },
  }));
}

test("what one system's client writes, every other one reads, with the same bits", WITH_PYTHON, async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const url = await startCompatServer(t);
  const bucket = new Quiver({ url }).bucket("default");
  await bucket.create();
  await bucket.index(INDEX).create({ dimension: DIMENSION, distanceMetric: "cosine" });
  const clients = crossClients(url, INDEX);
  const written = new Map<CrossClient, CrossVector[]>();
  for (const writer of clients) {
    const vectors = vectorsOf(random, writer.name);
    await writer.write(vectors);
    written.set(writer, vectors);
  }
  const all = [...written.values()].flat();
  for (const reader of clients) {
    for (const [writer, vectors] of written) {
      await t.test(`${writer.name} -> ${reader.name}`, async () => {
        const shown = await reader.read(vectors);
        assert.deepEqual(Object.keys(shown).sort(), vectors.map(({ key }) => key).sort());
        for (const { key, values, metadata } of vectors) {
          assert.deepEqual(shown[key]?.metadata, metadata, key);
          const read = shown[key]?.values;
          if (read) assert.deepEqual(Float32Array.from(read), Float32Array.from(values), key);
        }
      });
    }
    await t.test(`${reader.name} finds what is nearest, and says how near in its own terms`, async () => {
      const values = [...random.vector(DIMENSION)];
      const expected = all
        .map(({ key, values: other }) => ({ key, distance: cosineDistance(values, other) }))
        .sort((a, b) => a.distance - b.distance)
        .slice(0, 5);
      const found = await reader.search(values, 5);
      assert.deepEqual(
        found.map(([key]) => key),
        expected.map(({ key }) => key),
      );
      for (const [i, [key, said]] of found.entries()) {
        const wanted = reader.said(expected[i]?.distance ?? Number.NaN);
        assert.ok(Math.abs(said - wanted) <= reader.tolerance, `${key}: ${said}, ${wanted} expected`);
      }
    });
  }
});

/** In float64: the definition. */
function cosineDistance(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
