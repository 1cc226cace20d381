import assert from "node:assert/strict";
import { test } from "node:test";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { callNative, send } from "./http.ts";

const namespace = (namespace_name: string, vector_dimension = 2) => ({
  namespace_name,
  type: "vector",
  vector_dimension,
});

/** Starts an on-prem upload and waits until its job has ended. */
async function upload(url: string, name: string, ids: readonly string[], vector: readonly number[] = [1, 2]) {
  const vectors = ids.map((id) => ({ id, vector }));
  const { status, body } = await send(url, "POST", `namespaces/${name}/vectors`, { vectors });
  assert.equal(status, 202, JSON.stringify(body));
  await until(async () => {
    const job = await send(url, "GET", `namespaces/${name}/upload-jobs/${body.job_id}`);
    return job.body.status === "completed";
  });
  return `${body.job_id}`;
}

test("what Moorcheh's clients store is what the native API reads, and the other way round", async (t) => {
  const url = await startCompatServer(t, ["--default-bucket", "mine"]);
  await send(url, "POST", "namespaces", namespace("cosine"));
  await upload(url, "cosine", ["near"], [0.1, 0.2]);
  const index = { vectorBucketName: "mine", indexName: "cosine" };
  const asked = { ...index, keys: ["near"], returnData: true, returnMetadata: true };
  const { vectors } = await callNative(url, "VectorService/GetVectors", asked);
  const [{ key, data }] = vectors as [{ key: string; data: { float32: number[] } }];
  assert.deepEqual([key, data.float32.map(Math.fround)], ["near", [0.1, 0.2].map(Math.fround)]);

  for (const [indexName, distanceMetric] of [
    ["euclidean", "DISTANCE_METRIC_EUCLIDEAN"],
    ["dot", "DISTANCE_METRIC_DOT_PRODUCT"],
    ["not.a.name", "DISTANCE_METRIC_COSINE"],
  ]) {
    const settings = { dataType: "DATA_TYPE_FLOAT32", dimension: 2, distanceMetric };
    await callNative(url, "IndexService/CreateIndex", { vectorBucketName: "mine", indexName, ...settings });
  }
  const put = (indexName: string, key: string, float32: readonly number[]) =>
    callNative(url, "VectorService/PutVectors", {
      vectorBucketName: "mine",
      indexName,
      vectors: [{ key, data: { float32 }, metadata: { from: indexName } }],
    });
  await put("euclidean", "three away", [3, 2]);
  await put("dot", "half", [0.5, 0]);
  await put("dot", "opposite", [-1, 0]);
  await put("dot", "more than one", [2, 0]);
  // Nearness to (0, 2), then to (1, 0), by hand.
  const scores = async (query: readonly number[], ...namespaces: string[]) => {
    const { body } = await send(url, "POST", "search", { query, namespaces });
    return (body.results as { id: string; score: number; namespace: string }[]).map(({ id, score }) => [id, score]);
  };
  assert.deepEqual(await scores([0, 2], "euclidean"), [["three away", 0.25]]);
  assert.deepEqual(await scores([1, 0], "dot"), [
    ["more than one", 1],
    ["half", 0.5],
    ["opposite", 0],
  ]);
  // The cosine of the angle between (0, 2) and (0.1, 0.2) is 2 / sqrt(5); what is equally near is in the order of its ids.
  assert.deepEqual(await scores([0, 2], "euclidean", "cosine", "dot", "euclidean"), [
    ["near", 0.894427],
    ["three away", 0.25],
    ["half", 0],
    ["more than one", 0],
    ["opposite", 0],
  ]);
  const { body } = await send(url, "GET", "namespaces");
  assert.deepEqual(
    (body.namespaces as { namespace_name: string }[]).map(({ namespace_name }) => namespace_name),
    ["cosine", "dot", "euclidean"],
  );
});

test("namespaces that are made at once all find their bucket", async (t) => {
  const url = await startCompatServer(t);
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, i) => send(url, "POST", i % 2 ? "namespaces" : "v1/namespaces", namespace(`n${i}`))),
  );
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([201]));
});

test("jobs are known after a restart", async (t) => {
  const data = temporaryDirectory();
  const start = async () => {
    const ends: (() => unknown)[] = [];
    const after = (end: unknown) => void ends.push(end as () => unknown);
    return { url: await startCompatServer({ after }, ["--data", data]), end: async () => void (await ends[0]?.()) };
  };
  const first = await start();
  for (const name of ["kept", "gone"]) await send(first.url, "POST", "namespaces", namespace(name));
  const jobId = await upload(first.url, "kept", ["a", "b"]);
  const deleted = await send(first.url, "DELETE", "namespaces/gone");
  await first.end();

  const { url, end } = await start();
  t.after(end);
  const { body: job } = await send(url, "GET", `namespaces/kept/upload-jobs/${jobId}`);
  assert.deepEqual([job.status, job.successful], ["completed", 2]);
  assert.equal((await send(url, "GET", "health")).body.items, 2);
  const deleteJob = `delete-jobs/${deleted.body.job_id}`;
  assert.equal((await send(url, "GET", `namespaces/gone/${deleteJob}`)).body.status, "completed");
  for (const path of [
    `gone/upload-jobs/${jobId}`,
    `kept/${deleteJob}`,
    "gone/delete-jobs/job-x",
    `kept/upload-jobs/${"0".repeat(36)}`,
  ]) {
    assert.equal((await send(url, "GET", `namespaces/${path}`)).status, 404, path);
  }
});

test("uploads side by side never pass the item limit, which updates and deletes do not use up", async (t) => {
  const url = await startCompatServer(t, ["--moorcheh-max-items", "10"]);
  for (const name of ["a", "b"]) await send(url, "POST", "namespaces", namespace(name));
  const starts = await Promise.all(
    Array.from({ length: 9 }, (_, i) => {
      const vectors = Array.from({ length: 3 }, (_, j) => ({ id: `${i} ${j}`, vector: [1, 2] }));
      return send(url, "POST", `namespaces/${i % 2 ? "a" : "b"}/vectors`, { vectors });
    }),
  );
  const refused = starts.filter(({ status }) => status === 409);
  assert.deepEqual([starts.filter(({ status }) => status === 202).length, refused.length], [3, 6]);
  for (const { body } of refused) assert.deepEqual([body.max_items, body.requested_new], [10, 3]);
  const health = async () => {
    const { body } = await send(url, "GET", "health");
    return [body.items, body.remaining];
  };
  await until(async () => (await health())[0] === 9);
  const index = { vectorBucketName: "default", indexName: "b" };
  const [{ key }] = (await callNative(url, "VectorService/ListVectors", index)).vectors as [{ key: string }];
  await until(async () => {
    const jobs = await callNative(url, "JobService/ListJobs", {});
    return (jobs.jobs as { state: string }[]).every(({ state }) => state === "JOB_STATE_COMPLETED");
  });
  await upload(url, "b", [key, "new"]);
  assert.deepEqual(await health(), [10, 0]);
  await upload(url, "b", [key]);
  const full = await send(url, "POST", "namespaces/a/vectors", { vectors: [{ id: "one more", vector: [1, 2] }] });
  const counts = { items: 10, max_items: 10, requested_new: 1 };
  assert.deepEqual(full.body, { status: "failure", message: "Item limit exceeded", ...counts });
  await send(url, "POST", "namespaces/b/items/delete", { ids: [key] });
  await upload(url, "a", ["one more"]);
  // Other clients are not bound by it, and 0 is no limit.
  const more = { vectors: [{ id: "of the cloud", vector: [1, 2] }] };
  assert.equal((await send(url, "POST", "v1/namespaces/a/vectors", more)).status, 201);
  assert.deepEqual(await health(), [11, 0]);
  const unlimited = await startCompatServer(t, ["--moorcheh-max-items", "0"]);
  assert.equal((await send(unlimited, "GET", "health")).body.max_items, null);
});
