import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type {
  Engine,
  Index,
  JobRecord,
  JobStore,
  PartitionRef,
  PutOptions,
  VectorInput,
} from "../../src/engine/engine.ts";
import { QuiverError, type Reason } from "../../src/errors.ts";
import { FinishedJobs } from "../../src/service/jobs/finished-jobs.ts";
import { Job } from "../../src/service/jobs/job.ts";
import { Jobs, type JobsOptions, type StartUploadRequest } from "../../src/service/jobs/jobs.ts";
import { LIMITS } from "../../src/service/limits.ts";
import { Rates } from "../../src/service/rates.ts";
import { EVERYBODY, openAuthorizer } from "../support/everybody.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;

test("an upload for which there is no room is refused before a job starts", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.room = new QuiverError("ITEM_LIMIT", "Full", { metadata: { current: "9", max: "10", requested_new: "2" } });
  await assert.rejects(start(jobs, 2), (error) => error === engine.room);
  assert.deepEqual((await list(jobs)).length, 0);
  assert.deepEqual(engine.records.size, 0);
});

test("an upload may be refused for what its bucket holds, where only new keys count", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.storedElsewhere = 7;
  const max = { bucketVectorsMax: 10 };
  await assert.rejects(start(jobs, 4, "n", [], max), (error) => {
    assert.equal((error as QuiverError).reason, "ITEM_LIMIT");
    assert.deepEqual((error as QuiverError).metadata, {
      current: "7",
      max: "10",
      requested_new: "4",
      unit: "vectors",
    });
    return true;
  });
  assert.equal((await list(jobs)).length, 0);
  engine.present = new Set(["k3"]);
  assert.equal((await finished(jobs, (await start(jobs, 4, "n", [], max)).jobId)).successful, 4);
  engine.present = new Set(["k0", "k1"]);
  // More than fit by now; but nothing is new.
  await finished(jobs, (await start(jobs, 2, "n", [], max)).jobId);
  // Of three vectors two are refused: the third is to be counted.
  await rejectsWith("ITEM_LIMIT", start(jobs, 3, "n", [0, 1], max));
});

test("uploads that start together do not pass the limit of their bucket, whichever of them are done", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  const starts = await Promise.allSettled(
    Array.from({ length: 9 }, (_, i) => start(jobs, 3, `n${i}`, [], { bucketVectorsMax: 10 })),
  );
  assert.equal(starts.filter(({ status }) => status === "fulfilled").length, 3);
  engine.open();
  await until(async () => (await list(jobs)).every(({ state }) => state === "completed"));
  assert.equal(engine.stored, 9);
});

test("a job that finds no room in the middle fails and says so", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = (count) => {
    if (count > 1) throw new QuiverError("ITEM_LIMIT", "Full", { metadata: { max: "500" } });
  };
  const { jobId } = await start(jobs, 1_200);
  const { state, successful, failed, lastError, finishedAt } = await finished(jobs, jobId);
  assert.deepEqual([state, successful, failed], ["failed", 500, 0]);
  assert.deepEqual([lastError?.reason, lastError?.metadata], ["ITEM_LIMIT", { max: "500" }]);
  assert.ok(finishedAt !== undefined);
  assert.deepEqual([...engine.parts.keys()], []);
});

test("a job waits while vectors come faster than they can be taken in, and then goes on", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = (count) => {
    if (count <= 2) throw new QuiverError("INGEST_BACKLOG", "Wait");
  };
  const { jobId } = await start(jobs, 600);
  await until(async () => (await jobs.get(EVERYBODY, jobId)).lastError?.reason === "INGEST_BACKLOG");
  const done = await finished(jobs, jobId);
  assert.deepEqual([done.state, done.successful, done.lastError], ["completed", 600, undefined]);
});

test("a job does not go into an index that was created again while it waited", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = () => {
    engine.indexCreatedAt = 2;
    throw new QuiverError("DISK_FULL", "Full");
  };
  const { jobId } = await start(jobs, 1);
  const { state, lastError } = await finished(jobs, jobId);
  assert.deepEqual([state, lastError?.reason], ["failed", "INDEX_NOT_FOUND"]);
});

test("to cancel a job that waits ends the wait", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = () => {
    throw new QuiverError("DISK_FULL", "Full");
  };
  const { jobId } = await start(jobs, 1);
  await until(async () => (await jobs.get(EVERYBODY, jobId)).lastError !== undefined);
  const [first, second] = await Promise.all([jobs.cancel(EVERYBODY, jobId), jobs.cancel(EVERYBODY, jobId)]);
  assert.deepEqual([first.state, second.state, first.lastError], ["cancelled", "cancelled", undefined]);
  assert.equal(engine.records.get(jobId)?.state, "cancelled");
});

test("a job that is cancelled while its last part is written is completed instead", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  const { jobId } = await start(jobs, 1);
  await until(() => engine.putting === 1);
  const refused = rejectsWith("JOB_FINISHED", jobs.cancel(EVERYBODY, jobId));
  engine.open();
  await refused;
  assert.equal((await jobs.get(EVERYBODY, jobId)).state, "completed");
});

test("a job whose store turns read-only goes on after the next start, and counts exactly", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = (count) => {
    if (count > 2) throw new QuiverError("STORAGE_READ_ONLY", "Read-only");
  };
  const { jobId } = await start(jobs, 1_700, "i", [3, 1_650]);
  await until(async () => (await jobs.get(EVERYBODY, jobId)).lastError?.reason === "STORAGE_READ_ONLY");
  assert.equal((await jobs.get(EVERYBODY, jobId)).state, "running");
  await jobs.close();
  engine.onPut = () => {};
  const again = await openJobs(engine);
  const done = await finished(again, jobId);
  assert.deepEqual([done.state, done.successful, done.failed, done.total], ["completed", 1_698, 2, 1_700]);
  assert.equal(engine.stored, 1_698);
});

test("jobs of one namespace run one after the other as they were started, at most four jobs at a time", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  const namespaces = Array.from({ length: 18 }, (_, i) => `n${i % 6}`);
  const started: JobRecord[] = [];
  for (const namespace of namespaces) started.push(await start(jobs, 1, namespace));
  await until(() => engine.putting === 4);
  engine.open();
  for (const { jobId } of started) await finished(jobs, jobId);
  assert.equal(engine.puttingMost, 4);
  for (let n = 0; n < 6; n++) {
    const ids = started.filter((_, i) => i % 6 === n).map(({ jobId }) => jobId);
    assert.deepEqual(engine.order.get(`n${n}`), ids);
  }
});

test("as many jobs wait as allowed, and as many bytes", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  for (let i = 0; i < LIMITS.jobsUnfinishedMax; i++) await start(jobs, 1, `n${i}`);
  await assert.rejects(start(jobs, 1), (error) => {
    assert.ok(error instanceof QuiverError);
    assert.deepEqual([error.reason, error.retryAfterMs], ["INGEST_BACKLOG", 5_000]);
    return true;
  });
  const [first] = await list(jobs);
  await jobs.cancel(EVERYBODY, (await list(jobs)).at(-1)?.jobId ?? "");
  await start(jobs, 1);
  engine.open();
  await finished(jobs, first?.jobId ?? "");
  await jobs.close();

  const full = new FakeEngine();
  const { jobId } = await start(await openJobs(full), 1);
  const record = full.records.get(jobId) as JobRecord;
  const parts = { count: 1, done: 0, bytes: LIMITS.jobsUnfinishedBytesMax };
  full.records.set(jobId, { ...record, state: "running", parts });
  full.close();
  await rejectsWith("INGEST_BACKLOG", start(await openJobs(full), 1));
});

test("a watch sends at most ten jobs a second, and the last one is final", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  const { jobId } = await start(jobs, 20_000);
  const seen: { at: number; job: JobRecord }[] = [];
  for await (const job of jobs.watch(EVERYBODY, jobId, new AbortController().signal))
    seen.push({ at: performance.now(), job });
  assert.deepEqual(seen.at(-1)?.job.state, "completed");
  for (const [i, { at }] of seen.entries()) {
    // Timers may fire up to a millisecond early.
    if (i > 0) assert.ok(at - (seen[i - 1]?.at ?? 0) >= 98);
  }
  assert.ok(seen.length < 40);
});

test("a watch ends when its caller leaves, and fails when the server stops", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  const { jobId } = await start(jobs, 1);
  const leaving = new AbortController();
  const left = jobs.watch(EVERYBODY, jobId, leaving.signal);
  assert.equal((await left.next()).done, false);
  const stopped = collect(jobs.watch(EVERYBODY, jobId, new AbortController().signal));
  leaving.abort();
  assert.equal((await left.next()).done, true);
  const rejected = rejectsWith("SHUTTING_DOWN", stopped);
  const closed = jobs.close();
  await rejected;
  engine.open();
  await closed;
  await rejectsWith("SHUTTING_DOWN", start(jobs, 1));
});

test("as many watches are open as allowed", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.close();
  const { jobId } = await start(jobs, 1);
  const leaving = new AbortController();
  const open = Array.from({ length: LIMITS.jobWatchesMax }, () => jobs.watch(EVERYBODY, jobId, leaving.signal));
  for (const watch of open) await watch.next();
  await rejectsWith("TOO_MANY_STREAMS", jobs.watch(EVERYBODY, jobId, leaving.signal).next());
  await open[0]?.return(undefined);
  assert.equal((await jobs.watch(EVERYBODY, jobId, leaving.signal).next()).done, false);
  leaving.abort();
  engine.open();
});

test("a job that fails by the server's fault says nothing of its cause, which is logged", async () => {
  const engine = new FakeEngine();
  const logged: unknown[] = [];
  const jobs = await openJobs(engine, (_, error) => logged.push(error));
  engine.onPut = () => {
    throw new TypeError("secret");
  };
  const { jobId } = await start(jobs, 1);
  const { state, lastError } = await finished(jobs, jobId);
  assert.deepEqual([state, lastError?.reason], ["failed", "INTERNAL"]);
  assert.ok(!JSON.stringify(lastError).includes("secret"));
  assert.ok(logged[0] instanceof QuiverError && (logged[0].cause as Error).message === "secret");
});

test("a job whose part is damaged in the store fails", async () => {
  const engine = new FakeEngine();
  const logged: unknown[] = [];
  const jobs = await openJobs(engine, (_, error) => logged.push(error));
  engine.damage = (part) => part.fill(7, 20, 24);
  const { jobId } = await start(jobs, 3);
  assert.equal((await finished(jobs, jobId)).lastError?.reason, "CORRUPTION");
  assert.equal(logged.length, 1);
});

test("a job fails when the namespace that it writes into is deleted", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  engine.onPut = () => {
    engine.namespaceGone = true;
  };
  const { jobId } = await start(jobs, 1_000);
  const { state, successful, lastError } = await finished(jobs, jobId);
  assert.deepEqual([state, successful, lastError?.reason], ["failed", 500, "NAMESPACE_NOT_FOUND"]);
});

test("finished jobs are kept for a day, and as many as allowed", async () => {
  const engine = new FakeEngine();
  const jobs = await openJobs(engine);
  const { jobId } = await start(jobs, 1);
  const record = await finished(jobs, jobId);
  const at = record.finishedAt as number;

  const kept = new FinishedJobs();
  kept.add(new Job(record));
  assert.equal(kept.takeExpired(at + 24 * HOUR_MS).length, 0);
  assert.equal(kept.takeExpired(at + 24 * HOUR_MS + 1).length, 1);
  for (let i = 0; i < LIMITS.jobsKeptMax + 3; i++) kept.add(new Job({ ...record, jobId: `${i}` }));
  assert.deepEqual(
    kept.takeExpired(at).map(({ id }) => id),
    ["0", "1", "2"],
  );
  const large = {
    ...record,
    lastError: { reason: "INTERNAL", message: "x".repeat(2 ** 20), metadata: {}, violations: [] },
  } as const;
  for (let i = 0; i < 64; i++) kept.add(new Job({ ...large, jobId: `large ${i}` }));
  assert.equal(kept.takeExpired(at).length, LIMITS.jobsKeptMax + 1);

  engine.records.set(jobId, { ...record, finishedAt: at - 25 * HOUR_MS });
  await rejectsWith("JOB_NOT_FOUND", (await openJobs(engine)).get(EVERYBODY, jobId));
  await until(() => engine.records.size === 0);
});

/** Keeps what jobs need of an engine in memory; puts can be held back, refused and counted. */
class FakeEngine {
  indexCreatedAt = 1;
  readonly records = new Map<string, JobRecord>();
  readonly parts = new Map<string, Uint8Array>();
  /** Jobs by namespace, as they were written. */
  readonly order = new Map<string, string[]>();
  stored = 0;
  storedElsewhere = 0;
  /** Keys that reads find. */
  present: ReadonlySet<string> = new Set();
  putting = 0;
  puttingMost = 0;
  room: QuiverError | undefined;
  namespaceGone = false;
  /** Called with the number of the put, from 1. */
  onPut: (count: number) => void = () => {};
  damage: (part: Uint8Array) => void = () => {};
  #puts = 0;
  #gate = Promise.withResolvers<void>();

  constructor() {
    this.open();
  }

  open(): void {
    this.#gate.resolve();
  }

  /** Holds puts back until `open`. */
  close(): void {
    this.#gate = Promise.withResolvers();
  }

  async getIndex(): Promise<Index> {
    const config = {
      createdAt: this.indexCreatedAt,
      dimension: 1,
      distanceMetric: "euclidean",
      nonFilterableMetadataKeys: [],
    };
    return { bucket: "b", index: "i", ...config } as unknown as Index;
  }

  async getNamespace(): Promise<void> {
    if (this.namespaceGone) throw new QuiverError("NAMESPACE_NOT_FOUND", "Gone");
  }

  async assertRoom(): Promise<void> {
    if (this.room) throw this.room;
  }

  async vectorCounts(): Promise<ReadonlyMap<string, number>> {
    return new Map([
      ["i", this.stored],
      ["other", this.storedElsewhere],
    ]);
  }

  async getVectors(_partition: PartitionRef, keys: readonly string[]) {
    return { vectors: keys.filter((key) => this.present.has(key)).map((key) => ({ key, version: 1 })), lsn: 1 };
  }

  async putVectors({ namespace }: PartitionRef, vectors: readonly VectorInput[], { job }: PutOptions) {
    this.putting += 1;
    this.puttingMost = Math.max(this.puttingMost, this.putting);
    try {
      await this.#gate.promise;
      this.#puts += 1;
      this.onPut(this.#puts);
      const record = this.#roundTrip(job?.(this.#puts) as JobRecord);
      this.records.set(record.jobId, record);
      this.order.set(namespace, [...(this.order.get(namespace) ?? []), record.jobId]);
      this.stored += vectors.length;
      return { lsn: this.#puts };
    } finally {
      this.putting -= 1;
    }
  }

  readonly jobs: JobStore = {
    load: async () => [...this.records.values()].sort((a, b) => (a.jobId < b.jobId ? -1 : 1)),
    create: async (job, parts) => {
      await setImmediate();
      this.records.set(job.jobId, this.#roundTrip(job));
      for (const [i, part] of parts.entries()) this.parts.set(`${job.jobId} ${i}`, part);
    },
    put: async (job, { withoutParts }) => {
      this.records.set(job.jobId, this.#roundTrip(job));
      if (withoutParts) for (const key of this.parts.keys()) if (key.startsWith(job.jobId)) this.parts.delete(key);
    },
    readPart: async (jobId, part) => {
      const bytes = Uint8Array.from(this.parts.get(`${jobId} ${part}`) as Uint8Array);
      this.damage(bytes);
      return bytes;
    },
    delete: async (jobIds) => {
      for (const jobId of jobIds) this.records.delete(jobId);
    },
  };

  #roundTrip(record: JobRecord): JobRecord {
    return JSON.parse(JSON.stringify(record)) as JobRecord;
  }
}

async function openJobs(
  engine: FakeEngine,
  onError: JobsOptions["onError"] = (_, error) => assert.fail(error as Error),
): Promise<Jobs> {
  const scope = { region: "r", account: "000000000000" };
  const port = engine as unknown as Engine;
  const jobs = new Jobs({ engine: port, authorizer: openAuthorizer(port), scope, rates: new Rates(), onError });
  await jobs.resume();
  return jobs;
}

/** Uploads so many vectors; those at the positions `refused` have the wrong dimension. */
function start(
  jobs: Jobs,
  count: number,
  namespace = "n",
  refused: readonly number[] = [],
  limits: Pick<StartUploadRequest, "bucketVectorsMax"> = {},
): Promise<JobRecord> {
  const vectors = Array.from({ length: count }, (_, i) => ({
    key: `k${i}`,
    data: new Float32Array(refused.includes(i) ? 2 : 1),
    metadata: {},
  }));
  const target = { vectorBucketName: "b", indexName: "i", indexArn: "", namespace };
  return jobs.start(EVERYBODY, { ...target, ...limits, vectors, onDuplicate: "error", idempotencyKey: "" });
}

async function list(jobs: Jobs): Promise<readonly JobRecord[]> {
  const all = { vectorBucketName: "", indexName: "", indexArn: "", state: undefined };
  return (await jobs.list(EVERYBODY, { ...all, prefix: "", maxResults: 1_000, nextToken: "" })).items;
}

async function finished(jobs: Jobs, jobId: string): Promise<JobRecord> {
  return (await collect(jobs.watch(EVERYBODY, jobId, new AbortController().signal))).at(-1) as JobRecord;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function rejectsWith(reason: Reason, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.equal((error as QuiverError).reason, reason);
    return true;
  });
}
