import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import type { Status } from "../../gen/google/rpc/status_pb.ts";
import {
  type Job,
  JobKind,
  JobSchema,
  JobState,
  type StartUploadRequestSchema,
} from "../../gen/quiver/v1/job_service_pb.ts";
import { DataType, DistanceMetric, OnDuplicate, type VectorSchema } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

type VectorInit = MessageInitShape<typeof VectorSchema>;

const DIMENSION = 8;

/** An upload that takes the worker some 40 turns, near to the largest request. */
const LARGE = { count: 20_000, dimension: 250 };

const index = { vectorBucketName: "b", indexName: "i" };

test("an upload stores what is valid, lists what is refused, and tells of its progress", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { jobs, vectors } = await open(t);
  const sent = Array.from({ length: 5_000 }, (_, i) => goodVector(`k${i}`, random));
  const expected = new Map(sent.map((vector) => [vector.key, vector]));
  const refused = new Map<number, string>();
  const spoil = (position: number, change: Partial<VectorInit>, reason: string) => {
    expected.delete(`k${position}`);
    Object.assign(sent[position] as VectorInit, change);
    refused.set(position, reason);
  };
  for (let i = 0; i < 130; i++) spoil(i * 30 + 7, { data: { float32: [1, 2] } }, "DIMENSION_MISMATCH");
  spoil(0, { data: { float32: [Number.NaN, ...Array(7).fill(1)] } }, "NON_FINITE_VALUE");
  spoil(1, { data: { float32: Array(8).fill(0) } }, "ZERO_NORM");
  spoil(2, { key: "" }, "INVALID_FIELD");
  spoil(4_999, { metadata: { nested: { a: 1 } } }, "METADATA_INVALID");

  const started = (await jobs.startUpload({ ...index, vectors: sent })).job as Job;
  assert.deepEqual(
    [started.state, started.total, started.failed, started.processed, started.kind, started.namespace],
    [JobState.RUNNING, 5_000n, 134n, 134n, JobKind.UPLOAD, ""],
  );
  const seen = await follow(jobs, started.jobId);
  for (const [i, job] of seen.entries()) {
    assert.equal(job.processed, job.successful + job.failed);
    assert.ok(i === 0 || job.processed >= (seen[i - 1] as Job).processed);
    assert.equal(job.state === JobState.RUNNING, i < seen.length - 1);
  }
  const job = seen.at(-1) as Job;
  assert.deepEqual([job.state, job.successful, job.failed], [JobState.COMPLETED, 4_866n, 134n]);
  assert.ok(job.lsn > 0n);
  assert.deepEqual(job.lastError && reasonOf(job.lastError), "METADATA_INVALID");
  const times = [job.createTime, job.startTime, job.finishTime].map((time) => Number(time?.seconds));
  assert.deepEqual(times.toSorted(), times);

  const firstRefused = [...refused.keys()].sort((a, b) => a - b).slice(0, 100);
  assert.deepEqual(
    job.errors.map(({ position, key, status }) => [Number(position), key, status && reasonOf(status)]),
    firstRefused.map((position) => [position, sent[position]?.key, refused.get(position)]),
  );
  const details = job.errors[0]?.status?.details.map((any) => anyUnpack(any, BadRequestSchema));
  assert.equal(details?.find((each) => each)?.fieldViolations[0]?.field, "vectors[0].data.float32[0]");

  const stored = await readAll(vectors);
  assert.deepEqual(new Set(stored.keys()), new Set(expected.keys()));
  for (const [key, data] of stored) assert.deepEqual(data, expected.get(key)?.data?.float32);
  const again = (await jobs.getJob({ jobId: job.jobId })).job as Job;
  assert.deepEqual(toBinary(JobSchema, again), toBinary(JobSchema, job));
});

test("an upload is refused whole when the request itself is wrong", async (t) => {
  const random = new Random();
  const { jobs } = await open(t);
  const vectors = [goodVector("a", random), goodVector("b", random), goodVector("a", random)];
  const refusals: [string, MessageInitShape<typeof StartUploadRequestSchema>][] = [
    ["INVALID_FIELD", { ...index }],
    ["INVALID_FIELD", { indexName: "i", vectors: vectors.slice(0, 1) }],
    ["INVALID_FIELD", { ...index, namespace: "-", vectors: vectors.slice(0, 1) }],
    ["INVALID_FIELD", { ...index, vectors: vectors.slice(0, 1), idempotencyKey: "x".repeat(129) }],
    ["INDEX_NOT_FOUND", { ...index, indexName: "none", vectors: vectors.slice(0, 1) }],
    ["BUCKET_NOT_FOUND", { ...index, vectorBucketName: "none", vectors: vectors.slice(0, 1) }],
    ["DUPLICATE_KEY", { ...index, vectors }],
  ];
  for (const [reason, request] of refusals) await rejectsWith(reason, jobs.startUpload(request));
  assert.deepEqual((await jobs.listJobs({})).jobs, []);

  const last = await jobs.startUpload({ ...index, vectors, onDuplicate: OnDuplicate.LAST_WINS });
  const job = await finished(jobs, last.job?.jobId);
  assert.deepEqual([job.state, job.total, job.successful], [JobState.COMPLETED, 2n, 2n]);
});

test("an upload that would pass the quota is refused before a job starts, and says by how much", async (t) => {
  const random = new Random();
  const clients = connect(await startServer(t, ["--max-vectors-per-index", "100"]));
  await createIndex(clients, "i");
  const { jobs } = clients;
  const upload = (from: number, count: number) =>
    jobs.startUpload({
      ...index,
      vectors: Array.from({ length: count }, (_, i) => goodVector(`k${from + i}`, random)),
    });
  await finished(jobs, (await upload(0, 80)).job?.jobId);
  await assert.rejects(upload(60, 41), (error) => {
    const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema);
    assert.equal(info?.reason, "ITEM_LIMIT");
    const { current, max, requested_new } = info?.metadata ?? {};
    assert.deepEqual({ current, max, requested_new }, { current: "80", max: "100", requested_new: "21" });
    return true;
  });
  assert.equal((await jobs.listJobs({})).jobs.length, 1);
  const { job } = await upload(60, 40);
  assert.equal((await finished(jobs, job?.jobId)).successful, 40n);
});

test("the errors of a job have their details in JSON, too", async (t) => {
  const server = await startServer(t);
  const { jobs } = await withIndex(server, DIMENSION);
  const { job } = await jobs.startUpload({ ...index, vectors: [{ key: "a\u{1f3f9}", data: { float32: [1] } }] });
  await finished(jobs, job?.jobId);
  const response = await fetch(new URL("/quiver.v1.JobService/GetJob", server.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jobId: job?.jobId }),
  });
  const answer = (await response.json()) as { job: { errors: { key: string; status: { details: object[] } }[] } };
  const [error] = answer.job.errors;
  assert.equal(error?.key, "a\u{1f3f9}");
  assert.deepEqual(error?.status.details[0], {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    reason: "DIMENSION_MISMATCH",
    domain: "quiver",
    metadata: { dimension: `${DIMENSION}`, given: "1" },
  });
});

test("a job of which every vector is refused is completed", async (t) => {
  const { jobs } = await open(t);
  const { job } = await jobs.startUpload({ ...index, vectors: [{ key: "a" }, { key: "b" }] });
  const done = await finished(jobs, job?.jobId);
  assert.deepEqual([done.state, done.processed, done.failed, done.lsn], [JobState.COMPLETED, 2n, 2n, 0n]);
});

test("the vectors for another version of their key are refused, the others are stored", async (t) => {
  const random = new Random();
  const { jobs, vectors } = await open(t);
  const { lsn } = await vectors.putVectors({ ...index, vectors: ["a", "b"].map((key) => goodVector(key, random)) });
  const { job } = await jobs.startUpload({
    ...index,
    vectors: [
      { ...goodVector("a", random), ifVersion: lsn },
      { ...goodVector("b", random), ifVersion: lsn + 1n },
      { ...goodVector("c", random), ifVersion: 0n },
      { ...goodVector("d", random), ifVersion: 7n },
      goodVector("e", random),
    ],
  });
  const done = await finished(jobs, job?.jobId);
  assert.deepEqual([done.state, done.successful, done.failed], [JobState.COMPLETED, 3n, 2n]);
  assert.deepEqual(
    done.errors.map(({ position, key, status }) => [position, key, status && reasonOf(status)]),
    [
      [1n, "b", "VERSION_MISMATCH"],
      [3n, "d", "VERSION_MISMATCH"],
    ],
  );
  assert.deepEqual([...(await readAll(vectors)).keys()], ["a", "b", "c", "e"]);
});

test("jobs are listed page by page in the order of their creation, by index, state and prefix", async (t) => {
  const random = new Random();
  const clients = await open(t);
  const { jobs } = clients;
  await createIndex(clients, "other");
  const ids: string[] = [];
  for (let i = 0; i < 7; i++) {
    const indexName = i % 3 === 2 ? "other" : "i";
    const { job } = await jobs.startUpload({
      ...index,
      indexName,
      vectors: [{ key: "bad" }, goodVector(`k${i}`, random)],
    });
    ids.push((job as Job).jobId);
  }
  for (const id of ids) await finished(jobs, id);
  assert.deepEqual(ids.toSorted(), ids);
  const list = async (request: object) => {
    const found: string[] = [];
    for (let nextToken = ""; ; ) {
      const page = await jobs.listJobs({ ...request, maxResults: 2, nextToken });
      assert.ok(page.jobs.length <= 2);
      for (const job of page.jobs) assert.deepEqual([job.errors, job.failed], [[], 1n]);
      found.push(...page.jobs.map(({ jobId }) => jobId));
      if (page.nextToken === "") return found;
      nextToken = page.nextToken;
    }
  };
  assert.deepEqual(await list({}), ids);
  assert.deepEqual(await list({ ...index, indexName: "other" }), [ids[2], ids[5]]);
  assert.deepEqual(await list({ state: JobState.COMPLETED }), ids);
  assert.deepEqual(await list({ state: JobState.RUNNING }), []);
  assert.deepEqual(await list({ prefix: ids[3] }), [ids[3]]);
  await rejectsWith("INVALID_FIELD", jobs.listJobs({ indexName: "i" }));
  await rejectsWith("INVALID_FIELD", jobs.listJobs({ state: 9 as JobState }));
  const { nextToken } = await jobs.listJobs({ maxResults: 2 });
  await rejectsWith("PAGE_TOKEN_INVALID", jobs.listJobs({ state: JobState.FAILED, nextToken }));
});

test("a job that does not exist is not found", async (t) => {
  const { jobs } = await open(t);
  const jobId = "00000000-0000-7000-8000-000000000000";
  await rejectsWith("JOB_NOT_FOUND", jobs.getJob({ jobId }));
  await rejectsWith("JOB_NOT_FOUND", jobs.cancelJob({ jobId }));
  await rejectsWith("JOB_NOT_FOUND", follow(jobs, jobId));
  await rejectsWith("INVALID_FIELD", jobs.getJob({}));
});

test("a repetition with the same idempotency key answers the same job, also over a restart", async (t) => {
  const random = new Random();
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
  server = await ServerProcess.start(data);
  let clients = connect(server);
  await createIndex(clients, "i");
  const request = { ...index, vectors: [goodVector("a", random)], idempotencyKey: "once" };
  const starts = await Promise.all(Array.from({ length: 5 }, () => clients.jobs.startUpload(request)));
  const ids = new Set(starts.map(({ job }) => job?.jobId));
  assert.equal(ids.size, 1);
  await server.kill();
  server = await ServerProcess.start(data);
  clients = connect(server);
  assert.ok(ids.has((await clients.jobs.startUpload(request)).job?.jobId));
  await rejectsWith("IDEMPOTENCY_KEY_REUSED", clients.jobs.startUpload({ ...request, namespace: "n" }));
  assert.equal((await clients.jobs.listJobs({})).jobs.length, 1);
});

test("a job that is cancelled stops and keeps what it has stored; a finished one cannot be", async (t) => {
  const random = new Random();
  const { jobs, vectors } = await open(t, LARGE.dimension);
  const many = largeUpload(random);
  const first = (await jobs.startUpload({ ...index, vectors: many })).job as Job;
  const second = (await jobs.startUpload({ ...index, vectors: many.slice(0, 1) })).job as Job;
  const waiting = (await jobs.cancelJob({ jobId: second.jobId })).job as Job;
  assert.deepEqual([waiting.state, waiting.processed, waiting.startTime], [JobState.CANCELLED, 0n, undefined]);
  const cancelled = (await jobs.cancelJob({ jobId: first.jobId })).job as Job;
  assert.equal(cancelled.state, JobState.CANCELLED);
  assert.ok(cancelled.successful < BigInt(LARGE.count));
  assert.equal((await readAll(vectors)).size, Number(cancelled.successful));
  for (const { jobId } of [first, second]) await rejectsWith("JOB_FINISHED", jobs.cancelJob({ jobId }));
  assert.deepEqual((await follow(jobs, first.jobId)).length, 1);
});

test("a job fails when its index is deleted, even when another is created under the name", async (t) => {
  const random = new Random();
  const clients = await open(t, LARGE.dimension);
  const many = largeUpload(random);
  const { job } = await clients.jobs.startUpload({ ...index, vectors: many });
  await clients.indexes.deleteIndex(index);
  await createIndex(clients, "i");
  const done = await finished(clients.jobs, job?.jobId);
  assert.equal(done.state, JobState.FAILED);
  assert.equal(done.lastError && reasonOf(done.lastError), "INDEX_NOT_FOUND");
  assert.ok(done.successful < BigInt(LARGE.count));
  assert.equal((await readAll(clients.vectors)).size, 0);
});

test("after a kill -9 or a stop in the middle a job goes on, counts exactly, and every successful vector is there", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
  server = await ServerProcess.start(data);
  let clients = connect(server);
  await createIndex(clients, "i", LARGE.dimension);
  const sent = largeUpload(random).map(({ key, data }, i) => (i % 1_000 === 500 ? { key } : { key, data }));
  const { job } = await clients.jobs.startUpload({ ...index, vectors: sent });
  const ends: bigint[] = [];
  for (const [end, share] of [
    ["kill", 1_000n],
    ["stop", 4_000n],
    ["kill", 7_000n],
  ] as const) {
    for await (const { job: now } of clients.jobs.watchJob({ jobId: job?.jobId ?? "" })) {
      if (!now || now.processed < share) continue;
      assert.equal(now.state, JobState.RUNNING, "the job was faster than the kill");
      ends.push(now.processed);
      break;
    }
    if (end === "kill") await server.kill();
    else assert.equal(await server.stop(), 0);
    server = await ServerProcess.start(data);
    clients = connect(server);
  }
  const done = await finished(clients.jobs, job?.jobId);
  assert.deepEqual([done.state, done.total, done.successful, done.failed], [JobState.COMPLETED, 20_000n, 19_980n, 20n]);
  const stored = await readAll(clients.vectors);
  assert.equal(stored.size, 19_980);
  for (const { key, data } of sent as VectorInit[]) assert.deepEqual(stored.get(key as string), data?.float32);
  t.diagnostic(`ended at ${ends.join(", ")} of 20000`);
});

async function open(t: TestContext, dimension = DIMENSION): Promise<Clients> {
  return withIndex(await startServer(t), dimension);
}

async function withIndex(server: ServerProcess, dimension: number): Promise<Clients> {
  const clients = connect(server);
  await createIndex(clients, "i", dimension);
  return clients;
}

function connect({ url }: ServerProcess): Clients {
  return createClients(createGrpcTransport({ baseUrl: url, nodeOptions: { maxSessionMemory: 100 } }));
}

async function createIndex({ buckets, indexes }: Clients, indexName: string, dimension = DIMENSION): Promise<void> {
  await buckets
    .createVectorBucket({ vectorBucketName: "b" })
    .catch((error) => assert.equal(reasonIn(error), "BUCKET_EXISTS"));
  const distanceMetric = DistanceMetric.COSINE;
  await indexes.createIndex({ ...index, indexName, dimension, distanceMetric, dataType: DataType.FLOAT32 });
}

function goodVector(key: string, random: Random) {
  return { key, data: { float32: Array.from(random.vector(DIMENSION)) }, metadata: { key } } satisfies VectorInit;
}

function largeUpload(random: Random) {
  const data = Array.from({ length: 50 }, () => ({ float32: Array.from(random.vector(LARGE.dimension)) }));
  return Array.from({ length: LARGE.count }, (_, i) => ({ key: `k${i}`, data: random.pick(data) }));
}

/** What a watch sends until it ends. */
async function follow(jobs: Clients["jobs"], jobId: string): Promise<Job[]> {
  const seen: Job[] = [];
  for await (const { job } of jobs.watchJob({ jobId })) seen.push(job as Job);
  return seen;
}

async function finished(jobs: Clients["jobs"], jobId = ""): Promise<Job> {
  return (await follow(jobs, jobId)).at(-1) as Job;
}

async function readAll(vectors: Clients["vectors"]): Promise<Map<string, number[] | undefined>> {
  const all = new Map<string, number[] | undefined>();
  for (let nextToken = ""; ; ) {
    const page = await vectors.listVectors({ ...index, maxResults: 1_000, returnData: true, nextToken });
    for (const { key, data } of page.vectors) all.set(key, data?.float32);
    if (page.nextToken === "") return all;
    nextToken = page.nextToken;
  }
}

function reasonOf({ details }: Status): string | undefined {
  return details.map((any) => anyUnpack(any, ErrorInfoSchema)).find((info) => info)?.reason;
}

function reasonIn(error: unknown): string | undefined {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason;
}

async function rejectsWith(reason: string, call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.equal(reasonIn(error), reason, String(error));
    return true;
  });
}
