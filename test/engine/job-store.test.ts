import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine, JobRecord } from "../../src/engine/engine.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const partition = { bucket: "b", index: "i", namespace: "" };

test("jobs and their parts are there after a restart, in the order of their ids", async (t) => {
  const { store, restart } = await open(t);
  const jobs = ["b", "a", "ab"].map((jobId) => record(jobId, 300));
  for (const job of jobs) await store().jobs.create(job, parts(job));
  await restart();
  assert.deepEqual(
    await store().jobs.load(),
    jobs.toSorted((a, b) => (a.jobId < b.jobId ? -1 : 1)),
  );
  for (const job of jobs) {
    for (const part of [0, 255, 256, 299]) {
      assert.deepEqual(Buffer.from(await store().jobs.readPart(job.jobId, part)), Buffer.from(`${job.jobId} ${part}`));
    }
    await assert.rejects(store().jobs.readPart(job.jobId, 300), { reason: "CORRUPTION" });
  }
});

test("the parts of a job are deleted with its last record, and a job with its parts, and no other's", async (t) => {
  const { store } = await open(t);
  const jobs = ["a", "a\u0001", "ab", "b"].map((jobId) => record(jobId, 2));
  for (const job of jobs) await store().jobs.create(job, parts(job));
  await store().jobs.put({ ...record("a", 2), successful: 1 }, { withoutParts: false });
  assert.equal(Buffer.from(await store().jobs.readPart("a", 1)).toString(), "a 1");
  await store().jobs.put({ ...record("a", 2), state: "completed" }, { withoutParts: true });
  await store().jobs.delete(["b"]);
  for (const jobId of ["a", "b"]) await assert.rejects(store().jobs.readPart(jobId, 0), { reason: "CORRUPTION" });
  for (const jobId of ["ab", "a\u0001"]) {
    assert.equal(Buffer.from(await store().jobs.readPart(jobId, 1)).toString(), `${jobId} 1`);
  }
  const states = (await store().jobs.load()).map(({ jobId, state }) => [jobId, state]);
  assert.deepEqual(states, [
    ["a", "completed"],
    ["a\u0001", "running"],
    ["ab", "running"],
  ]);
});

test("a put stores its job's record with its vectors, or neither when it is refused", async (t) => {
  const { store } = await open(t);
  await store().createBucket({ name: "b", createdAt: 1, tags: {} });
  const settings = { nonFilterableMetadataKeys: [], m: 16, efConstruction: 200, deletionProtection: false, tags: {} };
  const index = { bucket: "b", index: "i", createdAt: 1, dimension: 1, distanceMetric: "euclidean" } as const;
  await store().createIndex({ ...index, ...settings });
  const job = record("a", 1);
  await store().jobs.create(job, parts(job));
  const put = (key: string, ifVersion?: number) =>
    store().putVectors(partition, [{ key, data: Float32Array.of(1), metadata: {}, ifVersion }], {
      job: (lsn) => ({ ...job, successful: 1, lsn }),
    });
  await assert.rejects(put("none", 7), { reason: "VERSION_MISMATCH" });
  assert.deepEqual(await store().jobs.load(), [job]);
  const { lsn } = await put("k");
  assert.deepEqual(await store().jobs.load(), [{ ...job, successful: 1, lsn }]);
});

async function open(t: TestContext): Promise<{ store: () => Engine; restart: () => Promise<void> }> {
  t.after(() => engine.close());
  const path = temporaryDirectory();
  const openEngine = () =>
    openEmbeddedEngine({
      path,
      onBackgroundError: (message, error) => {
        throw new Error(message, { cause: error });
      },
    });
  let engine = await openEngine();
  const restart = async () => {
    await engine.close();
    engine = await openEngine();
  };
  return { store: () => engine, restart };
}

function parts({ jobId, parts: { count } }: JobRecord): Uint8Array[] {
  return Array.from({ length: count }, (_, part) => Buffer.from(`${jobId} ${part}`));
}

function record(jobId: string, count: number): JobRecord {
  return JSON.parse(
    JSON.stringify({
      jobId,
      partition,
      indexCreatedAt: 1,
      state: "running",
      parts: { count, done: 0, bytes: 1 },
      total: 2,
      successful: 0,
      failed: 1,
      errors: [{ position: 1, key: "ü", error: { reason: "ZERO_NORM", message: "m", metadata: {}, violations: [] } }],
      createdAt: 1,
      lsn: 0,
    }),
  ) as JobRecord;
}
