import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  ABSENT,
  type Database,
  peekDatabase,
  type ScanChunk,
  type ScanOptions,
  type Snapshot,
} from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { bytes, contentOf, decode, failsWith, openTestDatabase, puts, readAll } from "./rocksdb-support.ts";

/** Keys and values in hexadecimal digits, whose order is that of the bytes. */
type Model = Map<string, string>;

function hex(data: ArrayBuffer, at = 0, length = 0): string {
  return Buffer.from(data, at, length).toString("hex");
}

function fromHex(digits: string): Uint8Array {
  return Buffer.from(digits, "hex");
}

function sorted(model: Model, gte = "", lt?: string): [string, string][] {
  const within = [...model].filter(([key]) => key >= gte && (lt === undefined || key < lt));
  return within.sort(([a], [b]) => (a < b ? -1 : 1));
}

function randomHex(random: Random, least: number, most: number): string {
  const length = least + random.below(most - least + 1);
  return Array.from({ length }, () => random.pick(["00", "01", "61", "fe", "ff"])).join("");
}

/** Changes the model and the database alike. */
async function change(db: Database, columnFamily: number, model: Model, random: Random): Promise<void> {
  const batch = new WriteBatch(1);
  for (let i = random.below(60); i >= 0; i--) {
    const key = randomHex(random, 1, 5);
    const kind = random.next();
    if (kind < 0.8) {
      const value = randomHex(random, 0, 30);
      batch.put(columnFamily, fromHex(key), fromHex(value));
      model.set(key, value);
    } else if (kind < 0.97) {
      batch.delete(columnFamily, fromHex(key));
      model.delete(key);
    } else {
      const end = `${key}${randomHex(random, 0, 2)}`;
      batch.deleteRange(columnFamily, fromHex(key), fromHex(end));
      for (const [inRange] of sorted(model, key, end)) model.delete(inRange);
    }
  }
  await db.write(batch.bytes());
}

function assertChunk(chunk: ScanChunk, expected: [string, string][], options: ScanOptions): void {
  const { data, entries } = chunk;
  const count = entries.length / 4;
  const found: [string, string][] = [];
  for (let i = 0; i < entries.length; i += 4) {
    const valueAt = entries[i + 2] ?? Number.NaN;
    assert.equal(valueAt % 8, 0, "Value offsets are multiples of 8");
    found.push([hex(data, entries[i], entries[i + 1]), hex(data, valueAt, entries[i + 3])]);
  }
  const values = expected.map(([key, value]): [string, string] => [key, options.keysOnly ? "" : value]);
  assert.deepEqual(found, values.slice(0, count));
  if (chunk.done) {
    assert.equal(count, expected.length);
    return;
  }
  assert.ok(count < expected.length, "A chunk that is not done leaves something out");
  const last = count * 4 - 4;
  const bytesBeforeLast = entries[last] ?? 0;
  const maxBytes = options.maxBytes ?? 4 * 1024 * 1024;
  assert.ok(count === options.limit || data.byteLength >= maxBytes, "A limit was reached");
  assert.ok(bytesBeforeLast < maxBytes, "The scan stops after the entry that reaches maxBytes");
}

test("scans agree with a sorted map for random bounds, limits, options and snapshots", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { db } = await openTestDatabase(t);
  const columnFamily = await db.createColumnFamily("scanned");
  const model: Model = new Map();
  let held: { snapshot: Snapshot; model: Model } | undefined;
  for (let round = 0; round < 300; round++) {
    await change(db, columnFamily, model, random);
    if (round % 29 === 0) await db.flush(columnFamily);
    if (round % 97 === 0) await db.compact(columnFamily);
    if (round % 41 === 0) {
      held?.snapshot.release();
      held = { snapshot: db.snapshot(), model: new Map(model) };
    }
    const bounds = [randomHex(random, 0, 3), randomHex(random, 0, 3)];
    const useSnapshot = held && random.next() < 0.3;
    const lt = random.next() < 0.7 ? bounds[1] : undefined;
    const gte = random.next() < 0.7 ? bounds[0] : undefined;
    const options: ScanOptions = { columnFamily, keysOnly: random.next() < 0.2 };
    if (gte !== undefined) options.gte = fromHex(gte);
    if (lt !== undefined) options.lt = fromHex(lt);
    if (random.next() < 0.5) options.limit = 1 + random.below(40);
    if (random.next() < 0.5) options.maxBytes = 1 + random.below(900);
    if (useSnapshot) options.snapshot = held?.snapshot as Snapshot;
    const expected = sorted(useSnapshot ? (held?.model as Model) : model, gte, lt);
    assertChunk(await db.scan(options), expected, options);
  }
  assert.ok(model.size > 50, "The model is not trivial");
});

test("going on after the last key of each chunk visits every entry once", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { db } = await openTestDatabase(t);
  const model: Model = new Map([["61".repeat(65535), "ff"]]);
  const batch = new WriteBatch();
  batch.put(0, fromHex("61".repeat(65535)), fromHex("ff"));
  await db.write(batch.bytes());
  for (let i = 0; i < 20; i++) await change(db, 0, model, random);
  const visited: string[] = [];
  let gte = new Uint8Array(0);
  for (let done = false; !done; ) {
    const chunk = await db.scan({ columnFamily: 0, gte, limit: 1 + random.below(9) });
    for (let i = 0; i < chunk.entries.length; i += 4) {
      visited.push(hex(chunk.data, chunk.entries[i], chunk.entries[i + 1]));
    }
    gte = new Uint8Array([...fromHex(visited.at(-1) ?? ""), 0]);
    done = chunk.done;
  }
  assert.deepEqual(
    visited,
    sorted(model).map(([key]) => key),
  );
});

test("multiGet agrees with a map, in the order of the keys, and marks what is absent", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { db } = await openTestDatabase(t);
  const model: Model = new Map();
  for (let i = 0; i < 40; i++) await change(db, 0, model, random);
  await db.flush();
  for (let i = 0; i < 10; i++) await change(db, 0, model, random);
  const snapshot = db.snapshot();
  const before = new Map(model);
  for (let i = 0; i < 10; i++) await change(db, 0, model, random);

  for (const count of [0, 1, 127, 128, 129, 1000]) {
    const keys = Array.from({ length: count }, () => randomHex(random, 1, 3));
    for (const [known, answer] of [
      [model, await db.multiGet(0, keys.map(fromHex))],
      [before, await db.multiGet(0, keys.map(fromHex), snapshot)],
    ] as const) {
      assert.equal(answer.entries.length, 4 * count);
      keys.forEach((key, i) => {
        const [, keyLength, valueAt = 0, valueLength] = answer.entries.subarray(4 * i, 4 * i + 4);
        assert.equal(keyLength, 0);
        const found = valueAt === ABSENT ? undefined : hex(answer.data, valueAt, valueLength);
        assert.equal(found, known.get(key));
        assert.ok(valueAt === ABSENT || valueAt % 8 === 0);
      });
    }
  }
});

test("a value that starts with floats can be viewed without a copy", async (t) => {
  const { db } = await openTestDatabase(t);
  const floats = Float64Array.of(0.5, -1e300, Number.MIN_VALUE);
  const batch = new WriteBatch();
  for (const key of ["a", "bb", "ccc"]) batch.put(0, bytes(key), new Uint8Array(floats.buffer));
  await db.write(batch.bytes());
  const { data, entries } = await db.scan({ columnFamily: 0 });
  for (let i = 0; i < 3; i++) assert.deepEqual(new Float64Array(data, entries[4 * i + 2], 3), floats);
});

test("a value of many megabytes comes back whole, alone in its chunk", async (t) => {
  const { db } = await openTestDatabase(t);
  const random = new Random(7);
  const value = Uint8Array.from({ length: 20_000_000 }, () => random.below(256));
  const batch = new WriteBatch();
  batch.put(0, bytes("large"), value);
  batch.put(0, bytes("small"), bytes("x"));
  await db.write(batch.bytes());
  const chunk = await db.scan({ columnFamily: 0 });
  assert.equal(chunk.done, false);
  assert.equal(chunk.entries.length, 4);
  assert.ok(Buffer.from(value).equals(new Uint8Array(chunk.data, chunk.entries[2], chunk.entries[3])));
});

test("a snapshot keeps what it saw until it is released", async (t) => {
  const { db } = await openTestDatabase(t);
  const { db: other } = await openTestDatabase(t);
  await db.write(puts(0, [["a", "1"]]));
  const snapshot = db.snapshot();
  await db.write(puts(0, [["a", "2"]]));
  await db.compact(0);
  assert.deepEqual(decode(await db.scan({ columnFamily: 0, snapshot })), [["a", "1"]]);
  assert.deepEqual(await readAll(db, 0), [["a", "2"]]);
  assert.equal(db.property(0, "rocksdb.num-snapshots"), "1");
  await assert.rejects(other.scan({ columnFamily: 0, snapshot }), failsWith("INVALID_ARGUMENT"));
  snapshot.release();
  snapshot.release();
  assert.equal(db.property(0, "rocksdb.num-snapshots"), "0");
  await assert.rejects(db.scan({ columnFamily: 0, snapshot }), failsWith("INVALID_ARGUMENT"));
});

test("properties and statistics are RocksDB's own", async (t) => {
  const { db } = await openTestDatabase(t);
  await db.write(puts(0, [["a", "1"]]));
  assert.equal(db.property(0, "rocksdb.estimate-num-keys"), "1");
  assert.equal(db.property(0, "rocksdb.nonsense"), undefined);
  assert.equal(db.statistics()["rocksdb.number.keys.written"], 1n);
  assert.equal(db.latestSequenceNumber(), 1n);
  assert.throws(() => db.property(7, "rocksdb.estimate-num-keys"), failsWith("NOT_FOUND"));
});

test("the synced manifest is the one that CURRENT names, as long as it is", async (t) => {
  const { db, path } = await openTestDatabase(t);
  for (let i = 0; i < 3; i++) {
    await db.write(puts(0, [["a", `${i}`]]));
    await db.flush(0);
    const { name, bytes } = db.syncedManifest();
    assert.equal(`${name}\n`, readFileSync(join(path, "CURRENT"), "latin1"));
    assert.equal(bytes, statSync(join(path, name)).size);
  }
});

test("a closed database can be peeked at, which changes no byte of it", async (t) => {
  const { db, path } = await openTestDatabase(t);
  const other = await db.createColumnFamily("other");
  await db.write(puts(0, [["flushed", "1"]]));
  await db.flush();
  await db.write(puts(0, [["logged", "2"]]));
  await db.write(puts(other, [["logged", "3"]]));
  const keys = [bytes("flushed"), bytes("logged"), bytes("absent")];
  await assert.rejects(peekDatabase(path, keys), failsWith("LOCKED"));
  await db.close();
  const before = contentOf(path);
  assert.deepEqual(decode(await peekDatabase(path, keys)), [
    ["", "1"],
    ["", "2"],
    ["", undefined],
  ]);
  assert.deepEqual(contentOf(path), before);
  await assert.rejects(peekDatabase(temporaryDirectory(), keys), failsWith("NOT_FOUND"));
});
