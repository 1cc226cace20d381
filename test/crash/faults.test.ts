import assert from "node:assert/strict";
import { constants } from "node:os";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.ts";
import { AdminService, StorageState } from "../../gen/quiver/v1/admin_service_pb.ts";
import { reasonOf } from "../model/operation.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import type { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { Load } from "./load.ts";
import { readAll } from "./load-reads.ts";
import { Disk, type Event, type Fault, hasShim } from "./shim/shim.ts";
import { probe, WideWriter } from "./wide-writer.ts";

const ROUNDS = rounds("FAULTS", { quick: 12, full: 300 });
const { EIO, ENOSPC } = constants.errno;

/** Whatever takes longer hangs. */
const HANG_MS = 60_000;

type Target = Pick<Fault, "call" | "pattern">;

/** Calls on files that the store writes, each to fail in turn. */
const TARGETS: readonly Target[] = [
  ...(["write", "fsync", "open", "fallocate", "ftruncate", "unlink"] as const).map(on("data/*.log")),
  ...(["write", "fsync", "open", "ftruncate", "unlink"] as const).map(on("data/*.sst")),
  ...(["write", "fsync", "open"] as const).map(on("data/MANIFEST-*")),
  ...(["write", "fsync", "open"] as const).map(on("data/*.dbtmp")),
  ...(["open", "write", "fsync", "rename"] as const).map(on("data/ACKNOWLEDGED*")),
  ...(["open", "write", "fsync", "rename", "mkdir", "unlink"] as const).map(on("data/graphs*")),
  ...(["link", "mkdir", "open", "write", "fsync", "rename"] as const).map(on("data/backups*")),
  { call: "rename", pattern: "data/CURRENT" },
  { call: "rename", pattern: "data/OPTIONS-*" },
  { call: "fsync", pattern: "data" },
  { call: "mkdir", pattern: "data" },
  { call: "fsync", pattern: "" },
  { call: "fsync", pattern: "*" },
  { call: "write", pattern: "*" },
];

/** Of what there are many calls; of others there may be but one. */
const FREQUENT = /^(data\/\*\.log|\*)$/;

function on(pattern: string): (call: Fault["call"]) => Target {
  return (call) => ({ call, pattern });
}

/** What a write may be answered on a disk with faults. */
const REASONS: ReadonlySet<string> = new Set([
  "WRITE_OUTCOME_UNKNOWN",
  "STORAGE_READ_ONLY",
  "DISK_FULL",
  "INGEST_BACKLOG",
]);

test("a failing disk costs no acknowledged write, no read and no process, whichever call fails", async (t) => {
  if (!hasShim(t)) return;
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const targets = shuffled(TARGETS, random);
  const failures: string[] = [];
  const met = new Map<string, number>();
  const counts = { acknowledged: 0, unknown: 0, refused: 0, refusedStarts: 0 };
  for (let round = 0; round < ROUNDS; ) {
    const run = new Faults(t, random, met);
    try {
      for (; round < ROUNDS; round++) await run.round(targets[round % targets.length] as Target);
      await run.stop();
    } catch (error) {
      // The others go on with data of their own.
      failures.push(`round ${round++}, ${(error as Error).message}; ${await run.lastWords()}`);
    }
    counts.acknowledged += run.load.counts.acknowledged;
    counts.unknown += run.load.counts.unknown;
    counts.refused += run.load.counts.refused;
    counts.refusedStarts += run.refusedStarts;
  }
  const list = [...met].map(([target, times]) => `${target} ${times}`).join(", ");
  t.diagnostic(
    `${ROUNDS} rounds, ${counts.acknowledged} writes acknowledged, ${counts.unknown} without an outcome, ${counts.refused} refused, ${counts.refusedStarts} starts refused, ${failures.length} failures; faults met: ${list}`,
  );
  assert.deepEqual(failures, []);
});

test("the comparison notices a disk that says OK to an fsync that failed", async (t) => {
  if (!hasShim(t)) return;
  const run = new Faults(t);
  const swallow = async () => {
    const fault = { call: "fsync", pattern: "data/*.log", first: 3, count: 0, action: "swallow", value: 0 } as const;
    for (let round = 0; round < 5; round++) await run.roundWith(fault);
  };
  await assert.rejects(swallow(), /lost: |finds something else than it wrote|Cannot open/);
});

test("a high-water mark that cannot be synced makes the store read-only, and health says so", async (t) => {
  if (!hasShim(t)) return;
  const run = new Faults(t);
  const { url } = await run.server();
  run.disk.setFaults([
    { call: "fsync", pattern: "data/ACKNOWLEDGED*", first: 1, count: 1, action: "error", value: EIO },
  ]);
  assert.equal(await probe(url), undefined);
  await until(async () => (await storageOf(url)).state !== StorageState.HEALTHY);
  assert.ok(run.isMet());
  assert.equal(await probe(url), "STORAGE_READ_ONLY");
  assert.deepEqual(await storageOf(url), {
    state: StorageState.READ_ONLY,
    problems: ["The store is read-only after a storage fault: repair the disk and restart the server"],
    serving: Status.NOT_SERVING,
  });
  await run.load.run(url, () => run.load.counts.operations >= 100);
  assert.deepEqual(new Set(run.load.failures.keys()), new Set(["STORAGE_READ_ONLY"]));
  await run.restart();
  assert.equal(await probe((await run.server()).url), undefined);
  await run.stop();
});

test("a log of the store that cannot be written harms nothing", async (t) => {
  if (!hasShim(t)) return;
  const run = new Faults(t);
  await run.server();
  await run.restart([{ call: "write", pattern: "data/LOG", first: 1, count: 0, action: "error", value: ENOSPC }]);
  const { url } = await run.server();
  await run.load.run(url, () => run.load.counts.operations >= 100);
  assert.ok(run.isMet());
  assert.deepEqual([...run.load.failures], []);
  assert.deepEqual(await storageOf(url), { state: StorageState.HEALTHY, problems: [], serving: Status.SERVING });
  await run.load.compare(url);
  await run.stop();
});

test("without a compiler these tests are skipped and say why, and in CI they fail", () => {
  const reasons: (string | undefined)[] = [];
  const t = { skip: (reason?: string) => void reasons.push(reason) };
  assert.equal(hasShim(t, { PATH: temporaryDirectory() }), false);
  assert.equal(hasShim(t, { PATH: process.env.PATH, CC: "no-such-compiler" }), false);
  assert.deepEqual(
    reasons,
    ["make", "no-such-compiler"].map((tool) => `${tool} is not installed, which builds the shim`),
  );
  assert.throws(() => hasShim(t, { PATH: process.env.PATH, CC: "no-such-compiler", CI: "true" }), /no-such-compiler/);
});

test("with a slow fsync many writes share each, and reads go on", async (t) => {
  if (!hasShim(t)) return;
  const run = new Faults(t);
  const server = await run.server();
  run.disk.setFaults([{ call: "fsync", pattern: "data/*.log", first: 1, count: 0, action: "delay", value: 200 }]);
  const before = run.syncs();
  const running = run.load.run(server.url, () => run.syncs() - before >= 10);
  const [reads] = await Promise.all([readUntil(connect(server), running), running]);
  const syncs = run.syncs() - before;
  assert.deepEqual([...run.load.failures], []);
  assert.ok(reads >= 2 * syncs, `${reads} reads during ${syncs} syncs`);

  const outcomes = await Promise.all(Array.from({ length: 64 }, () => probe(server.url)));
  const shared = run.syncs() - before - syncs;
  assert.ok(outcomes.every((reason) => reason === undefined));
  assert.ok(shared <= 64 / 4, `64 writes at once took ${shared} syncs`);
  t.diagnostic(`200 ms each: ${reads} reads during ${syncs} syncs; ${shared} syncs for 64 writes at once`);
  run.disk.setFaults([]);
  await run.load.compare(server.url);
  await run.stop();
});

test("the library itself changes nothing: the same writes leave the same data with it and without", async (t) => {
  if (!hasShim(t)) return;
  const { seed } = new Random();
  t.diagnostic(`seed ${seed}`);
  const results = [];
  for (const isPreloaded of [true, false]) {
    const disk = new Disk();
    const server = await disk.start([], isPreloaded ? {} : { env: { LD_PRELOAD: "" } });
    t.after(() => server.kill());
    // One client's writes depend on nothing but the seed.
    const load = new Load({ random: new Random(seed), clients: 1 });
    await load.prepare(server.url);
    await load.run(server.url, () => load.counts.operations >= 300);
    results.push({ counts: load.counts, ...(await readAll(connect(server))) });
    assert.equal(await server.stop(), 0);
    assert.equal(disk.events().length > 0, isPreloaded);
  }
  assert.deepEqual(results[0], results[1]);
});

/** A server under load on a disk that fails now and then. */
class Faults {
  readonly disk = new Disk();
  readonly load: Load;
  refusedStarts = 0;
  readonly #wide = new WideWriter(256);
  readonly #random: Random;
  #server: ServerProcess | undefined;
  readonly #met: Map<string, number>;

  /** `met` counts the faults that came about. */
  constructor(t: TestContext, random = new Random(), met = new Map<string, number>()) {
    t.diagnostic(`seed ${random.seed}`);
    this.#random = random;
    this.load = new Load({ random });
    this.#met = met;
    t.after(() => this.#server?.kill());
  }

  /** The one that runs. */
  async server(): Promise<ServerProcess> {
    if (!this.#server) {
      this.#server = await this.disk.start(ARGUMENTS);
      await this.load.prepare(this.#server.url);
      await this.#wide.prepare(this.#server.url);
    }
    return this.#server;
  }

  /** Kills it, cuts the power and starts it with these faults; compares. */
  async restart(faults: readonly Fault[] = []): Promise<void> {
    await this.#server?.kill();
    assertNoRetry(this.disk.events());
    this.disk.cut();
    this.disk.setFaults(faults);
    this.#server = await this.disk.start(ARGUMENTS);
    await this.load.compare(this.#server.url);
  }

  async round(target: Target): Promise<void> {
    const random = this.#random;
    const isShort = target.call === "write" && random.below(4) === 0;
    const fault: Fault = {
      ...target,
      first: random.pick(FREQUENT.test(target.pattern) ? [1, 2, 5, 20, 50] : [1, 1, 2]),
      count: random.pick([0, 1]),
      ...(isShort
        ? { action: "short", value: random.below(20) }
        : { action: "error", value: random.pick([EIO, ENOSPC]) }),
    };
    try {
      if (random.below(4) === 0) await this.#startWith(fault);
      await this.roundWith(fault);
    } catch (error) {
      throw new Error(`${describe(fault)}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Load, the fault, reads and a write on what is left; then a power cut, a start without the fault, a comparison. */
  async roundWith(fault: Fault): Promise<void> {
    const { disk, load } = this;
    const random = this.#random;
    const server = await this.server();
    disk.setFaults([fault]);
    const enough = load.counts.operations + 100;
    let wideCalls = WIDE_CALLS;
    const running = load.run(server.url, () => load.counts.operations >= enough || this.isMet());
    const wide = this.#wide.run(server.url, () => wideCalls-- === 0 || this.isMet());
    const [wideReason] = await within("the load", Promise.all([wide, running]));

    await within("reads", this.#check(server.url));
    const reason = await within("a write", probe(server.url));
    for (const each of [...load.failures.keys(), wideReason, reason]) {
      assert.ok(each === undefined || REASONS.has(each), `a write was answered ${each}`);
    }
    if (load.failures.has("WRITE_OUTCOME_UNKNOWN")) assert.equal(reason, "STORAGE_READ_ONLY");
    load.failures.clear();
    if (fault.pattern.startsWith("data/backups") || random.below(4) === 0) await within("a backup", tryBackup(server));
    this.#count(fault);
    if (random.below(2) === 0) await server.kill();
    else assert.equal(await within("the end", server.stop()), 0, "its end");
    assertNoRetry(disk.events());

    disk.setFaults([]);
    disk.cut(random.below(2) === 0 ? random : undefined);
    this.#server = await disk.start(ARGUMENTS);
    await within("reads after the start", load.compare(this.#server.url));
    await this.#wide.check(this.#server.url);
  }

  /** Of the server that ran last; ends it. */
  async lastWords(): Promise<string | undefined> {
    return this.#server?.lastWords();
  }

  async stop(): Promise<void> {
    assert.equal(await this.#server?.stop(), 0);
  }

  /** How often the write-ahead log was synced. */
  syncs(): number {
    return this.disk.events().filter(({ what, path }) => what === "sync" && path.endsWith(".log")).length;
  }

  /** Starts it while calls fail already: it serves, or ends by itself with a message; both leave what is stored. */
  async #startWith(fault: Fault): Promise<void> {
    await this.server();
    await this.#server?.kill();
    this.disk.setFaults([fault]);
    const outcome = await within(
      "a start",
      this.disk.start(ARGUMENTS).catch((error: Error) => error),
    );
    this.#count(fault);
    if (outcome instanceof Error) {
      assert.match(outcome.message, /^The server ended with \d: quiver: /);
      // It may try a sync again, as RocksDB does when it cleans up: it has acknowledged nothing that depends on it.
      this.refusedStarts++;
    } else {
      this.#server = outcome;
      await within("reads", this.#check(outcome.url));
      await outcome.kill();
      assertNoRetry(this.disk.events());
    }
    this.disk.setFaults([]);
    this.disk.cut(this.#random);
    this.#server = await this.disk.start(ARGUMENTS);
    await this.#check(this.#server.url);
  }

  async #check(url: string): Promise<void> {
    await this.load.check(url);
    await this.#wide.check(url);
  }

  /** Whether a call has met a fault since the server started. */
  isMet(): boolean {
    return this.disk.events().some(({ what }) => what === "fault");
  }

  #count({ call, pattern }: Fault): void {
    if (!this.isMet()) return;
    const name = `${call} ${pattern || "."}`;
    this.#met.set(name, (this.#met.get(name) ?? 0) + 1);
  }
}

/** Enough to write and to compact tables. */
const WIDE_CALLS = 12;

/** The smallest, so that tables are written often. */
const ARGUMENTS = ["--write-buffer", "4MiB"];

/** Makes one or fails with a reason, and does no harm. */
async function tryBackup(server: ServerProcess): Promise<void> {
  await connect(server)
    .admin.createBackup({}, { timeoutMs: HANG_MS })
    .catch((error: unknown) => {
      if (reasonOf(error) === undefined) throw error;
    });
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const order = items.map((item) => ({ item, at: random.next() }));
  return order.sort((a, b) => a.at - b.at).map(({ item }) => item);
}

function connect(server: ServerProcess): Clients {
  return createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
}

async function within<Result>(what: string, promise: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), HANG_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const STORE_DIRECTORY = "data";

/**
 * After a failed sync of a file, another one of the same file would answer OK for pages that are lost. The directory of the
 * store is synced by each of RocksDB's jobs that has made a file in it: one that runs already when the sync of another fails
 * comes to its own, and what is acknowledged rests on the log, whose own failed syncs are never repeated.
 */
function assertNoRetry(events: readonly Event[]): void {
  const failed = new Set<number>();
  for (const { what, inode, path, result } of events) {
    if (what !== "sync" || path === STORE_DIRECTORY) continue;
    assert.ok(!failed.has(inode), `${path} is synced again after a sync of it failed`);
    if (result !== 0) failed.add(inode);
  }
}

/** What the server says about its storage. */
async function storageOf(url: string) {
  const transport = createGrpcTransport({ baseUrl: url });
  const { serverInfo } = await createClient(AdminService, transport).getServerInfo({});
  const { status: serving } = await createClient(Health, transport).check({ service: "storage" });
  const { state, problems = [] } = serverInfo?.storageHealth ?? {};
  return { state, problems: problems.map(({ message }) => message), serving };
}

async function readUntil(clients: Clients, end: Promise<void>): Promise<number> {
  let isOver = false;
  const finish = () => {
    isOver = true;
  };
  end.then(finish, finish);
  let reads = 0;
  while (!isOver) {
    await clients.vectors.getVectors({ vectorBucketName: "load", indexName: "shared", keys: ["c0-0"] });
    reads++;
  }
  return reads;
}

function describe({ call, pattern, first, count, action, value }: Fault): string {
  return `${call} ${pattern} from the ${first}th on, ${count === 0 ? "always" : `${count} times`}, ${action} ${value}`;
}
