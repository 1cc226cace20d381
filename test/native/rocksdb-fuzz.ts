/** Calls everything in the RocksDB half with random arguments: `node rocksdb-fuzz.ts SEED CALLS`, in its own directory. */
import assert from "node:assert/strict";
import { addon } from "../../native/addon.ts";
import type { Database, Snapshot, StoreError, StoreErrorCode } from "../../native/rocksdb.ts";
import { Random } from "../support/random.ts";
import { bytes, puts } from "./rocksdb-support.ts";

const [seed = "1", calls = "20000"] = process.argv.slice(2);
const random = new Random(Number(seed));

const expected: ReadonlySet<StoreErrorCode> = new Set<StoreErrorCode>([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "LOCKED",
  "BUSY",
  "CLOSED",
  "IO_ERROR", // paths that lead nowhere
  "CORRUPTION", // and tables that are not there
  "NO_SPACE", // compactions that were given too little room
]);

const db = await addon.openDatabase("database", { createIfMissing: true });
const closed = await addon.openDatabase("closed", { createIfMissing: true });
await closed.close();
let family = await db.createColumnFamily("family");
const released = db.snapshot();
released.release();

function detached(): Uint8Array {
  const array = new Uint8Array(16);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

function shrunk(): Uint8Array {
  const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
  const view = new Uint8Array(buffer, 32, 16);
  buffer.resize(8);
  return view;
}

function damagedBatch(): Uint8Array {
  const batch = Uint8Array.from(
    puts(random.pick([0, family, 77]), [
      ["key", "value"],
      ["other", "value"],
    ]),
  );
  for (let i = random.below(4); i > 0; i--) batch[random.below(batch.length)] = random.pick([0, 1, 2, 3, 127, 255]);
  return batch.subarray(0, random.next() < 0.5 ? batch.length : random.below(batch.length));
}

const hostile = new Proxy(
  {},
  {
    get() {
      throw new Error("Hostile getter");
    },
  },
);

const scalars: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => random.pick([0, 1, -1, 0.5, -0, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1e300]),
  () => family,
  () => 10n ** 30n,
  () => Symbol("symbol"),
  () => random.pick(["", "name", "\0", "\ud800", "no/where/at/all", "x".repeat(256), "x".repeat(5000)]),
  () => () => undefined,
  () => new Date(Number.NaN),
  () => hostile,
  () => new Uint8Array(random.pick([0, 1, 12, 13, 14, 65_535, 65_536, 65_537, 70_000])),
  () => Uint8Array.from({ length: random.below(60) }, () => random.below(256)),
  damagedBatch,
  () => Buffer.from("buffer"),
  detached,
  shrunk,
  () => new Uint8Array(new SharedArrayBuffer(16)),
  () => new Uint8ClampedArray(8),
  () => new Float32Array(8),
  () => new BigUint64Array(8),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
  () => new Array(random.pick([0, 3, 2 ** 32 - 1])),
  () => Array.from({ length: random.below(5) }, () => bytes("key")),
  () => new Proxy([bytes("key")], {}),
  () => db,
  () => closed,
  () => released,
  () => db.snapshot(),
  () => Object.create(db) as unknown,
  () => new (db.constructor as new () => unknown)(),
];

const optionNames = "columnFamily gte lt limit maxBytes keysOnly snapshot createIfMissing dbWriteBufferBytes".split(
  " ",
);
optionNames.push("maxTotalWalBytes", "blockCacheBytes", "onBackgroundError");

function value(): unknown {
  const kind = random.next();
  if (kind < 0.75) return random.pick(scalars)();
  if (kind < 0.85) return Array.from({ length: random.below(4) }, () => random.pick(scalars)());
  const options: Record<string, unknown> = random.next() < 0.5 ? { columnFamily: family } : {};
  for (let i = random.below(4); i > 0; i--) options[random.pick(optionNames)] = random.pick(scalars)();
  return options;
}

type Method = (...args: unknown[]) => unknown;
const prototype = Object.getPrototypeOf(db) as Record<string, Method>;
const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");

/** Functions of the addon beside the methods of a database, each called as often as the others. */
const functions: Readonly<Record<string, (args: unknown[]) => unknown>> = {
  listColumnFamilies: (args) => (addon.listColumnFamilies as Method)(...args),
  openDatabase: ([path, options]) =>
    ((addon.openDatabase as Method)(path, options) as Promise<Database>).then((other) => other.close()),
  peekDatabase: (args) => (addon.peekDatabase as Method)(...args),
  allocateFile: ([path, size]) =>
    (addon.allocateFile as Method)(path, typeof size === "number" && size > 1_000_000 ? 4096 : size),
  checkTable: (args) => (addon.checkTable as Method)(...args),
  keepCrashNotes: (args) => (addon.keepCrashNotes as Method)(...args),
  trimMemory: (args) => (addon.trimMemory as Method)(...args),
  release: (args) => (db.snapshot().release as Method).call(value(), ...args),
};
const called = new Set<string>();
/** Each once, however few calls there are. */
const first = [...Object.keys(functions), ...methods];

function call(): unknown {
  const args = Array.from({ length: random.below(5) }, value);
  const due = first.pop();
  if (due !== undefined) {
    called.add(due);
    return functions[due]
      ? functions[due](args)
      : (prototype[due] as Method).call(due === "close" ? closed : db, ...args);
  }
  const choice = random.next();
  if (choice < 0.1) {
    const name = random.pick(Object.keys(functions));
    called.add(name);
    return functions[name]?.(args);
  }
  const name = random.pick(methods);
  const self = choice < 0.9 && name !== "close" ? db : choice < 0.95 ? closed : value();
  if (self === db && name === "close") return undefined;
  called.add(name);
  return (prototype[name] as Method).call(self, ...args);
}

const codes = new Map<string, number>();
function assertExpected(error: unknown): void {
  if (error instanceof TypeError && error.message === "Illegal invocation") return; // V8's own check of `this`
  const { code } = error as StoreError;
  assert.ok(error instanceof Error && expected.has(code) && error.message !== "", error as Error);
  codes.set(code, (codes.get(code) ?? 0) + 1);
}

let succeeded = 0;
for (let i = 0; i < Number(calls); i++) {
  try {
    const result = call();
    const settled = Promise.resolve(result).then(() => succeeded++, assertExpected);
    if (i % 16 === 0) await settled;
  } catch (error) {
    assertExpected(error);
  }
  if (i % 500 === 0) {
    for (const { id } of db.columnFamilies().slice(20)) await db.dropColumnFamily(id).catch(assertExpected);
    if (!db.columnFamilies().some(({ id }) => id === family)) {
      family = await db.createColumnFamily(`family ${i}`).catch(() => 0);
    }
  }
}
const snapshot: Snapshot = db.snapshot();
await db.scan({ columnFamily: 0, snapshot });
await db.write(puts(0, [["still", "alive"]]));
const lastArgs = [value(), value()]; // while snapshots can still be taken
await db.close();
// What is left open is closed whatever the arguments.
(addon.closeDatabases as Method)(...lastArgs);
called.add("closeDatabases");
console.log(`${succeeded} succeeded, ${[...codes].map(([code, count]) => `${count} ${code}`).join(", ")}`);
console.log(`called: ${[...called].sort().join(" ")}`);
