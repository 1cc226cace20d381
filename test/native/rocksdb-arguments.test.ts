import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openDatabase } from "../../native/rocksdb.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { bytes, failsWith, methodsOf, openTestDatabase, puts } from "./rocksdb-support.ts";

const CALLS = rounds("CALLS", { quick: 20_000, full: 100_000 });

test("random wrong arguments are errors with a code, never a signal", async (t) => {
  const { seed } = new Random();
  t.diagnostic(`seed ${seed}, ${CALLS} calls`);
  const script = fileURLToPath(new URL("rocksdb-fuzz.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script, String(seed), String(CALLS)], {
    cwd: temporaryDirectory(),
  });
  t.diagnostic(stdout.trim());
  assert.match(stdout, /^\d+ succeeded, /);
  const called = /called: (.*)/.exec(stdout)?.[1]?.split(" ");
  const graphs = ["createGraph", "loadGraph"];
  const there = [...methodsOf("rocksdb.ts"), ...methodsOf("addon.ts")].filter((name) => !graphs.includes(name));
  assert.deepEqual(called, [...new Set(there)].sort(), "every method is called, and no other");
  assert.ok(Number.parseInt(stdout, 10) > CALLS / 100, "Some calls have right arguments");
});

test("arguments just outside of what is allowed are refused, those just inside are not", async (t) => {
  const { db } = await openTestDatabase(t);
  const key = bytes("key");
  const refused: (() => Promise<unknown>)[] = [
    () => db.scan({ columnFamily: 0, limit: 0 }),
    () => db.scan({ columnFamily: 0, limit: 1_000_001 }),
    () => db.scan({ columnFamily: 0, limit: 1.5 }),
    () => db.scan({ columnFamily: 0, maxBytes: 0 }),
    () => db.scan({ columnFamily: 0, maxBytes: 2 ** 28 + 1 }),
    () => db.scan({ columnFamily: -1 }),
    () => db.scan({ columnFamily: 2 ** 32 }),
    () => db.scan({ columnFamily: 0, gte: new Uint8Array(65_537) }),
    () => db.multiGet(0, [new Uint8Array(0)]),
    () => db.multiGet(0, [new Uint8Array(65_536)]),
    () => db.multiGet(0, new Array(1_000_001).fill(key)),
    () => db.write(new Uint8Array(new SharedArrayBuffer(4))),
    () => db.checkpoint("zero\0byte"),
    () => openDatabase("", {}),
    () => openDatabase("path", { blockCacheBytes: 2 ** 20 - 1 }),
  ];
  for (const call of refused) await assert.rejects(call(), failsWith("INVALID_ARGUMENT"), String(call));
  const allowed: (() => Promise<unknown>)[] = [
    () => db.scan({ columnFamily: 0, limit: 1_000_000, maxBytes: 2 ** 28, gte: new Uint8Array(65_536) }),
    () => db.scan({ columnFamily: 0, limit: 1, maxBytes: 1, lt: new Uint8Array(0) }),
    () => db.multiGet(0, [new Uint8Array(65_535)]),
    () => db.multiGet(0, []),
  ];
  for (const call of allowed) await call();
});

test("an options getter that closes the database, or throws, ends in an error", async (t) => {
  const { db } = await openTestDatabase(t);
  const throwing = {
    get columnFamily(): number {
      throw new Error("Planned");
    },
  };
  await assert.rejects(db.scan(throwing), failsWith("INVALID_ARGUMENT"));
  await db.write(puts(0, [["a", "b"]]));
  const closing = {
    columnFamily: 0,
    get limit(): number {
      db.close();
      return 1;
    },
  };
  await assert.rejects(db.scan(closing), failsWith("CLOSED"));
});
