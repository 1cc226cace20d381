import { setTimeout } from "node:timers/promises";
import type { Engine, JobRecord, JobState, Page, PageOptions, PartitionRef, VectorInput } from "../../engine/engine.ts";
import { invalidField, QuiverError, quote, shuttingDown } from "../../errors.ts";
import { OneAtATime } from "../../one-at-a-time.ts";
import type { Caller } from "../access/caller.ts";
import { onlyAllowed } from "../access/only-allowed.ts";
import { admitServer, type ServiceContext } from "../context.ts";
import { idempotencyOf } from "../idempotency.ts";
import { LIMITS } from "../limits.ts";
import { listPage, type PageRequest, type PageResult } from "../listing.ts";
import { type IndexReference, resolveIndex } from "../names.ts";
import { admitPartition, type PartitionReference } from "../partitions.ts";
import { assertDuplicatesAllowed, type OnDuplicateKey } from "../vector-input.ts";
import { assertBucketRoom } from "./bucket-room.ts";
import { FinishedJobs } from "./finished-jobs.ts";
import { Job, toStoredError } from "./job.ts";
import { JobIds } from "./job-ids.ts";
import { JobQueue } from "./job-queue.ts";
import { retryWhilePassing, workOn } from "./job-work.ts";
import { takeUpload } from "./upload.ts";

export interface StartUploadRequest extends PartitionReference {
  readonly vectors: readonly VectorInput[];
  readonly onDuplicate: OnDuplicateKey;
  /** "": none. */
  readonly idempotencyKey: string;
  /** Refuses vectors that the bucket would hold beyond so many, with those that unfinished jobs have to store. Default: none. */
  readonly bucketVectorsMax?: number;
}

/** Without an index: the jobs of all. */
export interface ListJobsRequest extends IndexReference, PageRequest {
  /** Undefined: in any. */
  readonly state: JobState | undefined;
}

export interface JobsOptions extends ServiceContext {
  /** Hears of jobs that failed by the server's fault, and of records that could not be written. */
  readonly onError: (message: string, error: unknown) => void;
}

const WATCH_PAUSE_MS = 100;
const RETRY_FULL_MS = 5_000;

/** Uploads that go on after the call that started them, also over a restart. */
export class Jobs {
  readonly #engine: Engine;
  readonly #context: ServiceContext;
  readonly #onError: JobsOptions["onError"];
  readonly #ids = new JobIds();
  readonly #jobs = new Map<string, Job>();
  /** By idempotency key. */
  readonly #started = new Map<string, { readonly fingerprint: string; readonly job: Promise<Job> }>();
  readonly #queue = new JobQueue((job) => this.#work(job));
  readonly #finished = new FinishedJobs();
  readonly #unfinished = { jobs: 0, bytes: 0 };
  #watches = 0;
  readonly #limited = new OneAtATime();
  readonly #closing = new AbortController();

  constructor(options: JobsOptions) {
    this.#engine = options.engine;
    this.#context = options;
    this.#onError = options.onError;
  }

  /** Reads what is stored and goes on with the jobs that are not finished. Call it once, before anything else. */
  async resume(): Promise<void> {
    const jobs = (await this.#engine.jobs.load()).map((record) => this.#add(record));
    for (const job of jobs) {
      this.#ids.notice(job.id);
      const { idempotency } = job.record;
      if (idempotency) {
        this.#started.set(idempotency.key, { fingerprint: idempotency.fingerprint, job: Promise.resolve(job) });
      }
    }
    const finished = jobs.filter(({ isFinal }) => isFinal);
    finished.sort((a, b) => (a.record.finishedAt ?? 0) - (b.record.finishedAt ?? 0));
    for (const job of finished) this.#finished.add(job);
    this.#forgetExpired();
    for (const job of jobs.filter(({ isFinal }) => !isFinal)) {
      this.#count(1, job.record.parts.bytes);
      this.#queue.add(job);
    }
  }

  /** Stops after the parts under way; what is not finished goes on after the next start. Watches end. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#queue.close();
  }

  /** Checks the request and stores it durably as a job. A repetition answers the job as it is by now. */
  async start(caller: Caller, request: StartUploadRequest): Promise<JobRecord> {
    const partition = await admitPartition(this.#context, { caller, action: "PutVectors" }, request);
    const { vectors, onDuplicate, idempotencyKey } = request;
    const idempotency = idempotencyOf(caller, idempotencyKey, ["upload", partition, onDuplicate, vectors]);
    const start = () => {
      const begin = () => this.#start(partition, request, idempotency);
      // Two at once could pass the limit together.
      return request.bucketVectorsMax === undefined ? begin() : this.#limited.run(begin);
    };
    if (!idempotency) return (await start()).shown;

    const { key, fingerprint } = idempotency;
    const earlier = this.#started.get(key);
    if (earlier && earlier.fingerprint !== fingerprint) {
      const message = `Idempotency key ${quote(idempotencyKey)} came with another request before; choose a new one for each upload`;
      throw new QuiverError("IDEMPOTENCY_KEY_REUSED", message);
    }
    if (earlier) return (await earlier.job).shown;
    const job = start();
    this.#started.set(key, { fingerprint, job });
    job.catch(() => this.#started.delete(key));
    return (await job).shown;
  }

  async get(caller: Caller, jobId: string): Promise<JobRecord> {
    return (await this.#find(caller, "GetJob", jobId)).shown;
  }

  /** Those that the caller may look at; without their errors. */
  async list(caller: Caller, request: ListJobsRequest): Promise<PageResult<JobRecord>> {
    await admitServer(this.#context, { caller, action: "ListJobs" });
    this.#forgetExpired();
    const { vectorBucketName, indexName, indexArn, state } = request;
    const isOfAll = vectorBucketName === "" && indexName === "" && indexArn === "";
    const ref = isOfAll ? undefined : resolveIndex(this.#context.scope, request);
    const chosen = [...this.#jobs.values()].filter(({ record }) => {
      const { bucket, index } = record.partition;
      return (!ref || (bucket === ref.bucket && index === ref.index)) && (!state || record.state === state);
    });
    return listPage(
      ["jobs", ref, state],
      request,
      onlyAllowed(
        async (options) => pageOf(chosen, options),
        nameOf,
        ({ partition }) => this.#context.authorizer.may(caller, "GetJob", partition),
      ),
      nameOf,
    );
  }

  /** Stops a job before its next part. JOB_FINISHED when there is none. */
  async cancel(caller: Caller, jobId: string): Promise<JobRecord> {
    const job = await this.#find(caller, "CancelJob", jobId);
    if (job.isFinal) throw jobFinished(job);
    job.stopping ??= this.#stop(job).finally(() => {
      job.stopping = undefined;
    });
    await job.stopping;
    if (job.record.state !== "cancelled") throw jobFinished(job);
    return job.shown;
  }

  /** The job as it is, then after each progress, at most once in 100 ms, until it is final or `signal` is aborted. */
  async *watch(caller: Caller, jobId: string, signal: AbortSignal): AsyncGenerator<JobRecord> {
    const job = await this.#find(caller, "GetJob", jobId);
    if (this.#watches >= LIMITS.jobWatchesMax) {
      const message = `Cannot follow job "${jobId}": ${LIMITS.jobWatchesMax} streams follow jobs, as many as allowed`;
      throw new QuiverError("TOO_MANY_STREAMS", message, { retryAfterMs: RETRY_FULL_MS });
    }
    this.#watches += 1;
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    const whenEnded = Promise.withResolvers<void>();
    const end = () => whenEnded.resolve();
    ended.addEventListener("abort", end);
    try {
      while (!ended.aborted) {
        const { changed, shown } = job;
        yield shown;
        if (shown.state !== "running") return;
        const pause = setTimeout(WATCH_PAUSE_MS, undefined, { signal: ended }).catch(() => {});
        await Promise.race([changed, whenEnded.promise]);
        await pause;
        // The policy may be another one by now.
        await this.#context.authorizer.authorize(caller, "GetJob", job.record.partition);
      }
      if (!signal.aborted) throw shuttingDown();
    } finally {
      // A listener would keep the signal in memory for as long as the server runs.
      ended.removeEventListener("abort", end);
      this.#watches -= 1;
    }
  }

  async #start(
    partition: PartitionRef,
    { vectors, onDuplicate, bucketVectorsMax }: StartUploadRequest,
    idempotency: JobRecord["idempotency"],
  ): Promise<Job> {
    const index = await this.#engine.getIndex(partition);
    if (vectors.length < 1) throw invalidField("vectors", "Must be at least 1 vector, got 0");
    assertDuplicatesAllowed(vectors, onDuplicate);
    const { accepted, parts, ...counts } = await takeUpload(vectors, index);
    await this.#engine.assertRoom(partition, accepted);
    if (bucketVectorsMax !== undefined) {
      const promised = this.#promisedTo(partition.bucket);
      await assertBucketRoom(this.#engine, partition, accepted, { max: bucketVectorsMax, promised });
    }
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (this.#closing.signal.aborted) throw shuttingDown();
    this.#assertCapacity(bytes);
    this.#context.rates.admitVectors(partition, accepted.length);
    const record: JobRecord = {
      jobId: this.#ids.next(),
      partition,
      indexCreatedAt: index.createdAt,
      state: "running",
      parts: { count: parts.length, done: 0, bytes },
      ...counts,
      successful: 0,
      createdAt: Date.now(),
      startedAt: undefined,
      finishedAt: undefined,
      lsn: 0,
      idempotency,
    };
    this.#count(1, bytes);
    try {
      await this.#engine.jobs.create(record, parts);
    } catch (error) {
      this.#count(-1, -bytes);
      throw error;
    }
    const job = this.#add(record);
    this.#queue.add(job);
    return job;
  }

  async #work(job: Job): Promise<void> {
    const end = await workOn(job, this.#engine);
    if (end.kind === "stopped" || end.kind === "suspended") return;
    const error = end.kind === "failed" ? end.error : undefined;
    if (error?.code === "INTERNAL" || error?.code === "DATA_LOSS") this.#onError(`Job "${job.id}" failed`, error);
    try {
      const lastError = error ? toStoredError(error) : job.record.lastError;
      await this.#finish(job, { state: end.kind, lastError });
    } catch (error) {
      this.#onError(`The end of job "${job.id}" could not be stored; it ends again after a restart`, error);
    }
  }

  async #stop(job: Job): Promise<void> {
    await this.#queue.remove(job);
    if (!job.isFinal) await this.#finish(job, { state: "cancelled", lastError: job.record.lastError });
  }

  async #finish(job: Job, end: Pick<JobRecord, "state" | "lastError">): Promise<void> {
    const record = { ...job.record, ...end, finishedAt: Date.now() };
    await retryWhilePassing(job, this.#closing.signal, () => this.#engine.jobs.put(record, { withoutParts: true }));
    this.#count(-1, -record.parts.bytes);
    job.advance(record);
    this.#finished.add(job);
    this.#forgetExpired();
  }

  #add(record: JobRecord): Job {
    const job = new Job(record);
    this.#jobs.set(job.id, job);
    return job;
  }

  #count(jobs: number, bytes: number): void {
    this.#unfinished.jobs += jobs;
    this.#unfinished.bytes += bytes;
  }

  /** How many vectors unfinished jobs still have to store in a bucket, were each of them new. */
  #promisedTo(bucket: string): number {
    let promised = 0;
    for (const { isFinal, record } of this.#jobs.values()) {
      if (isFinal || record.partition.bucket !== bucket) continue;
      promised += record.total - record.successful - record.failed;
    }
    return promised;
  }

  #assertCapacity(bytes: number): void {
    const { jobs, bytes: unfinishedBytes } = this.#unfinished;
    const isFull = jobs >= LIMITS.jobsUnfinishedMax || unfinishedBytes + bytes > LIMITS.jobsUnfinishedBytesMax;
    if (!isFull) return;
    const most = `at most ${LIMITS.jobsUnfinishedMax} jobs and ${LIMITS.jobsUnfinishedBytesMax} bytes may wait`;
    throw new QuiverError(
      "INGEST_BACKLOG",
      `Cannot start an upload of ${bytes} bytes: ${jobs} jobs with ${unfinishedBytes} bytes are not finished, ${most}`,
      { retryAfterMs: RETRY_FULL_MS },
    );
  }

  #forgetExpired(): void {
    const ids = this.#finished.takeExpired().map((job) => {
      this.#jobs.delete(job.id);
      const { idempotency } = job.record;
      if (idempotency) this.#started.delete(idempotency.key);
      return job.id;
    });
    if (ids.length === 0) return;
    this.#engine.jobs.delete(ids).catch((error: unknown) => {
      this.#onError("Old jobs could not be deleted from the store; the next start tries again", error);
    });
  }

  /** The job that a request names. Counts the request. One that the caller may not look at does not exist for it. */
  async #find(caller: Caller, action: "GetJob" | "CancelJob", jobId: string): Promise<Job> {
    this.#context.rates.admitRequest({});
    if (jobId === "") throw invalidField("job_id", "Must be the identifier of a job, got none");
    this.#forgetExpired();
    const job = this.#jobs.get(jobId);
    const { authorizer } = this.#context;
    if (job && (await authorizer.may(caller, "GetJob", job.record.partition))) {
      if (action !== "GetJob") await authorizer.authorize(caller, action, job.record.partition);
      return job;
    }
    throw new QuiverError("JOB_NOT_FOUND", `Job ${quote(jobId)} does not exist, or finished long ago`, {
      resource: { type: "job", name: jobId },
    });
  }
}

function nameOf({ jobId }: JobRecord): string {
  return jobId;
}

/** Job ids are ASCII, so that their order is that of their bytes. */
function pageOf(jobs: readonly Job[], { prefix, after, maxResults }: PageOptions): Page<JobRecord> {
  const due = jobs.filter(({ id }) => id.startsWith(prefix) && (after === undefined || id > after));
  const items = due.sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, maxResults);
  return { items: items.map(({ shown }) => ({ ...shown, errors: [] })), more: due.length > items.length };
}

function jobFinished({ id, record }: Job): QuiverError {
  return new QuiverError("JOB_FINISHED", `Cannot cancel job "${id}": it is ${record.state}`, {
    resource: { type: "job", name: id },
  });
}
