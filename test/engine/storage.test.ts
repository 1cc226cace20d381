import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { type EmbeddedEngineOptions, openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { Acknowledged, readAcknowledged } from "../../src/engine/embedded/storage/acknowledged.ts";
import type { Engine, Health } from "../../src/engine/engine.ts";
import { contentOf } from "../native/rocksdb-support.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const REF = { bucket: "b", index: "i", namespace: "" };

function open(path: string, options: Partial<EmbeddedEngineOptions> = {}): Promise<Engine> {
  return openEmbeddedEngine({ path, onBackgroundError: () => {}, ...options });
}

async function put(engine: Engine, key: string): Promise<number> {
  const { lsn } = await engine.putVectors(REF, [{ key, data: Float32Array.of(1, 2), metadata: {} }]);
  return lsn;
}

/** A closed data directory with the index "b/i" of one vector, "first". */
async function stored(): Promise<string> {
  const path = temporaryDirectory();
  const engine = await open(path);
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  const settings = { nonFilterableMetadataKeys: [], m: 16, efConstruction: 200, deletionProtection: false, tags: {} };
  const config = { createdAt: 1, dimension: 2, distanceMetric: "cosine" as const, ...settings };
  await engine.createIndex({ bucket: "b", index: "i", ...config });
  await put(engine, "first");
  await engine.close();
  return path;
}

function copyOf(path: string): string {
  const copy = temporaryDirectory();
  cpSync(path, copy, { recursive: true });
  return copy;
}

function flipBit(file: string, at: number): void {
  const content = readFileSync(file);
  content[at] = (content[at] ?? 0) ^ 0x10;
  writeFileSync(file, content);
}

function filesOf(path: string, pattern: RegExp): string[] {
  return readdirSync(path).filter((name) => pattern.test(name));
}

test("the mark of what is acknowledged follows the writes, and is exact after a close", async (t) => {
  const path = await stored();
  const engine = await open(path);
  t.after(() => engine.close());
  const lsn = await put(engine, "second");
  await until(async () => (await readAcknowledged(path)) === lsn);
  const last = await put(engine, "third");
  await engine.close();
  assert.equal(await readAcknowledged(path), last);
});

test("data that has lost what was acknowledged is refused, untouched, until the mark is deleted", async (t) => {
  const path = await stored();
  const older = copyOf(path);
  const engine = await open(path);
  const lsn = await put(engine, "second");
  await engine.close();
  cpSync(join(path, "ACKNOWLEDGED"), join(older, "ACKNOWLEDGED"));
  const before = contentOf(older);
  const message = new RegExp(
    `lsn ${lsn} .*lsn ${lsn - 1} .*copy the directory first, then restore a backup; or delete .*ACKNOWLEDGED": then what came after lsn ${lsn - 1} is lost, if the store opens`,
  );
  await assert.rejects(open(older), { reason: "CORRUPTION", code: "DATA_LOSS", message });
  assert.deepEqual(contentOf(older), before);

  rmSync(join(older, "ACKNOWLEDGED"));
  const warnings: string[] = [];
  const accepted = await open(older, { onWarning: (warning) => warnings.push(warning) });
  t.after(() => accepted.close());
  assert.deepEqual([warnings.length, await readAcknowledged(older)], [1, lsn - 1]);
  await accepted.close();
});

test("a deleted log is refused, and so is a directory that has lost all but its mark", async () => {
  const path = await stored();
  const files = filesOf(path, /./);
  const logs = files.filter((name) => name.endsWith(".log"));
  assert.notEqual(logs.length, 0);
  for (const name of logs) rmSync(join(path, name));
  await assert.rejects(open(path), { reason: "CORRUPTION" });
  for (const name of files) if (name !== "ACKNOWLEDGED") rmSync(join(path, name), { recursive: true, force: true });
  await assert.rejects(open(path), { reason: "CORRUPTION", message: /only those up to lsn 0 are there/ });
  assert.deepEqual(filesOf(path, /^CURRENT$/), []);
});

test("a log that is damaged in its middle is named, with and without its mark, and deleting the mark is not proposed", async (t) => {
  const path = await stored();
  const engine = await open(path);
  t.after(() => engine.close());
  for (const key of ["second", "third", "fourth"]) await put(engine, key);
  await until(async () => (await readAcknowledged(path)) === engine.lsn);
  const killed = copyOf(path);
  const [log = "", ...others] = filesOf(killed, /\.log$/);
  assert.deepEqual(others, []);
  flipBit(join(killed, log), readFileSync(join(killed, log)).length >> 1);
  const refused = (message: RegExp) =>
    assert.rejects(open(killed), (error: Error) => {
      assert.match(error.message, message);
      assert.match(error.message, new RegExp(`"${log}".*; copy the directory first, then restore a backup$`));
      return true;
    });
  await refused(/ is damaged: writes up to lsn \d+ were acknowledged/);
  rmSync(join(killed, "ACKNOWLEDGED"));
  await refused(/checksum mismatch in the file/);
});

test("a manifest that is shorter than it was is refused, though all of it can be read", async (t) => {
  const path = await stored();
  const engine = await open(path);
  await engine.close();
  const [manifest = ""] = filesOf(path, /^MANIFEST-/);
  const { length } = readFileSync(join(path, manifest));
  for (const bytes of [length - 1, Math.floor(length / 2)]) {
    const copy = copyOf(path);
    truncateSync(join(copy, manifest), bytes);
    const before = contentOf(copy);
    const message = new RegExp(`${manifest}" has ${bytes} bytes and had ${length}; restore a backup`);
    await assert.rejects(open(copy), { reason: "CORRUPTION", message });
    assert.deepEqual(contentOf(copy), before);
  }
  const whole = await open(path);
  t.after(() => whole.close());
});

test("one damaged slot of the mark is no matter, two are a refusal that names the file", async (t) => {
  const path = await stored();
  const file = join(path, "ACKNOWLEDGED");
  const lsn = await readAcknowledged(path);
  for (const slot of [0, 1]) {
    const copy = copyOf(path);
    flipBit(join(copy, "ACKNOWLEDGED"), 4096 * slot + 17);
    assert.ok((await readAcknowledged(copy)) !== undefined);
    const engine = await open(copy);
    t.after(() => engine.close());
    const next = await put(engine, "second");
    await engine.close();
    assert.equal(await readAcknowledged(copy), next);
    assert.equal(next, (lsn ?? 0) + 1);
  }
  flipBit(file, 2);
  flipBit(file, 4096 + 25);
  await assert.rejects(open(path), { reason: "CORRUPTION", message: /ACKNOWLEDGED.* are damaged/ });
  truncateSync(file, 0);
  await assert.rejects(open(path), { reason: "CORRUPTION", message: /ACKNOWLEDGED.* are damaged/ });
});

test("whatever a torn write leaves of one slot, the mark is the last one or the one before", async () => {
  const path = temporaryDirectory();
  const manifest = { manifest: 0, manifestBytes: 0 };
  const mark = await Acknowledged.open(path, { lsn: 5, ...manifest });
  const file = join(path, "ACKNOWLEDGED");
  let before = readFileSync(file);
  for (let lsn = 6; lsn < 9; lsn++) {
    await mark.raise({ lsn, ...manifest });
    const after = readFileSync(file);
    for (let torn = 0; torn < 4096; torn += 7) {
      const slot = [0, 4096].find((at) => !before.subarray(at, at + 4096).equals(after.subarray(at, at + 4096))) ?? 0;
      const half = Buffer.from(before);
      after.copy(half, slot, slot, slot + torn);
      writeFileSync(file, half);
      const read = await readAcknowledged(path);
      assert.ok(read === lsn || read === lsn - 1, `${read} at ${torn} of lsn ${lsn}`);
    }
    writeFileSync(file, after);
    before = after;
  }
  await mark.close();
});

test("a store whose files are removed or moved away while it is open takes no more writes", async (t) => {
  const takeAway: readonly ((path: string) => void)[] = [
    (path) => rmSync(path, { recursive: true }),
    (path) => rmSync(join(path, "CURRENT")),
    (path) => renameSync(path, `${path}.moved`),
  ];
  for (const take of takeAway) {
    const path = await stored();
    t.after(() => rmSync(`${path}.moved`, { recursive: true, force: true }));
    const engine = await open(path);
    t.after(() => engine.close());
    await put(engine, "second");
    take(path);
    await until(async () => engine.health.state === "read_only");
    await assert.rejects(put(engine, "third"), { reason: "STORAGE_READ_ONLY" });
  }
});

test("data of a newer format is refused untouched", async () => {
  const path = await stored();
  const database = await openDatabase(path);
  const batch = new WriteBatch();
  batch.put(0, Uint8Array.of(0x00), Uint8Array.of(99, 0, 0, 0));
  await database.write(batch.bytes());
  await database.close();
  const before = contentOf(path);
  await assert.rejects(open(path), { reason: "CORRUPTION", message: /format version 99, this release reads up to/ });
  assert.deepEqual(contentOf(path), before);
});

test("a second engine on the same data is STORAGE_LOCKED", async (t) => {
  const path = await stored();
  const engine = await open(path);
  t.after(() => engine.close());
  await assert.rejects(open(path), { reason: "STORAGE_LOCKED", code: "UNAVAILABLE" });
  await put(engine, "second");
});

test("a missing file is a refusal that names it", async () => {
  const path = await stored();
  await (await open(path)).close(); // Recovery writes the log out to tables.
  for (const pattern of [/^CURRENT$/, /^MANIFEST-/, /\.sst$/]) {
    for (const name of filesOf(path, pattern)) {
      const copy = copyOf(path);
      rmSync(join(copy, name));
      await assert.rejects(open(copy), { reason: "CORRUPTION", message: new RegExp(name) }, name);
    }
  }
});

test("damage that is found while reading names its file, but not where the data directory is", async (t) => {
  const path = await stored();
  await (await open(path)).close();
  const tables = filesOf(path, /\.sst$/);
  assert.notEqual(tables.length, 0);
  const healths: Health[] = [];
  const damaged: Error[] = [];
  for (const name of tables) {
    const copy = copyOf(path);
    flipBit(join(copy, name), 40);
    const engine = await open(copy, { onHealth: (health) => healths.push(health) }).catch((error: Error) => {
      damaged.push(error);
    });
    if (!engine) continue;
    t.after(() => engine.close());
    await engine.getVectors(REF, ["first"], { data: true, metadata: true }).catch((error: Error) => {
      assert.ok(error.message.includes(name) && !error.message.includes(copy), error.message);
      damaged.push(error);
      assert.deepEqual(healths.at(-1), engine.health);
      assert.equal(engine.health.state, "failed");
      assert.ok(engine.health.problems[0]?.message.includes(name));
    });
    await engine.close();
  }
  assert.equal(damaged.length, tables.length);
  assert.ok(healths.length > 0);
});

test("nothing beside the store's own files is left in the data directory", async () => {
  const path = await stored();
  assert.deepEqual(filesOf(path, /new$|RESERVE/), []);
  assert.ok(existsSync(join(path, "ACKNOWLEDGED")));
});
