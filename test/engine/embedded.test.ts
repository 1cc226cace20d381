import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { engineSuite } from "./suite.ts";

engineSuite("embedded", async (t) => {
  // Registered before the directory: what is registered first runs first.
  t.after(() => engine.close());
  const path = temporaryDirectory();
  const open = () =>
    openEmbeddedEngine({
      path,
      onBackgroundError: (message, error) => {
        throw new Error(message, { cause: error });
      },
    });
  let engine: Engine = await open();
  return {
    get engine() {
      return engine;
    },
    async restart() {
      await engine.close();
      engine = await open();
    },
  };
});

/** An engine with the index "b/i" that holds one vector, closed. */
async function store(path: string): Promise<void> {
  const engine = await openEmbeddedEngine({ path, onBackgroundError: () => {} });
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  const settings = { nonFilterableMetadataKeys: [], m: 16, efConstruction: 200, deletionProtection: false, tags: {} };
  const names = { bucket: "b", index: "i", createdAt: 1 };
  await engine.createIndex({ ...names, dimension: 2, distanceMetric: "cosine", ...settings });
  const vectors = [{ key: "k", data: Float32Array.of(1, 2), metadata: {} }];
  await engine.putVectors({ bucket: "b", index: "i", namespace: "" }, vectors);
  await engine.close();
}

test("a damaged vector record fails its index with CORRUPTION, says so once, and leaves the server running", async (t) => {
  const path = temporaryDirectory();
  await store(path);
  const database = await openDatabase(path);
  const family = database.columnFamilies().find(({ name }) => name.startsWith("index-"))?.id ?? 0;
  const batch = new WriteBatch();
  batch.put(family, Buffer.from("\x01\0k"), Buffer.from("short"));
  await database.write(batch.bytes());
  await database.close();

  const complaints: string[] = [];
  const engine = await openEmbeddedEngine({ path, onBackgroundError: (message) => complaints.push(message) });
  t.after(() => engine.close());
  const call = engine.getVectors({ bucket: "b", index: "i", namespace: "" }, ["k"], { data: true, metadata: false });
  await assert.rejects(call, { reason: "CORRUPTION" });
  assert.deepEqual(complaints, ['Cannot load index "b/i"; its calls fail']);
  assert.deepEqual(engine.indexStates(), [{ bucket: "b", index: "i", state: "failed" }]);
});

test("vectors that the catalog does not know are never removed: the store is refused", async () => {
  const path = temporaryDirectory();
  await store(path);
  const database = await openDatabase(path);
  const batch = new WriteBatch();
  batch.delete(0, Buffer.from("\x03b\0i"));
  await database.write(batch.bytes());
  await database.close();
  await assert.rejects(openEmbeddedEngine({ path, onBackgroundError: () => {} }), { reason: "CORRUPTION" });
  const again = await openDatabase(path);
  assert.equal(again.columnFamilies().length, 2);
  await again.close();
});

test("what a crash left of a deletion is removed at the next start", async () => {
  const path = temporaryDirectory();
  await store(path);
  const database = await openDatabase(path);
  const name = database.columnFamilies().find((family) => family.name.startsWith("index-"))?.name ?? "";
  const batch = new WriteBatch();
  batch.delete(0, Buffer.from("\x03b\0i"));
  batch.put(0, Buffer.from(`\x04${name}`), Buffer.alloc(0));
  await database.write(batch.bytes());
  await database.createColumnFamily("index-left-by-a-crash");
  await database.close();
  for (let start = 0; start < 2; start++) {
    const engine = await openEmbeddedEngine({ path, onBackgroundError: () => {} });
    assert.deepEqual(engine.indexStates(), []);
    await engine.close();
  }
  const after = await openDatabase(path);
  assert.deepEqual(after.columnFamilies(), [{ name: "default", id: 0 }]);
  await after.close();
});

test("data of the first format opens as it is, and data of a later one is refused untouched", async () => {
  const path = temporaryDirectory();
  await store(path);
  const setFormat = async (version: number) => {
    const database = await openDatabase(path);
    const batch = new WriteBatch();
    batch.put(0, Uint8Array.of(0x00), Uint8Array.of(version, 0, 0, 0));
    await database.write(batch.bytes());
    await database.close();
  };
  await setFormat(1);
  const engine = await openEmbeddedEngine({ path, onBackgroundError: () => {} });
  const ref = { bucket: "b", index: "i", namespace: "" };
  const { vectors } = await engine.getVectors(ref, ["k"], { data: true, metadata: true });
  assert.deepEqual(vectors[0]?.data, Float32Array.of(1, 2));
  await engine.close();
  await setFormat(99);
  const refused = openEmbeddedEngine({ path, onBackgroundError: () => {} });
  await assert.rejects(refused, { reason: "CORRUPTION", message: /format version 99/ });
  await setFormat(2);
  await (await openEmbeddedEngine({ path, onBackgroundError: () => {} })).close();
});
