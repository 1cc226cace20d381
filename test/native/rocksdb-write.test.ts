import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoreError } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { bytes, decode, failsWith, openTestDatabase, puts, readAll, withDatabase } from "./rocksdb-support.ts";

const codeOf = (error: unknown) => (error as StoreError).code;

/** One record as it is laid out in a batch; the lengths may lie. */
function record(op: number, columnFamily: number, keyLength: number, valueLength: number, rest: string): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt8(op, 0);
  header.writeUInt32LE(columnFamily, 1);
  header.writeUInt32LE(keyLength, 5);
  header.writeUInt32LE(valueLength, 9);
  return Buffer.concat([header, bytes(rest)]);
}

test("a batch changes all of its families, and a refused one none", async (t) => {
  const { db } = await openTestDatabase(t);
  const a = await db.createColumnFamily("a");
  const b = await db.createColumnFamily("b");
  const batch = new WriteBatch();
  for (const family of [0, a, b]) {
    for (const key of ["1", "2", "3", "4"]) batch.put(family, bytes(key), bytes(`${family}-${key}`));
    batch.delete(family, bytes("4"));
    batch.deleteRange(family, bytes("2"), bytes("3"));
  }
  await db.write(batch.bytes());
  for (const family of [0, a, b]) {
    assert.deepEqual(await readAll(db, family), [
      ["1", `${family}-1`],
      ["3", `${family}-3`],
    ]);
  }
  const before = db.latestSequenceNumber();
  const bad = new WriteBatch();
  bad.put(a, bytes("x"), bytes("x"));
  bad.deleteRange(b, bytes("0"), bytes("9"));
  bad.put(99, bytes("x"), bytes("x"));
  await assert.rejects(db.write(bad.bytes()), failsWith("NOT_FOUND"));
  assert.equal(db.latestSequenceNumber(), before);
  assert.equal((await readAll(db, b)).length, 2);
});

test("batches that are not well formed are refused", async (t) => {
  const { db } = await openTestDatabase(t);
  const refused = {
    "a header cut short": record(1, 0, 1, 1, "kv").subarray(0, 12),
    "a value cut short": record(1, 0, 1, 2, "kv"),
    "lengths beyond 2^32 together": record(1, 0, 65535, 0xffffffff, "kv"),
    "an empty key": record(1, 0, 0, 1, "v"),
    "a key of 65,536 bytes": record(1, 0, 65536, 0, "k".repeat(65536)),
    "operation 0": record(0, 0, 1, 1, "kv"),
    "operation 4": record(4, 0, 1, 1, "kv"),
    "a delete with a value": record(2, 0, 1, 1, "kv"),
    "a range without an end": record(3, 0, 1, 0, "k"),
    "a range that ends before it starts": record(3, 0, 1, 1, "ba"),
    "garbage after a good record": Buffer.concat([record(1, 0, 1, 1, "kv"), bytes("x")]),
  };
  for (const [what, batch] of Object.entries(refused)) {
    await assert.rejects(db.write(batch), failsWith("INVALID_ARGUMENT"), what);
  }
  assert.deepEqual(await readAll(db, 0), []);
  await db.write(new Uint8Array(0));
  await db.write(record(3, 0, 1, 1, "aa"));
  await db.write(record(1, 0, 65535, 0, "k".repeat(65535)));
  assert.equal((await readAll(db, 0)).length, 1);
});

test("batches that wait together share an fsync; each one alone has its own", async (t) => {
  const { db } = await openTestDatabase(t);
  const synced = () => Number(db.statistics()["rocksdb.wal.synced"]);
  const start = synced();
  for (let i = 0; i < 20; i++) await db.write(puts(0, [[`alone ${i}`, "x"]]));
  assert.equal(synced() - start, 20);
  const middle = synced();
  await Promise.all(Array.from({ length: 500 }, (_, i) => db.write(puts(0, [[`together ${i}`, "x"]]))));
  const together = synced() - middle;
  t.diagnostic(`500 concurrent batches: ${together} fsyncs`);
  assert.ok(together >= 1 && together < 100);
  assert.equal((await readAll(db, 0)).length, 520);
});

test("promises settle in the order of the calls, and refused batches leave their neighbours alone", async (t) => {
  const { db } = await openTestDatabase(t);
  const settled: number[] = [];
  const codes = new Map<number, string>();
  const calls = Array.from({ length: 600 }, (_, i) => {
    const batch = i % 7 === 0 ? bytes("garbage") : puts(i % 5 === 0 ? 77 : 0, [["last", `${i}`]]);
    return db.write(batch).then(
      () => settled.push(i),
      (error) => {
        settled.push(i);
        codes.set(i, codeOf(error));
      },
    );
  });
  await Promise.all(calls);
  assert.deepEqual(settled, [...settled.keys()]);
  for (let i = 0; i < 600; i++) {
    assert.equal(codes.get(i), i % 7 === 0 ? "INVALID_ARGUMENT" : i % 5 === 0 ? "NOT_FOUND" : undefined);
  }
  assert.deepEqual(await readAll(db, 0), [["last", "599"]]);
});

test("the caller may reuse the bytes of a batch at once", async (t) => {
  const { db } = await openTestDatabase(t);
  const batch = puts(0, [["key", "value"]]);
  const written = db.write(batch);
  batch.fill(255);
  await written;
  assert.deepEqual(await readAll(db, 0), [["key", "value"]]);
});

test("column families are created and dropped on an open database, and their numbers are not used again", async (t) => {
  const { db, path } = await openTestDatabase(t);
  const names = ["a", "ä".repeat(127), "with\nnewline", 'a "quoted" one', "zero\0byte", "=]#\\", "ordinary"];
  const ids = await Promise.all(names.map((name) => db.createColumnFamily(name)));
  assert.equal(new Set([0, ...ids]).size, names.length + 1);
  await assert.rejects(db.createColumnFamily("a"), failsWith("ALREADY_EXISTS"));
  await assert.rejects(db.createColumnFamily("default"), failsWith("ALREADY_EXISTS"));
  await assert.rejects(db.createColumnFamily(""), failsWith("INVALID_ARGUMENT"));
  await assert.rejects(db.createColumnFamily("ä".repeat(128)), failsWith("INVALID_ARGUMENT"));
  await assert.rejects(db.dropColumnFamily(0), failsWith("INVALID_ARGUMENT"));
  await db.dropColumnFamily(ids[0] as number);
  await assert.rejects(db.dropColumnFamily(ids[0] as number), failsWith("NOT_FOUND"));
  const again = await db.createColumnFamily("a");
  assert.ok(!ids.includes(again) && again !== 0);
  await db.write(puts(again, [["key", "value"]]));
  await db.close();
  await withDatabase(path, async (reopened) => {
    const families = reopened.columnFamilies();
    assert.deepEqual(families.map(({ name }) => name).sort(), ["default", ...names].sort());
    const id = families.find(({ name }) => name === "a")?.id as number;
    assert.deepEqual(await readAll(reopened, id), [["key", "value"]]);
  });
});

test("a drop lets earlier batches commit, refuses later ones whole, and disturbs no scan", async (t) => {
  const { db } = await openTestDatabase(t);
  for (let round = 0; round < 15; round++) {
    const family = await db.createColumnFamily(`round ${round}`);
    await db.write(puts(family, [["first", "x".repeat(100_000)]]));
    if (round % 2 === 0) await db.flush(family);
    const both = (key: string) => {
      const batch = new WriteBatch();
      batch.put(0, bytes(`${round} ${key}`), bytes("x"));
      batch.put(family, bytes(key), bytes("x"));
      return db.write(batch.bytes());
    };
    const reads = (): Promise<unknown>[] => [
      db.scan({ columnFamily: family }).then((chunk) => assert.ok(decode(chunk).some(([key]) => key === "first"))),
      db.multiGet(family, [bytes("first")]),
      db.flush(family),
      db.compact(family),
      db.flush(),
    ];
    const earlier = Array.from({ length: 20 }, (_, i) => both(`earlier ${i}`));
    const during = reads();
    const dropped = db.dropColumnFamily(family);
    during.push(...reads());
    const later = Array.from({ length: 20 }, (_, i) => both(`later ${i}`));
    const [refused, disturbed] = await Promise.all([
      Promise.allSettled(later),
      Promise.allSettled(during),
      ...earlier,
      dropped,
    ]);
    for (const outcome of refused) {
      assert.equal(outcome.status === "rejected" && codeOf(outcome.reason), "NOT_FOUND");
    }
    for (const outcome of disturbed) {
      if (outcome.status === "rejected") assert.equal(codeOf(outcome.reason), "NOT_FOUND");
    }
    await assert.rejects(db.scan({ columnFamily: family }), failsWith("NOT_FOUND"));
    const kept = (await readAll(db, 0)).filter(([key]) => key.startsWith(`${round} `));
    assert.equal(kept.length, 20);
    assert.ok(kept.every(([key]) => key.includes("earlier")));
  }
});

test("writes that would have to wait for flushes are refused as BUSY and change nothing", async (t) => {
  const { db } = await openTestDatabase(t, { dbWriteBufferBytes: 2 ** 20 });
  const value = "x".repeat(1_000_000);
  const written: string[] = [];
  let refused = 0;
  for (let round = 0; round < 40 && refused === 0; round++) {
    const calls = Array.from({ length: 80 }, async (_, i) => {
      const key = `${round} ${i}`;
      const batch = puts(0, [[key, value]]);
      await db.write(batch).then(
        () => written.push(key),
        (error) => {
          refused++;
          assert.equal(codeOf(error), "BUSY");
        },
      );
    });
    await Promise.all(calls);
  }
  t.diagnostic(`${written.length} written, ${refused} refused`);
  const keys = decode(await db.scan({ columnFamily: 0, keysOnly: true })).map(([key]) => key);
  assert.deepEqual(keys, written.sort());
  await db.flush();
  await db.write(puts(0, [["afterwards", "x"]]));
});

test("a batch that asks for more than the disk has free is refused, and its neighbours are not", async (t) => {
  const { db } = await openTestDatabase(t);
  const outcomes = await Promise.allSettled([
    db.write(puts(0, [["a", "1"]])),
    db.write(puts(0, [["b", "2"]]), 2 ** 46),
    db.write(puts(0, [["c", "3"]]), 1),
  ]);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === "rejected" ? outcome.reason.code : "written")),
    ["written", "DISK_FULL", "written"],
  );
  assert.deepEqual(
    (await readAll(db, 0)).map(([key]) => key),
    ["a", "c"],
  );
  await db.write(puts(0, [["d", "4"]]));
});

test("compactions wait while they have too little room", async (t) => {
  const { db } = await openTestDatabase(t);
  for (let i = 0; i < 3; i++) {
    await db.write(puts(0, [["key", "x".repeat(100_000)]]));
    await db.flush();
  }
  const size = () => Number(db.property(0, "rocksdb.total-sst-files-size"));
  const before = size();
  db.limitCompactions(before - 1);
  await assert.rejects(db.compact(0), failsWith("NO_SPACE"));
  await db.write(puts(0, [["other", "value"]]));
  await db.flush();
  db.limitCompactions(2 * before);
  await db.compact(0);
  assert.ok(size() < before / 2);
});
