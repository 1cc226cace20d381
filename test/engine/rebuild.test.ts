import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine, Query, VectorInput } from "../../src/engine/engine.ts";
import { exactSearch, recall } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 32;
const VECTORS = 12_000;
const BATCH = 1_000;
const index = { bucket: "b", index: "i" };
const partition = { ...index, namespace: "" };

async function openIndex(t: TestContext): Promise<{ engine: Engine; restart(): Promise<Engine> }> {
  let engine: Engine | undefined;
  t.after(() => engine?.close());
  const path = temporaryDirectory();
  const onBackgroundError = (message: string, error: unknown) => {
    throw new Error(message, { cause: error });
  };
  engine = await openEmbeddedEngine({ path, onBackgroundError });
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  await engine.createIndex({
    ...index,
    createdAt: 1,
    dimension: DIMENSION,
    distanceMetric: "cosine",
    nonFilterableMetadataKeys: ["text"],
    m: 16,
    efConstruction: 100,
    deletionProtection: false,
    tags: {},
  });
  return {
    engine,
    async restart() {
      await engine?.close();
      engine = await openEmbeddedEngine({ path, onBackgroundError });
      return engine;
    },
  };
}

/** Round `round` of all vectors, with 2 KiB of metadata that is not filtered by, so that the disk shows what is kept. */
function* batches(random: Random, round: number): Generator<VectorInput[]> {
  for (let first = 0; first < VECTORS; first += BATCH) {
    yield Array.from({ length: BATCH }, (_, i) => ({
      key: `k${first + i}`,
      data: random.vector(DIMENSION),
      metadata: { round, part: (first + i) % 10, text: `${random.next()}`.repeat(110) },
    }));
  }
}

function query(data: Float32Array, part?: number): Query {
  const filter = part === undefined ? undefined : ({ kind: "in", key: "part", values: [part] } as const);
  const search = { kind: "recall_target", recallTarget: 0.95 } as const;
  return {
    target: { kind: "vector", data },
    topK: 10,
    search,
    filter,
    projection: { data: false, metadata: true },
  };
}

test("memory and disk come back after everything was overwritten, while queries and writes go on", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { engine } = await openIndex(t);
  const model = new Map<string, Float32Array>();
  for (const batch of batches(random, 0)) await engine.putVectors(partition, batch);
  await until(async () => (await engine.indexStats(index)).state === "ready");
  const fresh = await engine.indexStats(index);

  for (let round = 1; round <= 3; round++) {
    for (const batch of batches(random, round)) {
      await engine.putVectors(partition, batch);
      for (const { key, data } of batch) if (data) model.set(key, data);
      const { vectors } = await engine.queryVectors(partition, query(random.vector(DIMENSION)));
      assert.equal(vectors.length, 10);
    }
  }
  // Deletes and changes of metadata while the new set is loaded must reach it too.
  const gone = [...model.keys()].filter((_, i) => i % 50 === 0);
  await engine.deleteVectors(partition, { kind: "keys", keys: gone });
  for (const key of gone) model.delete(key);
  const moved = [...model.keys()].slice(0, 500);
  await engine.updateVectors(
    partition,
    { kind: "keys", updates: moved.map((key) => ({ key, setMetadata: { part: 77 } })) },
    { dryRun: false, assertMetadata: () => {} },
  );
  await until(async () => {
    const { state, deletedVectors, bytes } = await engine.indexStats(index);
    // The set that holds the keys of the dead is exchanged a little after its graph is complete.
    return state === "ready" && deletedVectors < VECTORS / 2 && bytes.keys < 2.5 * fresh.bytes.keys;
  });
  const stats = await engine.indexStats(index);
  assert.equal(stats.vectorCount, model.size);
  for (const part of ["vectors", "graph", "keys", "metadata"] as const) {
    const [after, before] = [stats.bytes[part], fresh.bytes[part]];
    assert.ok(after < 2.5 * before, `${part}: ${after} bytes, ${before} when it was fresh`);
  }
  await until(async () => {
    const { disk } = (await engine.indexStats(index)).bytes;
    return disk > VECTORS * 1_000 && disk < 2.5 * VECTORS * 2_300;
  });

  let found = 0;
  for (let i = 0; i < 50; i++) {
    const data = random.vector(DIMENSION);
    const { vectors } = await engine.queryVectors(partition, query(data));
    found += recall(exactSearch("cosine", model, data, 10), vectors);
    for (const { key, metadata } of vectors) assert.ok(model.has(key) && metadata?.round === 3, key);
  }
  assert.ok(found / 50 >= 0.9, `recall ${found / 50}`);
  const inPart = await engine.queryVectors(partition, { ...query(random.vector(DIMENSION), 77), topK: 1_000 });
  assert.deepEqual(inPart.vectors.map(({ key }) => key).sort(), moved.toSorted());
});

test("memory and disk come back after everything was deleted", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const opened = await openIndex(t);
  for (const batch of batches(random, 0)) await opened.engine.putVectors(partition, batch);
  // A start writes what the write-ahead log holds into files.
  const engine = await opened.restart();
  await until(async () => (await engine.indexStats(index)).state === "ready");
  assert.ok((await engine.indexStats(index)).bytes.disk > VECTORS * 1_000);
  assert.ok((await engine.indexStats(index)).bytes.vectors >= VECTORS * DIMENSION * 4);
  const half = { kind: "filter", filter: { kind: "range", key: "part", bounds: { lt: 5 } } } as const;
  assert.equal((await engine.deleteVectors(partition, half)).deletedCount, VECTORS / 2);
  await until(async () => {
    const { deletedVectors, state } = await engine.indexStats(index);
    return deletedVectors === 0 && state === "ready";
  });
  assert.equal((await engine.deleteVectors(partition, { kind: "all" })).deletedCount, VECTORS / 2);
  const { vectorCount, bytes } = await engine.indexStats(index);
  assert.equal(vectorCount, 0);
  assert.ok(bytes.vectors + bytes.graph + bytes.keys + bytes.metadata < 100_000, JSON.stringify(bytes));
  await until(async () => (await engine.indexStats(index)).bytes.disk < 1_000_000);
});
