import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 4;

async function open(t: TestContext): Promise<Engine> {
  t.after(() => engine.close());
  const engine = await openEmbeddedEngine({
    path: temporaryDirectory(),
    onBackgroundError: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  return engine;
}

async function createIndex(engine: Engine, index: string, m: number) {
  const ref = { bucket: "b", index };
  const settings = { distanceMetric: "euclidean" as const, nonFilterableMetadataKeys: [], efConstruction: 20 };
  const rest = { createdAt: 1, dimension: DIMENSION, m, deletionProtection: false, tags: {} };
  await engine.createIndex({ ...ref, ...settings, ...rest });
  return ref;
}

async function put(engine: Engine, ref: { bucket: string; index: string }, from: number, to: number): Promise<void> {
  const random = new Random(1);
  for (let first = from; first < to; first += 1_000) {
    const vectors = Array.from({ length: 1_000 }, (_, i) => ({
      key: `k${first + i}`,
      data: random.vector(DIMENSION),
      metadata: {},
    }));
    await engine.putVectors({ ...ref, namespace: "" }, vectors);
  }
}

/** Once every vector is in the graph. */
async function graphBytes(engine: Engine, ref: { bucket: string; index: string }): Promise<number> {
  await until(async () => (await engine.indexStats(ref)).unindexedVectors === 0);
  return (await engine.indexStats(ref)).bytes.graph;
}

test("m applies to a graph that is built after the change, also when vectors were put before", async (t) => {
  const engine = await open(t);
  const [small, large] = [await createIndex(engine, "small", 4), await createIndex(engine, "large", 64)];
  const [empty, filled] = [await createIndex(engine, "empty", 4), await createIndex(engine, "filled", 4)];
  await put(engine, filled, 0, 4_000);
  for (const ref of [empty, filled]) assert.equal((await engine.updateIndex(ref, { m: 64 })).m, 64);
  for (const ref of [small, large, empty]) await put(engine, ref, 0, 6_000);
  await put(engine, filled, 4_000, 6_000);
  const [smallBytes, largeBytes] = [await graphBytes(engine, small), await graphBytes(engine, large)];
  assert.ok(largeBytes > 3 * smallBytes, `${largeBytes} bytes with m 64, ${smallBytes} with m 4`);
  for (const ref of [empty, filled]) {
    const bytes = await graphBytes(engine, ref);
    assert.ok(bytes > 0.8 * largeBytes, `${bytes} bytes in "${ref.index}", ${largeBytes} with m 64 from the start`);
  }
  assert.equal((await engine.indexStats(filled)).vectorCount, 6_000);
});

test("a graph that stands keeps its m", async (t) => {
  const engine = await open(t);
  const ref = await createIndex(engine, "i", 4);
  await put(engine, ref, 0, 6_000);
  const before = await graphBytes(engine, ref);
  await engine.updateIndex(ref, { m: 64 });
  await put(engine, ref, 6_000, 7_000);
  const after = await graphBytes(engine, ref);
  assert.ok(after < 1.5 * before, `${before} bytes before, ${after} after`);
});
