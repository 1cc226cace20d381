import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { type EmbeddedEngineOptions, openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { vectorHeader } from "../../src/engine/embedded/layout.ts";
import { Findings } from "../../src/engine/embedded/verify/findings.ts";
import { verifyAcknowledged, verifyCurrent } from "../../src/engine/embedded/verify/verify-files.ts";
import type {
  DistanceMetric,
  Engine,
  IndexRef,
  PartitionRef,
  VectorInput,
  Verification,
} from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 8;
const NEVER = new AbortController().signal;
const METRICS: readonly DistanceMetric[] = ["cosine", "euclidean", "dot_product"];

async function open(
  t: Pick<TestContext, "after">,
  path: string,
  options: Partial<EmbeddedEngineOptions> = {},
): Promise<Engine> {
  const writeBuffer = 4 * 1024 * 1024;
  const engine = await openEmbeddedEngine({ path, writeBuffer, onBackgroundError: () => {}, ...options });
  t.after(() => engine.close());
  return engine;
}

/** An engine with an index of each metric in bucket "b", each with two namespaces. */
async function filled(
  t: TestContext,
  { count = 200, metrics = METRICS }: { readonly count?: number; readonly metrics?: readonly DistanceMetric[] } = {},
): Promise<{ engine: Engine; path: string; random: Random }> {
  const path = temporaryDirectory();
  const engine = await open(t, path);
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  for (const distanceMetric of metrics) {
    const settings = { nonFilterableMetadataKeys: [], m: 16, efConstruction: 50, deletionProtection: false, tags: {} };
    await engine.createIndex({
      bucket: "b",
      index: distanceMetric,
      createdAt: 1,
      dimension: DIMENSION,
      distanceMetric,
      ...settings,
    });
    for (const namespace of ["", "tenant"]) {
      const ref = { bucket: "b", index: distanceMetric, namespace };
      for (let at = 0; at < count; at += 1_000) {
        await engine.putVectors(ref, vectorsOf(random, ref, at, Math.min(count, at + 1_000)));
      }
      await engine.deleteVectors(ref, { kind: "keys", keys: ["key-3", "absent"] });
    }
  }
  return { engine, path, random };
}

function vectorsOf(random: Random, { index }: IndexRef, from: number, to: number): VectorInput[] {
  return Array.from({ length: to - from }, (_, i) => ({
    key: `key-${from + i}`,
    data: index === "dot_product" && i % 3 === 0 ? undefined : random.vector(DIMENSION),
    sparse: index === "dot_product" ? { indices: Uint32Array.of(1, 7), values: random.vector(2) } : undefined,
    metadata: { i },
  }));
}

const verify = (engine: Engine, ref?: IndexRef): Promise<Verification> => engine.verify({ ref, signal: NEVER });

/** The file and the index of each problem. */
const placesOf = ({ problems }: Verification) => problems.map(({ file, index }) => [file, index?.index]);

/** Runs a command as a user does; the exit code, and what it printed. */
function quiver(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const main = resolve(import.meta.dirname, "../../src/main.ts");
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args], (error, out, err) =>
      done({ code: Number(error?.code ?? 0), out, err }),
    );
  });
}

const messagesOf = ({ problems }: Verification) => problems.map(({ error }) => error.message);

/** Changes one bit of a file, in the given part of it. */
function flipBit(random: Random, path: string, { from = 0, to = Number.POSITIVE_INFINITY } = {}): void {
  const bytes = readFileSync(path);
  const at = from + random.below(Math.min(to, bytes.length) - from);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  writeFileSync(path, bytes);
}

/** What a write past the engine leaves, as a defect of it would. */
async function plant(path: string, index: string, fill: (batch: WriteBatch, family: number) => void): Promise<void> {
  const database = await openDatabase(path);
  const catalog = await database.scan({ columnFamily: 0, gte: Buffer.from(`\x03b\0${index}`), limit: 1 });
  const [, , at = 0, length = 0] = catalog.entries;
  const { columnFamily } = JSON.parse(Buffer.from(catalog.data, at, length).toString());
  const batch = new WriteBatch();
  fill(batch, database.columnFamilies().find(({ name }) => name === columnFamily)?.id ?? 0);
  await database.write(batch.bytes());
  await database.close();
}

test("nothing is wrong with intact data, and all of it is read", async (t) => {
  const { engine, path } = await filled(t);
  const all = await verify(engine);
  assert.deepEqual(messagesOf(all), []);
  assert.equal(all.vectors, METRICS.length * 2 * 199);
  assert.equal(all.lsn, engine.lsn);
  assert.ok(all.files > METRICS.length && all.bytes > 0);
  const one = await verify(engine, { bucket: "b", index: "cosine" });
  assert.deepEqual(messagesOf(one), []);
  assert.equal(one.vectors, 2 * 199);
  assert.ok(one.files < all.files);
  await assert.rejects(verify(engine, { bucket: "b", index: "none" }), { reason: "INDEX_NOT_FOUND" });
  await assert.rejects(verify(engine, { bucket: "none", index: "none" }), { reason: "BUCKET_NOT_FOUND" });
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith("checkpoint")),
    [],
  );
});

test("beside writes, overwrites, deletes and changes of indexes and namespaces, nothing is found wrong", async (t) => {
  const { engine, random } = await filled(t);
  let stop = false;
  const load = METRICS.map(async (index) => {
    for (let round = 0; !stop; round++) {
      for (const namespace of ["", "tenant", "short"]) {
        const ref: PartitionRef = { bucket: "b", index, namespace };
        await engine.putVectors(ref, vectorsOf(random, ref, 50 * (round % 5), 50 * (round % 5) + 100));
        await engine.deleteVectors(ref, { kind: "keys", keys: [`key-${random.below(200)}`] });
      }
      await engine.deleteNamespace({ bucket: "b", index, namespace: "short" });
    }
  });
  const found: string[] = [];
  for (let i = 0; i < 5; i++) found.push(...messagesOf(await verify(engine)));
  stop = true;
  await Promise.all(load);
  assert.deepEqual(found, []);
});

test("a backup leaves the checkpoint of a verification beside it alone", async (t) => {
  const { engine } = await filled(t);
  const found: string[] = [];
  for (let i = 0; i < 5; i++) {
    const verifying = verify(engine);
    await engine.createBackup({ displayName: "", signal: NEVER });
    found.push(...messagesOf(await verifying));
  }
  assert.deepEqual(found, []);
});

/** What is compacted already is not compacted while it is damaged, which would turn the store read-only. */
async function compacted(t: TestContext) {
  const { engine: before, path, random } = await filled(t);
  await before.close();
  const database = await openDatabase(path);
  for (const { id } of database.columnFamilies()) await database.compact(id);
  await database.close();
  return { path, random };
}

test("one flipped bit of a table or of the manifest is found, and its file is named", async (t) => {
  const { path, random } = await compacted(t);
  const tables = readdirSync(path).filter((name) => name.endsWith(".sst"));
  assert.ok(tables.length > METRICS.length);
  const engine = await open(t, path);
  const current = readFileSync(join(path, "CURRENT"), "latin1").trim();
  for (const file of [...tables, current]) {
    const whole = readFileSync(join(path, file));
    // The last bytes of a table hold zeros that nothing reads.
    const part = { to: whole.length - (file.endsWith(".sst") ? 53 : 0) };
    flipBit(random, join(path, file), part);
    const damaged = await verify(engine);
    writeFileSync(join(path, file), whole);
    assert.ok(damaged.problems.length > 0, `nothing is wrong with ${file}`);
    // Each once, by the name that it has in the data directory.
    assert.equal(damaged.problems.filter((problem) => problem.file === file).length, 1, `${messagesOf(damaged)}`);
    assert.ok(
      messagesOf(damaged).every((message) => !message.includes("checkpoint-")),
      `${messagesOf(damaged)}`,
    );
    assert.ok(damaged.problems.every(({ error }) => error.reason === "CORRUPTION"));
    assert.equal(engine.health.state, "failed");
    assert.ok(engine.health.problems.some(({ message }) => message.includes(file)));
    // One index that is whole says nothing of the rest.
    await verify(engine, { bucket: "b", index: "cosine" });
    assert.equal(engine.health.state, "failed");
  }
  assert.deepEqual(messagesOf(await verify(engine)), []);
  assert.equal(engine.health.state, "healthy");
});

test("one flipped bit of CURRENT is found", async (t) => {
  // Not of an open engine, which takes no more writes when it comes to look at it.
  const { engine, path, random } = await filled(t);
  await engine.close();
  for (let i = 0; i < 50; i++) {
    const whole = readFileSync(join(path, "CURRENT"));
    const findings = new Findings(new AbortController().signal);
    // It ends with the end of its line.
    flipBit(random, join(path, "CURRENT"), { to: whole.length - 1 });
    await verifyCurrent(path, findings);
    writeFileSync(join(path, "CURRENT"), whole);
    assert.deepEqual(
      findings.at(0).problems.map(({ file }) => file),
      ["CURRENT"],
    );
  }
});

test("a table that is missing is named, and the others are read nevertheless", async (t) => {
  const { path, random } = await compacted(t);
  const engine = await open(t, path);
  const [missing = "", damaged = ""] = readdirSync(path)
    .filter((name) => name.endsWith(".sst"))
    .sort()
    .reverse();
  renameSync(join(path, missing), join(path, "away"));
  flipBit(random, join(path, damaged), { to: statSync(join(path, damaged)).size - 53 });
  const found = await verify(engine);
  const files = found.problems.map((problem) => problem.file);
  assert.ok(files.includes(missing) && files.includes(damaged), `${missing} and ${damaged}: ${messagesOf(found)}`);
});

test("one flipped bit of a saved graph is found", async (t) => {
  const { engine: before, path, random } = await filled(t, { count: 5_200, metrics: ["cosine"] });
  await until(() => before.indexStates().every(({ state }) => state === "ready"));
  await before.close();
  const told: unknown[] = [];
  const engine = await open(t, path, { onDamage: ({ file }) => told.push(file) });
  await until(() => engine.indexStates().every(({ state }) => state === "ready"));
  const intact = await verify(engine);
  assert.deepEqual(messagesOf(intact), []);
  const files = globSync(["graphs/*/*.graph", "graphs/*/*.keys"], { cwd: path });
  assert.equal(files.length, 2 * 2);
  assert.ok(intact.files > files.length);
  for (const file of files) {
    const whole = readFileSync(join(path, file));
    flipBit(random, join(path, file));
    const damaged = await verify(engine);
    writeFileSync(join(path, file), whole);
    assert.deepEqual(placesOf(damaged), [[file, "cosine"]], `${messagesOf(damaged)}`);
    assert.deepEqual(told.splice(0), [file]);
    assert.equal(engine.health.state, "healthy");
  }
  assert.deepEqual(messagesOf(await verify(engine)), []);
});

test("the command names a damaged saved graph, and leaves it as it is", async (t) => {
  const { engine, path, random } = await filled(t, { count: 5_200, metrics: ["cosine"] });
  await until(() => engine.indexStates().every(({ state }) => state === "ready"));
  await engine.close();
  const files = () => globSync("graphs/*/*", { cwd: path }).sort();
  const content = () => files().map((file) => readFileSync(join(path, file)));
  const before = files();
  const intact = await quiver("verify", "--data", path);
  assert.equal(intact.code, 0, intact.out);
  assert.match(intact.out, /^intact {3}\d+ files \(tables, CURRENT, ACKNOWLEDGED, saved graphs\), 10398 vectors\n$/);
  const damaged = [".graph", ".keys"].map((kind) => before.find((file) => file.endsWith(kind)) ?? assert.fail(kind));
  for (const file of damaged) {
    // One at a time: a file of keys whose beginning is damaged does not tell which graph it belongs to.
    const whole = readFileSync(join(path, file));
    flipBit(random, join(path, file));
    const bytes = content();
    for (let i = 0; i < 2; i++) {
      const { code, out, err } = await quiver("verify", "--data", path);
      assert.deepEqual([code, err], [4, ""], out);
      const lines = out.split("\n").filter((line) => line.startsWith("damaged"));
      const told = lines.map((line) => line.split("  ").slice(1, 3));
      assert.deepEqual(told, [[file, "b/cosine"]]);
      assert.deepEqual([files(), content()], [before, bytes]);
    }
    writeFileSync(join(path, file), whole);
  }
});

test("a flipped bit of the high-water mark is found", async (t) => {
  // Not of an open engine, which writes it anew every second.
  const { engine, path, random } = await filled(t);
  await engine.close();
  const file = "ACKNOWLEDGED";
  for (const from of [0, 4096]) {
    const whole = readFileSync(join(path, file));
    const findings = new Findings(new AbortController().signal);
    flipBit(random, join(path, file), { from, to: from + 28 });
    await verifyAcknowledged(path, findings);
    writeFileSync(join(path, file), whole);
    assert.deepEqual(
      findings.at(0).problems.map((problem) => problem.file),
      [file],
    );
  }
});

test("what does not fit together in the store is found, vector by vector", async (t) => {
  const { engine, path, random } = await filled(t);
  await engine.close();
  const data = random.vector(DIMENSION);
  await plant(path, "euclidean", (batch, family) => {
    batch.put(family, Buffer.from("\x01\0key-1"), Buffer.from("short"));
    batch.put(family, Buffer.from("\x01\0orphan"), vectorHeader(1, DIMENSION), Buffer.from(data.buffer));
    batch.delete(family, Buffer.from("\x01\0key-2"));
    batch.put(family, Buffer.from("\x01\0key-4"), vectorHeader(1, DIMENSION - 1), Buffer.from(data.buffer, 4));
    batch.put(family, Buffer.from("\x02\0key-5"), Buffer.from("12345678{"));
    batch.put(family, Buffer.from("\x05\0idempotent"), Buffer.from("no JSON"));
    batch.put(family, Buffer.from("\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"), Buffer.from("short"));
    batch.put(family, Buffer.from("\x07"), Buffer.from("unknown"));
    batch.put(0, Buffer.from("\x05job"), Buffer.from("no JSON"));
  });
  const again = await open(t, path);
  const found = await verify(again);
  const told = messagesOf(found).join("\n");
  for (const key of ["key-1", "orphan", "key-2", "key-4", "key-5"])
    assert.ok(told.includes(`"${key}"`), `${key} in ${told}`);
  assert.match(told, /Record 0x05/);
  assert.match(told, /Record 0x06/);
  assert.match(told, /unknown kind 7/);
  assert.match(told, /Record 0x056a6f62/);
  assert.deepEqual(new Set(found.problems.map(({ index }) => index?.index)), new Set([undefined, "euclidean"]));
  assert.ok(!told.includes('"cosine"'));
});

for (const metric of METRICS) {
  test(`a difference between the graph and the store is found, ${metric}`, async (t) => {
    const { engine, random } = await filled(t);
    const { VectorSet } = await import("../../src/engine/embedded/set/vector-set.ts");
    const { dataOf } = VectorSet.prototype;
    const victim = random.below(190) + 4;
    // Stands for a graph that holds other data than the store.
    t.mock.method(VectorSet.prototype, "dataOf", function (this: InstanceType<typeof VectorSet>, ordinal: number) {
      const data = dataOf.call(this, ordinal);
      if (!data || this.metric !== metric || ordinal !== victim) return data;
      return data.map((value, i) => (i === 0 ? value + 0.01 : value));
    });
    const found = await verify(engine);
    const hit = metric === "dot_product" && victim % 3 === 0 ? 0 : 2;
    assert.equal(found.problems.length, hit, `${messagesOf(found)}`);
    for (const { error, index } of found.problems) {
      assert.match(error.message, new RegExp(`"key-${victim}"`));
      assert.equal(index?.index, metric);
    }
  });
}

test("the signal ends a verification, and so does closing", async (t) => {
  const { engine, path } = await filled(t);
  const ending = new AbortController();
  const ended = assert.rejects(engine.verify({ ref: undefined, signal: ending.signal }), { reason: "CANCELLED" });
  setImmediate(() => ending.abort(new QuiverError("CANCELLED", "enough")));
  await ended;
  const closed = assert.rejects(verify(engine), { reason: "SHUTTING_DOWN" });
  await engine.close();
  await closed;
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith("checkpoint")),
    [],
  );
});
