import assert from "node:assert/strict";
import { test } from "node:test";
import { ABSENT } from "../../native/rocksdb.ts";
import { ChangeLog, type ChangeLogOptions } from "../../src/engine/embedded/changes/change-log.ts";
import { ChangeBudget } from "../../src/engine/embedded/changes/change-ring.ts";
import { utf8, valueAt } from "../../src/engine/embedded/layout.ts";
import { MemoryGuard } from "../../src/engine/embedded/memory/memory-guard.ts";
import { ProcessMemory } from "../../src/engine/embedded/memory/process-memory.ts";
import { HealthReport } from "../../src/engine/embedded/storage/health.ts";
import { Store } from "../../src/engine/embedded/storage/store.ts";
import type { Vector, WatchEvent } from "../../src/engine/engine.ts";
import { QuiverError, shuttingDown } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const ALL = { data: true, metadata: true };
const FAMILY = "index-test";

interface Change {
  readonly lsn: number;
  readonly key: string;
  /** The one value of the vector; undefined: deleted. */
  readonly value: number | undefined;
}

type Limits = Partial<ChangeLogOptions>;

/** A store with one index of vectors of one value, and the list of all that was done to it. */
class Bench {
  readonly store: Store;
  readonly log: ChangeLog;
  readonly budget: ChangeBudget;
  readonly #family: number;

  private constructor(store: Store, family: number, limits: Limits) {
    this.store = store;
    this.#family = family;
    this.budget = (limits.budget as ChangeBudget | undefined) ?? new ChangeBudget();
    const readVectors = (namespace: string, keys: readonly string[]) => this.#read(namespace, keys);
    this.log = new ChangeLog({ store, columnFamily: family, readVectors, ...limits, budget: this.budget });
  }

  static async open(path: string, limits: Limits = {}): Promise<Bench> {
    const store = await Store.open(path, {
      memory: new MemoryGuard(new ProcessMemory(Number.MAX_SAFE_INTEGER), () => {}),
      health: new HealthReport(({ problems }) => assert.fail(`${problems[0]?.message}`)),
    });
    const there = store.database.columnFamilies().find(({ name }) => name === FAMILY);
    const bench = new Bench(store, there?.id ?? (await store.database.createColumnFamily(FAMILY)), limits);
    await bench.log.load();
    return bench;
  }

  /** Not `whole`: as for a write whose vectors are not at hand. */
  async write(
    namespace: string,
    puts: readonly (readonly [string, number])[],
    deletes: readonly string[] = [],
    { whole } = { whole: true },
  ) {
    const keys = { puts: puts.map(([key]) => key), deletes };
    const vector = (lsn: number, [key, value]: readonly [string, number]): Vector => ({
      key,
      version: lsn,
      data: Float32Array.of(value),
      metadata: { value },
    });
    return this.store.commit(
      "grow",
      (batch, lsn) => {
        for (const [key, value] of puts) {
          batch.put(this.#family, this.#key(namespace, key), Buffer.from(`${lsn} ${value}`));
        }
        for (const key of deletes) batch.delete(this.#family, this.#key(namespace, key));
        this.log.record(batch, lsn, namespace, keys);
      },
      (lsn) => {
        if (whole) this.log.publish({ lsn, namespace, puts: puts.map((put) => vector(lsn, put)), deletes });
        else this.log.publishLogged(lsn);
      },
    );
  }

  async close(): Promise<void> {
    await this.store.stopWrites();
    this.log.dispose(shuttingDown());
    await this.store.close();
  }

  async #read(namespace: string, keys: readonly string[]): Promise<(Vector | undefined)[]> {
    const found = await this.store.database.multiGet(
      this.#family,
      keys.map((key) => this.#key(namespace, key)),
    );
    return keys.map((key, i) => {
      if (found.entries[4 * i + 2] === ABSENT) return undefined;
      const [version, value] = Buffer.from(valueAt(found, i)).toString().split(" ").map(Number) as [number, number];
      return { key, version, data: Float32Array.of(value), metadata: { value } };
    });
  }

  #key(namespace: string, key: string): Uint8Array {
    return utf8(`\x01${namespace}\0${key}`);
  }
}

function changeOf({ lsn, change }: WatchEvent): Change | undefined {
  if (change === undefined) return undefined;
  if ("deletedKey" in change) return { lsn, key: change.deletedKey, value: undefined };
  assert.equal(change.put.version, lsn);
  assert.deepEqual(change.put.metadata, { value: change.put.data?.[0] });
  return { lsn, key: change.put.key, value: change.put.data?.[0] };
}

/** Reads until the mark of this lsn or a later one. */
async function readTo(events: AsyncIterator<WatchEvent>, lsn: number): Promise<Change[]> {
  const changes: Change[] = [];
  for (;;) {
    const { value, done } = await events.next();
    assert.equal(done, false);
    const change = changeOf(value);
    if (change) changes.push(change);
    else if (value.lsn >= lsn) return changes;
  }
}

async function watch(bench: Bench, namespace: string, fromLsn?: number) {
  return (await bench.log.watch(namespace, { fromLsn, projection: ALL }))[Symbol.asyncIterator]();
}

function reasonIs(reason: string, metadata: Record<string, string> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof QuiverError);
    assert.equal(error.reason, reason);
    assert.deepEqual({ ...error.metadata, ...metadata }, error.metadata);
    return true;
  };
}

/**
 * What a watcher has to see of `history`: every change once, in order; a put may be missing only when a later change of
 * its key has come. `isLeftOut` hears of those.
 */
function assertSeen(seen: readonly Change[], history: readonly Change[], leftOut: () => void): void {
  let at = 0;
  for (const [i, change] of history.entries()) {
    const next = seen[at];
    if (next && next.lsn === change.lsn && next.key === change.key) {
      assert.deepEqual(next, change);
      at++;
      continue;
    }
    assert.notEqual(change.value, undefined, `The deletion of ${change.key} at ${change.lsn} is missing`);
    const later = history.slice(i + 1).some(({ key }) => key === change.key);
    assert.ok(later, `The newest put of ${change.key} at ${change.lsn} is missing`);
    leftOut();
  }
  assert.equal(at, seen.length, "Something came twice, or out of order");
}

test("watchers that stop and resume 100 times, also over a restart, miss and double nothing", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const path = temporaryDirectory();
  const namespaces = ["", "a", "b"];
  const limits = { ringBytes: 20_000, markMs: 20 };
  let bench = await Bench.open(path, limits);
  t.after(() => bench.close());
  const history = new Map<string, Change[]>(namespaces.map((namespace) => [namespace, []]));
  const start = bench.store.lsn;

  const writeSome = async (writes: number) => {
    const committed: Promise<void>[] = [];
    for (let i = 0; i < writes; i++) {
      const namespace = random.pick(namespaces);
      const keys = [...new Set(Array.from({ length: 1 + random.below(10) }, () => `k${random.below(40)}`))];
      const puts = keys.filter(() => random.next() < 0.7).map((key) => [key, random.below(1_000)] as const);
      const deletes = keys.filter((key) => !puts.some(([put]) => put === key));
      committed.push(
        bench.write(namespace, puts, deletes, { whole: random.next() < 0.9 }).then((lsn) => {
          for (const [key, value] of puts) history.get(namespace)?.push({ lsn, key, value });
          for (const key of deletes) history.get(namespace)?.push({ lsn, key, value: undefined });
        }),
      );
      if (random.next() < 0.2) await Promise.all(committed);
    }
    await Promise.all(committed);
  };

  const watchers = namespaces.map((namespace) => ({ namespace, from: start + 1, seen: [] as Change[] }));
  const paths = { ring: 0, disk: 0 };
  for (let round = 0; round < 100; round++) {
    await writeSome(random.below(10));
    if (round % 20 === 19) {
      await bench.close();
      bench = await Bench.open(path, limits);
    }
    const writing = writeSome(random.below(30));
    await Promise.all(
      watchers.map(async (watcher) => {
        const events = await watch(bench, watcher.namespace, watcher.from);
        paths[watcher.from <= bench.store.lsn - 20 ? "disk" : "ring"]++;
        const pending: Change[] = [];
        let left = random.below(200);
        // Stops anywhere, also in the middle of a write: what came after the last mark does not count.
        for (;;) {
          const { value } = await events.next();
          const change = changeOf(value);
          if (change) {
            pending.push(change);
          } else {
            watcher.seen.push(...pending.splice(0));
            assert.ok(value.lsn + 1 >= watcher.from, "A mark went back");
            watcher.from = value.lsn + 1;
            if (watcher.from > bench.store.lsn) break;
          }
          if (left-- === 0) break;
        }
        await events.return?.();
      }),
    );
    await writing;
  }

  let leftOut = 0;
  for (const watcher of watchers) {
    const events = await watch(bench, watcher.namespace, watcher.from);
    watcher.seen.push(...(await readTo(events, bench.store.lsn)));
    await events.return?.();
    const expected = history.get(watcher.namespace)?.toSorted((a, b) => a.lsn - b.lsn) ?? [];
    assertSeen(watcher.seen, expected, () => leftOut++);
  }
  t.diagnostic(`${leftOut} replaced puts were left out, starts ${JSON.stringify(paths)}`);
  assert.ok(leftOut > 0, "The disk was never read");
  assert.ok(bench.log.bytes <= limits.ringBytes);
});

test("a watch that memory still covers sees every change, also those that were replaced", async (t) => {
  const bench = await Bench.open(temporaryDirectory());
  t.after(() => bench.close());
  const first = await watch(bench, "");
  await readTo(first, bench.store.lsn);
  const from = bench.store.lsn + 1;
  const expected: Change[] = [];
  for (let value = 0; value < 50; value++)
    expected.push({ lsn: await bench.write("", [["k", value]]), key: "k", value });
  assert.deepEqual(await readTo(first, bench.store.lsn), expected);
  await first.return?.();
  const second = await watch(bench, "", from);
  assert.deepEqual(await readTo(second, bench.store.lsn), expected);
  await second.return?.();
});

test("a watch is answered its position first, then live changes and marks of writes elsewhere", async (t) => {
  const bench = await Bench.open(temporaryDirectory(), { markMs: 10 });
  t.after(() => bench.close());
  const events = await watch(bench, "a");
  const { lsn } = bench.store;
  await bench.write("a", [["early", 1]]);
  assert.deepEqual(await events.next(), { done: false, value: { lsn } });
  assert.deepEqual(await readTo(events, lsn + 1), [{ lsn: lsn + 1, key: "early", value: 1 }]);
  await bench.write("b", [["other", 1]]);
  let mark: IteratorResult<WatchEvent> | undefined;
  const marked = readTo(events, lsn + 2).then(() => {
    mark = { done: false, value: { lsn } };
  });
  // The timer of the marks does not keep a process alive.
  await until(() => mark !== undefined);
  await marked;
  await events.return?.();
});

test("a write whose vectors are not at hand is read from the disk", async (t) => {
  const bench = await Bench.open(temporaryDirectory());
  t.after(() => bench.close());
  const events = await watch(bench, "");
  await events.next();
  const first = await bench.write("", [["a", 1]]);
  assert.deepEqual(await readTo(events, first), [{ lsn: first, key: "a", value: 1 }]);
  const second = await bench.write("", [["a", 2]], ["b"], { whole: false });
  assert.deepEqual(await readTo(events, second), [
    { lsn: second, key: "a", value: 2 },
    { lsn: second, key: "b", value: undefined },
  ]);
  const third = await bench.write("", [["a", 3]]);
  assert.deepEqual(await readTo(events, third), [{ lsn: third, key: "a", value: 3 }]);
  await events.return?.();
});

test("a projection leaves data and metadata out, from memory and from the disk", async (t) => {
  const bench = await Bench.open(temporaryDirectory(), { ringBytes: 300 });
  t.after(() => bench.close());
  const projection = { data: false, metadata: false };
  const events = (await bench.log.watch("", { fromLsn: undefined, projection }))[Symbol.asyncIterator]();
  await events.next();
  const lsn = await bench.write("", [["k", 1]]);
  assert.deepEqual((await events.next()).value, { lsn, change: { put: { key: "k", version: lsn } } });
  await events.return?.();
});

test("a reader that stops reading costs no memory and goes on from the disk", async (t) => {
  const budget = new ChangeBudget(50_000);
  const bench = await Bench.open(temporaryDirectory(), { budget, ringBytes: 1_000_000 });
  t.after(() => bench.close());
  const events = await watch(bench, "");
  await events.next();
  const from = bench.store.lsn;
  for (let i = 0; i < 2_000; i++) {
    await bench.write("", [[`k${i % 100}`, i]], [`gone${i}`]);
    assert.ok(budget.bytes <= 50_000, `${budget.bytes} bytes`);
  }
  const seen = await readTo(events, bench.store.lsn);
  await events.return?.();
  const deletions = seen.filter(({ value }) => value === undefined).map(({ key }) => key);
  assert.deepEqual(
    deletions,
    Array.from({ length: 2_000 }, (_, i) => `gone${i}`),
  );
  const newest = new Map(seen.filter(({ value }) => value !== undefined).map(({ key, value }) => [key, value]));
  for (let i = 0; i < 100; i++) assert.equal(newest.get(`k${i}`), 1_900 + i);
  assert.deepEqual(
    seen.map(({ lsn }) => lsn),
    seen.map(({ lsn }) => lsn).toSorted((a, b) => a - b),
  );
  assert.ok((seen[0]?.lsn ?? 0) > from);
});

test("the budget bounds all indexes together and drops the oldest writes first", async (t) => {
  const budget = new ChangeBudget(100_000);
  const benches = await Promise.all([0, 1, 2].map(() => Bench.open(temporaryDirectory(), { budget })));
  t.after(() => Promise.all(benches.map((bench) => bench.close())));
  const watches = await Promise.all(benches.map((bench) => watch(bench, "")));
  for (const events of watches) await events.next();
  for (let i = 0; i < 1_000; i++) for (const bench of benches) await bench.write("", [[`k${i}`, i]]);
  const sizes = benches.map(({ log }) => log.bytes);
  assert.equal(
    sizes.reduce((sum, bytes) => sum + bytes, 0),
    budget.bytes,
  );
  assert.ok(budget.bytes <= 100_000 && budget.bytes > 90_000, `${budget.bytes} bytes`);
  for (const bytes of sizes) assert.ok(bytes > 20_000, `Shares are ${sizes}`);
  for (const [i, events] of watches.entries()) {
    assert.equal((await readTo(events, benches[i]?.store.lsn ?? 0)).length, 1_000);
    await events.return?.();
  }
  for (const { log } of benches) log.dispose(shuttingDown());
  assert.equal(budget.bytes, 0);
});

test("while nobody watches nothing is kept in memory", async (t) => {
  const bench = await Bench.open(temporaryDirectory(), { ringIdleMs: 0 });
  t.after(() => bench.close());
  await bench.write("", [["k", 1]]);
  assert.equal(bench.log.bytes, 0);
  const events = await watch(bench, "");
  await events.next();
  await bench.write("", [["k", 2]]);
  assert.ok(bench.log.bytes > 0);
  await events.return?.();
  await bench.write("", [["k", 3]]);
  assert.equal(bench.log.bytes, 0);
});

test("positions before the log and beyond the next write are out of range", async (t) => {
  const path = temporaryDirectory();
  let bench = await Bench.open(path, { logChanges: 100 });
  t.after(() => bench.close());
  const created = bench.store.lsn;
  const range = (oldest: number, newest: number) =>
    reasonIs("LSN_OUT_OF_RANGE", { oldest: String(oldest), newest: String(newest) });
  await assert.rejects(watch(bench, "", created), range(created + 1, created + 1));
  await assert.rejects(watch(bench, "", created + 2), range(created + 1, created + 1));
  await (await watch(bench, "", created + 1)).return?.();

  // Trimming takes a write of its own and is seen by the oldest position.
  for (let i = 0; i < 120; i++) await bench.write("", [[`k${i}`, i]]);
  const oldest = async () => {
    const refused = await watch(bench, "", created).catch((error: QuiverError) => error);
    assert.ok(refused instanceof QuiverError);
    return Number(refused.metadata.oldest);
  };
  await until(async () => (await oldest()) > created + 1);
  const kept = await oldest();
  assert.ok(bench.store.lsn - kept <= 110 && bench.store.lsn - kept >= 90, `${bench.store.lsn - kept} writes are kept`);
  await assert.rejects(watch(bench, "", kept - 1), reasonIs("LSN_OUT_OF_RANGE"));
  const seen = await readTo(await watch(bench, "", kept), bench.store.lsn);
  assert.equal(seen[0]?.lsn, kept);
  assert.equal(seen.at(-1)?.key, "k119");

  await bench.close();
  bench = await Bench.open(path, { logChanges: 100 });
  assert.equal(await oldest(), kept);
  assert.deepEqual(await readTo(await watch(bench, "", kept), bench.store.lsn), seen);
});

test("the log is trimmed by age, too", async (t) => {
  const path = temporaryDirectory();
  const bench = await Bench.open(path, { logChanges: 5, logAgeMs: -1_000 });
  t.after(() => bench.close());
  const created = bench.store.lsn;
  for (let i = 0; i < 6; i++) await bench.write("", [[`k${i}`, i]]);
  await until(() => bench.store.lsn > created + 6);
  // The write that set the trim off is not looked at.
  await assert.rejects(watch(bench, "", created + 5), reasonIs("LSN_OUT_OF_RANGE", { oldest: String(created + 6) }));
});

test("a watch whose position was trimmed fails with WATCH_BEHIND and says where it was", async (t) => {
  const bench = await Bench.open(temporaryDirectory(), { ringBytes: 1_000, logChanges: 100 });
  t.after(() => bench.close());
  const events = await watch(bench, "");
  const position = bench.store.lsn + 1;
  await events.next();
  for (let i = 0; i < 300; i++) await bench.write("", [[`k${i}`, i]]);
  await until(async () => {
    const fresh = await watch(bench, "", position).catch(() => undefined);
    return fresh === undefined;
  });
  await assert.rejects(
    readTo(events, bench.store.lsn),
    reasonIs("WATCH_BEHIND", { resume_from_lsn: String(position) }),
  );
});

test("a write of very many keys is logged in parts and comes whole", async (t) => {
  const bench = await Bench.open(temporaryDirectory(), { ringBytes: 1_000 });
  t.after(() => bench.close());
  const from = bench.store.lsn + 1;
  const puts = Array.from({ length: 3_000 }, (_, i) => [`${i}`.padEnd(1_024, "é").slice(0, 500), i] as const);
  const deletes = Array.from({ length: 20_000 }, (_, i) => `gone${i}`);
  const lsn = await bench.write("", puts, deletes);
  const seen = await readTo(await watch(bench, "", from), lsn);
  assert.deepEqual(seen, [
    ...puts.map(([key, value]) => ({ lsn, key, value })),
    ...deletes.map((key) => ({ lsn, key, value: undefined })),
  ]);
});

test("an end wakes watches that wait: with an error when the index goes, quietly by return", async (t) => {
  const bench = await Bench.open(temporaryDirectory());
  t.after(() => bench.close());
  const [left, cut] = [await watch(bench, ""), await watch(bench, "")];
  await Promise.all([left.next(), cut.next()]);
  const waiting = left.next();
  await left.return?.();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  const failing = cut.next();
  bench.log.dispose(shuttingDown());
  await assert.rejects(failing, reasonIs("SHUTTING_DOWN"));
  await assert.rejects(watch(bench, ""), reasonIs("SHUTTING_DOWN"));
});
