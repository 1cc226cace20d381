import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { restoreBackup, verifyBackup } from "../../src/engine/embedded/backup/restore.ts";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Backup, Engine, PartitionRef, VectorInput } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DIMENSION = 16;
const NEVER = new AbortController().signal;
const ALL = { prefix: "", after: undefined, maxResults: 1_000 };
const WHOLE = { data: true, metadata: true };
const PARTS: readonly PartitionRef[] = ["", "tenant"].map((namespace) => ({ bucket: "b", index: "i", namespace }));

/** An engine with the index "b/i", closed with the test. */
async function open(t: TestContext, path = temporaryDirectory(), options: { backups?: string } = {}) {
  const engine = await openEmbeddedEngine({
    path,
    writeBuffer: 4 * 1024 * 1024,
    ...options,
    onBackgroundError: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });
  t.after(() => engine.close());
  return { engine, path };
}

async function createIndex(engine: Engine): Promise<void> {
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  const settings = { nonFilterableMetadataKeys: [], m: 16, efConstruction: 200, deletionProtection: false, tags: {} };
  const names = { bucket: "b", index: "i", createdAt: 1 };
  await engine.createIndex({ ...names, dimension: DIMENSION, distanceMetric: "dot_product", ...settings });
}

/** Vectors with all that a vector can have; `round` tells the writes of one key apart. */
function vectorsOf(random: Random, keys: readonly string[], round: number): VectorInput[] {
  return keys.map((key) => ({
    key,
    data: random.vector(DIMENSION),
    sparse: { indices: Uint32Array.of(1, 5, 9), values: random.vector(3) },
    metadata: { round, text: key.repeat(3) },
  }));
}

/** Everything that an engine answers, by namespace and key. */
async function contentOf(engine: Engine): Promise<unknown> {
  const content: Record<string, unknown> = {};
  for (const ref of PARTS) {
    const page = await engine.listVectors(ref, {
      ...ALL,
      maxResults: 100_000,
      maxBytes: 2 ** 30,
      segment: undefined,
      projection: WHOLE,
    });
    content[ref.namespace] = page.items;
  }
  return {
    content,
    jobs: await engine.jobs.load(),
    namespaces: await engine.listNamespaces({ bucket: "b", index: "i" }, ALL),
  };
}

async function filled(t: TestContext, options: { backups?: string } = {}) {
  const { engine, path } = await open(t, temporaryDirectory(), options);
  await createIndex(engine);
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const keys = Array.from({ length: 300 }, (_, i) => `key-${i}`);
  for (const ref of PARTS) await engine.putVectors(ref, vectorsOf(random, keys, 1));
  return { engine, path, random };
}

test("a backup restores to what was there, bit for bit, and to nothing that came later", async (t) => {
  const { engine, path, random } = await filled(t);
  const before = await contentOf(engine);
  const backup = await engine.createBackup({ displayName: "first", signal: NEVER });
  await engine.putVectors(PARTS[0] as PartitionRef, vectorsOf(random, ["key-1", "later"], 2));
  const restored = join(temporaryDirectory(), "restored");
  await restoreBackup(backup.path, restored);
  const { engine: again } = await open(t, restored);
  assert.equal(again.lsn, backup.lsn);
  assert.deepEqual(await contentOf(again), before);
  assert.notDeepEqual(await contentOf(engine), before);
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith("checkpoint")),
    [],
  );
  const { nlink } = statSync(join(backup.path, "data", "CURRENT"));
  assert.equal(nlink, 1);
});

test("backups are listed in the order of their creation, in pages, and by prefix", async (t) => {
  const { engine } = await filled(t);
  const made = await Promise.all(
    ["a", "b", "c"].map((displayName) => engine.createBackup({ displayName, signal: NEVER })),
  );
  const listed = await engine.listBackups(ALL);
  assert.deepEqual(listed, { items: made, more: false });
  assert.deepEqual(
    made.map(({ displayName }) => displayName),
    ["a", "b", "c"],
  );
  const [first, second] = made as [Backup, Backup];
  assert.deepEqual(await engine.listBackups({ ...ALL, maxResults: 1 }), { items: [first], more: true });
  assert.deepEqual((await engine.listBackups({ ...ALL, after: first.id, maxResults: 1 })).items, [second]);
  assert.deepEqual((await engine.listBackups({ ...ALL, prefix: second.id })).items, [second]);
});

test("beside writes, a backup holds exactly the writes up to its lsn, and all that was acknowledged before", async (t) => {
  const { engine } = await open(t);
  await createIndex(engine);
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const batches: { lsn: number; round: number; writer: number }[] = [];
  let stop = false;
  const size = 20;
  const writers = Array.from({ length: 6 }, async (_, writer) => {
    const ref = PARTS[writer % 2] as PartitionRef;
    const keys = Array.from({ length: size }, (_, i) => `w${writer}-${i}`);
    for (let round = 1; !stop; round++) {
      const { lsn } = await engine.putVectors(ref, vectorsOf(random, keys, round));
      batches.push({ lsn, round, writer });
    }
  });
  const made: { backup: Backup; acknowledged: number }[] = [];
  for (let i = 0; i < rounds("BACKUPS", { quick: 4, full: 40 }); i++) {
    const wanted = batches.length + 60;
    while (batches.length < wanted) await new Promise((resolve) => setImmediate(resolve));
    const acknowledged = engine.lsn;
    made.push({ backup: await engine.createBackup({ displayName: "", signal: NEVER }), acknowledged });
  }
  stop = true;
  await Promise.all(writers);
  for (const { backup, acknowledged } of made) {
    assert.ok(backup.lsn >= acknowledged, `the backup ends at ${backup.lsn}, ${acknowledged} was acknowledged`);
    const restored = join(temporaryDirectory(), "restored");
    await restoreBackup(backup.path, restored);
    const { engine: again } = await open(t, restored);
    for (let writer = 0; writer < writers.length; writer++) {
      const ofWriter = batches.filter((batch) => batch.writer === writer && batch.lsn <= backup.lsn);
      const expected = Math.max(0, ...ofWriter.map(({ round }) => round));
      const keys = Array.from({ length: size }, (_, i) => `w${writer}-${i}`);
      const { vectors } = await again.getVectors(PARTS[writer % 2] as PartitionRef, keys, WHOLE);
      const found = new Set(vectors.map(({ metadata, version }) => `${metadata?.round} at ${version}`));
      const lsn = ofWriter.find(({ round }) => round === expected)?.lsn;
      assert.deepEqual([...found], expected === 0 ? [] : [`${expected} at ${lsn}`]);
      assert.equal(vectors.length, expected === 0 ? 0 : size);
    }
    await again.close();
  }
});

test("damage of any file of a backup is found, named, and leaves nothing behind", async (t) => {
  const { engine } = await filled(t);
  const { path } = await engine.createBackup({ displayName: "", signal: NEVER });
  assert.deepEqual((await verifyBackup(path)).problems, []);
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const files = ["manifest.json", ...readdirSync(join(path, "data")).map((name) => join("data", name))];
  assert.ok(files.some((name) => name.endsWith(".sst")) && files.some((name) => name.includes("MANIFEST")));
  const damages: Record<string, (file: string) => void> = {
    "one flipped bit": (file) => {
      const bytes = readFileSync(file);
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      writeFileSync(file, bytes);
    },
    "the end cut off": (file) => truncateSync(file, statSync(file).size - 1),
    "a byte more": (file) => writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.of(0)])),
    absence: (file) => rmSync(file),
  };
  for (const file of files) {
    for (const [what, damage] of Object.entries(damages)) {
      const copy = join(temporaryDirectory(), "copy");
      cpSync(path, copy, { recursive: true });
      if (what !== "absence" && what !== "a byte more" && statSync(join(copy, file)).size === 0) continue;
      damage(join(copy, file));
      const target = join(temporaryDirectory(), "target");
      const error = await restoreBackup(copy, target).then(
        () => assert.fail(`${what} of ${file} was not found`),
        (error: unknown) => error as QuiverError,
      );
      assert.equal(error.reason, "CORRUPTION", `${what} of ${file}: ${error.message}`);
      assert.ok(error.message.includes(file), `${what} of ${file}: ${error.message}`);
      assert.ok(!existsSync(target));
      if (file === "manifest.json") continue;
      assert.deepEqual(
        (await verifyBackup(copy)).problems.map((problem) => problem.file),
        [file],
      );
    }
  }
});

test("a backup of a newer release is refused", async (t) => {
  const { engine } = await filled(t);
  const { path } = await engine.createBackup({ displayName: "", signal: NEVER });
  const { readManifest, renderManifest } = await import("../../src/engine/embedded/backup/manifest.ts");
  const manifest = await readManifest(path);
  for (const newer of [{ formatVersion: manifest.formatVersion + 1 }, { backupFormat: manifest.backupFormat + 1 }]) {
    writeFileSync(join(path, "manifest.json"), renderManifest({ ...manifest, ...newer }));
    const target = join(temporaryDirectory(), "target");
    await assert.rejects(restoreBackup(path, target), {
      reason: "CORRUPTION",
      message: /use the release that made it/,
    });
    assert.ok(!existsSync(target));
  }
});

test("a backup is restored into an empty or absent directory only", async (t) => {
  const { engine } = await filled(t);
  const { path } = await engine.createBackup({ displayName: "", signal: NEVER });
  const used = temporaryDirectory();
  writeFileSync(join(used, "mine"), "");
  await assert.rejects(restoreBackup(path, used), { reason: "INVALID_FIELD", message: /it holds "mine"/ });
  assert.deepEqual(readdirSync(used), ["mine"]);
  await assert.rejects(restoreBackup(path, join(used, "a", "b")), { reason: "INVALID_FIELD" });
  await assert.rejects(restoreBackup(used, join(used, "new")), { reason: "CORRUPTION", message: /is no backup/ });
  const leftOver = temporaryDirectory();
  mkdirSync(join(leftOver, "restore.log"));
  writeFileSync(join(leftOver, "restore.log", "CURRENT"), "half");
  await assert.rejects(openEmbeddedEngine({ path: leftOver, onBackgroundError: () => {} }), {
    reason: "CORRUPTION",
    message: /CURRENT is missing/,
  });
  await restoreBackup(path, leftOver);
  assert.ok(!existsSync(join(leftOver, "restore.log")));
  const { engine: again } = await open(t, leftOver);
  assert.deepEqual(await contentOf(again), await contentOf(engine));
});

test("a backup that is cancelled, or whose server closes, leaves nothing", async (t) => {
  const backups = join(temporaryDirectory(), "backups");
  const { engine, path } = await filled(t, { backups });
  const left = () => [...readdirSync(backups), ...readdirSync(path).filter((name) => name.startsWith("checkpoint"))];
  const cancelling = new AbortController();
  const cancelled = engine.createBackup({ displayName: "", signal: cancelling.signal });
  cancelling.abort(new QuiverError("CANCELLED", "enough"));
  await assert.rejects(cancelled, { reason: "CANCELLED" });
  const closed = assert.rejects(engine.createBackup({ displayName: "", signal: NEVER }), { reason: "SHUTTING_DOWN" });
  await engine.close();
  await closed;
  assert.deepEqual(existsSync(backups) ? left() : [], []);
});

test("what a crash left of a backup is gone after the next start, and what is not ours stays", async (t) => {
  const { engine, path } = await filled(t);
  const backup = await engine.createBackup({ displayName: "", signal: NEVER });
  await engine.close();
  const backups = join(path, "backups");
  for (const left of [
    join(backups, `${backup.id}.tmp`),
    join(path, "checkpoint-backup"),
    join(path, "checkpoint-backup.tmp"),
  ]) {
    cpSync(join(backup.path, "data"), left, { recursive: true });
  }
  mkdirSync(join(backups, "mine.tmp"));
  const { engine: again } = await open(t, path);
  assert.deepEqual(readdirSync(backups).sort(), [backup.id, "mine.tmp"]);
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith("checkpoint")),
    [],
  );
  assert.deepEqual((await again.listBackups(ALL)).items, [backup]);
});

test("a backup whose manifest is damaged is not left out of the list in silence", async (t) => {
  const { engine } = await filled(t);
  const backup = await engine.createBackup({ displayName: "", signal: NEVER });
  rmSync(join(backup.path, "manifest.json"));
  await assert.rejects(engine.listBackups(ALL), { reason: "CORRUPTION", message: new RegExp(backup.id) });
});

test("without the parent of its directory, a backup fails and says so", async (t) => {
  const { engine } = await filled(t, { backups: join(temporaryDirectory(), "not", "mounted") });
  await assert.rejects(engine.createBackup({ displayName: "", signal: NEVER }), {
    message: /Cannot make a backup.*ENOENT/,
  });
  assert.deepEqual(await engine.listBackups(ALL), { items: [], more: false });
});
