import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { utf8 } from "../../src/engine/embedded/layout.ts";
import { MemoryGuard } from "../../src/engine/embedded/memory/memory-guard.ts";
import { ProcessMemory } from "../../src/engine/embedded/memory/process-memory.ts";
import { HealthReport } from "../../src/engine/embedded/storage/health.ts";
import { Store } from "../../src/engine/embedded/storage/store.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** More than is worked on in one turn. */
const LARGE = new Uint8Array(200_000);
const WRITES = 12;

function open(): Promise<Store> {
  return Store.open(temporaryDirectory(), {
    memory: new MemoryGuard(new ProcessMemory(Number.MAX_SAFE_INTEGER), () => {}),
    health: new HealthReport(() => {}),
  });
}

/** Hands over batches in one turn, so that all but the first share a sync. */
function writeMany(store: Store, apply: (i: number, lsn: number) => void, value = LARGE): Promise<number>[] {
  return Array.from({ length: WRITES }, (_, i) =>
    store.commit(
      "grow",
      (batch) => batch.put(0, utf8(`test-${i}`), value),
      (lsn) => apply(i, lsn),
    ),
  );
}

/** Counts the turns of the event loop until the test ends. */
function countTurns(t: TestContext): { count: number } {
  const turns = { count: 0 };
  t.after(() => clearImmediate(next));
  const begin = () => {
    turns.count++;
    next = setImmediate(begin);
  };
  let next = setImmediate(begin);
  return turns;
}

test("large writes that are durable at once are shown in the order of their lsn, each in a turn of its own", async (t) => {
  const store = await open();
  t.after(() => store.close());
  const turns = countTurns(t);
  const shown: { i: number; lsn: number; turn: number }[] = [];
  const lsns = await Promise.all(
    writeMany(store, (i, lsn) => {
      assert.equal(store.lsn, lsn - 1, "memory has shown every write before, and none after");
      shown.push({ i, lsn, turn: turns.count });
    }),
  );
  assert.deepEqual(
    shown.map(({ i }) => i),
    Array.from({ length: WRITES }, (_, i) => i),
  );
  assert.deepEqual(
    shown.map(({ lsn }) => lsn),
    lsns,
  );
  assert.equal(new Set(shown.map(({ turn }) => turn)).size, WRITES);
});

test("small writes that are durable at once are shown in one turn", async (t) => {
  const store = await open();
  t.after(() => store.close());
  const turns = countTurns(t);
  const shownIn = new Set<number>();
  await Promise.all(writeMany(store, () => shownIn.add(turns.count), utf8("small")));
  // The first ones may have been taken before the others were handed over.
  assert.ok(shownIn.size < WRITES, `${WRITES} writes were shown in ${shownIn.size} turns`);
});

test("a write is acknowledged once memory shows it, also when it waits for its turn", async (t) => {
  const store = await open();
  t.after(() => store.close());
  const shown = new Set<number>();
  const writes = writeMany(store, (_, lsn) => shown.add(lsn));
  for (const write of writes) {
    void write.then((lsn) => {
      assert.ok(shown.has(lsn));
      assert.ok(store.lsn >= lsn);
    });
  }
  await Promise.all(writes);
});

test("a write that memory cannot show fails alone, and those that wait behind it are shown", async (t) => {
  const store = await open();
  t.after(() => store.close());
  const broken = 5;
  const shown: number[] = [];
  const results = await Promise.allSettled(
    writeMany(store, (i) => {
      if (i === broken) throw new Error("Cannot show it");
      shown.push(i);
    }),
  );
  for (const [i, result] of results.entries()) {
    if (i === broken) assert.equal(result.status === "rejected" && result.reason.reason, "WRITE_OUTCOME_UNKNOWN");
    else assert.equal(result.status, "fulfilled");
  }
  assert.deepEqual(
    shown,
    Array.from({ length: WRITES }, (_, i) => i).filter((i) => i !== broken),
  );
  assert.equal(store.readOnly, true);
  await assert.rejects(
    store.commit("grow", () => {}),
    { reason: "STORAGE_READ_ONLY" },
  );
});

test("to stop writes waits for those that wait for their turn", async () => {
  const store = await open();
  const shown: number[] = [];
  const stopped = Promise.withResolvers<number>();
  const writes = writeMany(store, (i) => {
    // In the turn of the first one, when others are durable too.
    if (i === 0) void store.stopWrites().then(() => stopped.resolve(shown.length));
    shown.push(i);
  });
  assert.equal(await stopped.promise, WRITES);
  await Promise.all(writes);
  await assert.rejects(
    store.commit("grow", () => {}),
    { reason: "SHUTTING_DOWN" },
  );
  await store.close();
});

test("what a read snapshot holds is told once memory shows it", async (t) => {
  const store = await open();
  t.after(() => store.close());
  let ahead = 0;
  const reads: Promise<void>[] = [];
  const read = async (lsn: number) => {
    const snapshot = store.database.snapshot();
    const held = await store.lsnAt(snapshot);
    snapshot.release();
    assert.ok(store.lsn >= held, `a snapshot holds lsn ${held}, memory shows ${store.lsn}`);
    if (held > lsn) ahead++;
  };
  await Promise.all(writeMany(store, (_, lsn) => void reads.push(read(lsn))));
  await Promise.all(reads);
  assert.ok(ahead > 0, "no snapshot held more than memory");
});

test("what a read snapshot holds is told also of a write that memory never shows", async (t) => {
  const store = await open();
  t.after(() => store.close());
  const write = store.commit(
    "grow",
    (batch) => batch.put(0, utf8("test"), LARGE),
    () => {
      throw new Error("Cannot show it");
    },
  );
  await assert.rejects(write, { reason: "WRITE_OUTCOME_UNKNOWN" });
  const snapshot = store.database.snapshot();
  t.after(() => snapshot.release());
  assert.equal(await store.lsnAt(snapshot), store.lsn + 1);
});
