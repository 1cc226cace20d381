/** What the tests of the RocksDB half do in processes of their own: `node rocksdb-child.ts TASK DIRECTORY ...`. */
import assert from "node:assert/strict";
import { writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { type Database, openDatabase, type StoreError } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { bytes, puts, readAll } from "./rocksdb-support.ts";

const [task = "", path = ".", ...args] = process.argv.slice(2);

const print = (line: string | number) => writeSync(1, `${line}\n`);

function busy(db: Database): void {
  const value = "x".repeat(200_000);
  for (let i = 0; i < 40; i++) {
    for (const call of [
      db.write(puts(0, [[`${i}`, value]])),
      db.scan({ columnFamily: 0, snapshot: db.snapshot() }),
      db.multiGet(0, [bytes("1")]),
      db.flush(),
      db.compact(0),
      db.createColumnFamily(`family ${i}`),
    ]) {
      call.catch(() => undefined);
    }
  }
}

/** Pairs of families get the same keys; prints each number once its batch is acknowledged. */
async function writeForEver(): Promise<void> {
  const db = await openDatabase(path, { createIfMissing: true, dbWriteBufferBytes: 2 ** 20 });
  const named = new Map(db.columnFamilies().map(({ name, id }) => [name, id]));
  const other = named.get("other") ?? (await db.createColumnFamily("other"));
  let next = Number(args[0]);
  const write = async (): Promise<never> => {
    for (;;) {
      const number = next++;
      const key = bytes(String(number).padStart(9, "0"));
      const batch = new WriteBatch();
      for (const family of [0, other]) batch.put(family, key, new Uint8Array(number % 5000));
      await db.write(batch.bytes()).then(
        () => print(number),
        (error: StoreError) => assert.equal(error.code, "BUSY"),
      );
    }
  };
  await Promise.all(Array.from({ length: 8 }, write));
}

/** Under a limit on the size of files: prints how many batches were acknowledged. */
async function writeUntilFailure(): Promise<void> {
  const reported: StoreError[] = [];
  const db = await openDatabase(path, { createIfMissing: true, onBackgroundError: (error) => reported.push(error) });
  let acknowledged = 0;
  const failed = await (async () => {
    for (;;) {
      const batch = puts(0, [[String(acknowledged).padStart(9, "0"), "x".repeat(100_000)]]);
      const error = await db.write(batch).then(
        () => undefined,
        (reason: StoreError) => reason,
      );
      if (error) return error;
      acknowledged++;
    }
  })();
  print(failed.code);
  const refusal = { code: "IO_ERROR" };
  await assert.rejects(db.write(puts(0, [["small", "x"]])), refusal);
  await assert.rejects(db.createColumnFamily("late"), refusal);
  assert.equal((await readAll(db, 0)).length, acknowledged);
  await db.close();
  print(reported.map(({ code }) => code).join());
  print(acknowledged);
}

const tasks: Record<string, () => Promise<void>> = {
  writeForEver,
  writeUntilFailure,
  async open() {
    const db = await openDatabase(path, { createIfMissing: true });
    print("open");
    await db.close();
  },
  async exitWhileBusy() {
    busy(await openDatabase(path, { createIfMissing: true }));
    process.exit(7);
  },
  async exitWhileOpening() {
    openDatabase(path, { createIfMissing: true }).catch(() => undefined);
    process.exit(7);
  },
  async throwWhileBusy() {
    busy(await openDatabase(path, { createIfMissing: true }));
    setImmediate(() => {
      throw new Error("Planned");
    });
  },
  async endWithoutClose() {
    const db = await openDatabase(path, { createIfMissing: true });
    db.snapshot();
    busy(db);
  },
  async collectWithoutClose() {
    const { gc } = globalThis;
    assert.ok(gc);
    await (async () => {
      const db = await openDatabase(path, { createIfMissing: true });
      db.snapshot();
      busy(db);
    })();
    for (;;) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
      const again = await openDatabase(path).catch((error: StoreError) => assert.equal(error.code, "LOCKED"));
      if (!again) continue;
      await again.close();
      break;
    }
    print("collected");
  },
  async terminateWorkers() {
    const worker = () => new Worker(new URL(import.meta.url), { argv: ["busyWorker", path] });
    for (let i = 0; i < 5; i++) {
      const running = worker();
      await new Promise((resolve) => running.once("message", resolve));
      await running.terminate();
    }
    const db = await openDatabase(path);
    await db.close();
    print("terminated");
  },
  async busyWorker() {
    const { parentPort } = await import("node:worker_threads");
    const db = await openDatabase(path, { createIfMissing: true });
    busy(db);
    parentPort?.postMessage("busy");
    for (;;) await db.write(puts(0, [["key", "value"]]));
  },
};

await tasks[task]?.();
