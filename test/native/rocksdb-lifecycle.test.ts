import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Database, listColumnFamilies, openDatabase, type StoreError } from "../../native/rocksdb.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { bytes, failsWith, openTestDatabase, puts, readAll, runChild, withDatabase } from "./rocksdb-support.ts";

test("a closed database opens again with what was written", async (t) => {
  const { db, path } = await openTestDatabase(t);
  const family = await db.createColumnFamily("family");
  await db.write(puts(family, [["flushed", "1"]]));
  await db.flush(family);
  await db.write(puts(family, [["in the log", "2"]]));
  await db.close();
  assert.deepEqual((await listColumnFamilies(path)).sort(), ["default", "family"]);
  await withDatabase(path, async (reopened) => {
    assert.deepEqual(reopened.columnFamilies(), expectedFamilies(family));
    assert.deepEqual(await readAll(reopened, family), [
      ["flushed", "1"],
      ["in the log", "2"],
    ]);
  });
});

function expectedFamilies(family: number): { name: string; id: number }[] {
  return [
    { name: "default", id: 0 },
    { name: "family", id: family },
  ];
}

test("opening fails with NOT_FOUND where there is no database, and makes one only when asked", async () => {
  const path = join(temporaryDirectory(), "database");
  await assert.rejects(openDatabase(path), failsWith("NOT_FOUND"));
  await assert.rejects(listColumnFamilies(path), failsWith("NOT_FOUND"));
  assert.ok(!existsSync(path));
  mkdirSync(path);
  await assert.rejects(openDatabase(path), failsWith("NOT_FOUND"));
  await (await openDatabase(path, { createIfMissing: true })).close();
  await (await openDatabase(path)).close();
  await assert.rejects(openDatabase(join(path, "no", "parent"), { createIfMissing: true }), failsWith("IO_ERROR"));
});

test("an open database is LOCKED for this process and for others", async (t) => {
  const { db, path } = await openTestDatabase(t);
  await assert.rejects(openDatabase(path), failsWith("LOCKED"));
  await assert.rejects(openDatabase(path, { createIfMissing: true }), failsWith("LOCKED"));
  const locked = await runChild("open", path);
  assert.equal(locked.code, 1);
  assert.match(locked.stderr, /code: 'LOCKED'/);
  await db.close();
  const unlocked = await runChild("open", path);
  assert.deepEqual([unlocked.code, unlocked.stdout], [0, "open\n"], unlocked.stderr);
});

test("close waits for work in flight, and every call after it fails with CLOSED", async (t) => {
  const { db, path } = await openTestDatabase(t);
  const snapshot = db.snapshot();
  const writes = Array.from({ length: 100 }, (_, i) => db.write(puts(0, [[`${i}`, "x".repeat(10_000)]])));
  const work = [
    ...writes,
    db.scan({ columnFamily: 0, snapshot }),
    db.multiGet(0, [bytes("1")]),
    db.flush(),
    db.createColumnFamily("late"),
  ];
  const closed = db.close();
  const again = db.close();
  const asynchronous: (() => Promise<unknown>)[] = [
    () => db.write(puts(0, [["a", "b"]])),
    () => db.scan({ columnFamily: 0 }),
    () => db.multiGet(0, []),
    () => db.createColumnFamily("later"),
    () => db.dropColumnFamily(1),
    () => db.checkpoint(join(path, "checkpoint")),
    () => db.flush(),
    () => db.compact(0),
  ];
  const synchronous: (() => unknown)[] = [
    () => db.columnFamilies(),
    () => db.snapshot(),
    () => db.latestSequenceNumber(),
    () => db.property(0, "rocksdb.stats"),
    () => db.statistics(),
    () => db.syncedManifest(),
  ];
  const assertClosed = async () => {
    for (const call of asynchronous) await assert.rejects(call(), failsWith("CLOSED"), String(call));
    for (const call of synchronous) assert.throws(call, failsWith("CLOSED"), String(call));
  };
  await Promise.all([...work, assertClosed(), closed, again]);
  await db.close();
  await assertClosed();
  snapshot.release();
  await withDatabase(path, async (reopened) => {
    assert.equal((await readAll(reopened, 0)).length, 100);
    assert.equal(reopened.columnFamilies().length, 2);
  });
});

test("closing cuts a compaction short", async (t) => {
  const { db } = await openTestDatabase(t);
  for (let i = 0; i < 4; i++) {
    await db.write(puts(0, [[`${i}`, "x".repeat(5_000_000)]]));
    await db.flush();
  }
  const compacted = db.compact(0).catch((error: StoreError) => assert.equal(error.code, "CLOSED"));
  await Promise.all([compacted, db.close()]);
});

test("a checkpoint opens as a database of its own and does not follow later writes", async (t) => {
  const { db } = await openTestDatabase(t);
  const family = await db.createColumnFamily("family");
  await db.write(puts(family, [["a", "1"]]));
  const copy = join(temporaryDirectory(), "copy");
  const writing = Array.from({ length: 50 }, (_, i) => db.write(puts(0, [[`${i}`, "x"]])));
  await Promise.all([db.checkpoint(copy), ...writing]);
  await db.write(puts(family, [["a", "2"]]));
  await withDatabase(copy, async (copied) => assert.deepEqual(await readAll(copied, family), [["a", "1"]]));
  assert.deepEqual(await readAll(db, family), [["a", "2"]]);
  await assert.rejects(db.checkpoint(copy), failsWith("INVALID_ARGUMENT"));
  await assert.rejects(db.checkpoint(join(copy, "no", "parent")), failsWith("INVALID_ARGUMENT"));
});

test("an open database does not keep the process alive, and an unfinished promise does", async () => {
  const path = temporaryDirectory();
  const { code, stderr } = await runChild("endWithoutClose", path);
  assert.equal(code, 0, stderr);
  await withDatabase(path, async (db) => assert.equal((await readAll(db, 0)).length, 40));
});

for (const [task, expected] of [
  ["exitWhileBusy", 7],
  ["exitWhileOpening", 7],
  ["throwWhileBusy", 1],
  ["collectWithoutClose", 0],
  ["terminateWorkers", 0],
] as const) {
  test(`a process survives ${task} and its database opens again`, async () => {
    const path = temporaryDirectory();
    for (let round = 0; round < 2; round++) {
      const { code, signal, stderr } = await runChild(task, path);
      assert.deepEqual([code, signal], [expected, null], stderr);
      const db: Database = await openDatabase(path, { createIfMissing: true });
      await db.close();
    }
  });
}
