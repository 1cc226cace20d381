import assert from "node:assert/strict";
import { test } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { WITH_PYTHON } from "../support/python.ts";
import { ON_PREM_OPERATIONS } from "./operations.ts";
import { assertOperations, type ClientCall, runCalls } from "./run-calls.ts";

const ENDED = ["completed", "failed"];
const vector = { type: "vector", vector_dimension: 3 };

test("Moorcheh's on-prem client does every operation as the table says", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const calls: ClientCall[] = [
    { label: "no items", call: "health" },
    { label: "no namespaces", call: "namespaces.list" },
    { label: "create", call: "namespaces.create", kwargs: { namespace_name: "ns", ...vector } },
    {
      label: "create b",
      call: "namespaces.create",
      kwargs: { namespace_name: "b_2", type: "vector", vector_dimension: 2 },
    },
    { label: "list", call: "namespaces.list" },
    {
      label: "upload",
      call: "vectors.upload",
      kwargs: {
        namespace_name: "ns",
        vectors: [
          { id: "near", vector: [1, 0, 0], source: "demo", n: 1.5, ok: true, tags: ["a", "b"] },
          { id: 7, vector: [0.8, 0.6, 0], metadata: { k: "v" } },
          { id: "far", vector: [-1, 0, 0] },
          { id: "null", vector: [1, 1, 1], none: null },
          { id: "nested", vector: [1, 1, 1], nested: { x: [1] } },
          { id: "zero", vector: [0, 0, 0] },
          { id: "near", vector: [2, 0, 0], source: "the last one wins" },
        ],
      },
    },
    {
      label: "job",
      call: "vectors.upload_job_status",
      kwargs: { namespace_name: "ns", job_id: "$upload.job_id" },
      until: ENDED,
    },
    {
      label: "job of documents",
      call: "documents.upload_job_status",
      kwargs: { namespace_name: "ns", job_id: "$upload.job_id" },
    },
    { label: "health", call: "health" },
    { label: "get", call: "documents.get", kwargs: { namespace_name: "ns", ids: ["near", "absent", "7"] } },
    { label: "search", call: "similarity_search.query", kwargs: { namespaces: ["ns"], query: [1, 0, 0] } },
    {
      label: "search with threshold",
      call: "similarity_search.query",
      kwargs: { namespaces: ["ns"], query: [1, 0, 0], threshold: 0.8, kiosk_mode: true },
    },
    { label: "delete", call: "vectors.delete", kwargs: { namespace_name: "ns", ids: ["7", "absent"] } },
    { label: "delete document", call: "documents.delete", kwargs: { namespace_name: "ns", ids: ["far"] } },
    {
      label: "search again",
      call: "similarity_search.query",
      kwargs: { namespaces: ["ns"], query: [1, 0, 0], top_k: 1 },
    },
    { label: "delete ns", call: "namespaces.delete", kwargs: { namespace_name: "ns" } },
    { label: "delete b", call: "namespaces.delete", kwargs: { namespace_name: "b_2", wait: false } },
    {
      label: "delete b status",
      call: "namespaces.delete_job_status",
      kwargs: { namespace_name: "b_2", job_id: "$delete b.job_id" },
    },
    { label: "create again", call: "namespaces.create", kwargs: { namespace_name: "ns", ...vector } },
    {
      label: "documents",
      call: "documents.upload",
      kwargs: { namespace_name: "ns", documents: [{ id: "d", text: "t" }] },
    },
    {
      label: "texts",
      call: "documents.fetch_text_data",
      kwargs: { namespace_name: "ns", limit: 2, next_token: "t k" },
    },
    { label: "file", call: "files.upload", kwargs: { namespace_name: "ns", files: [{ path: "/a.txt" }] } },
    { label: "files", call: "files.list", kwargs: { namespace_name: "ns" } },
    { label: "one file", call: "files.get", kwargs: { namespace_name: "ns", file_id: "f" } },
    { label: "delete file", call: "files.delete", kwargs: { namespace_name: "ns", file_id: "f" } },
    { label: "file job", call: "files.job_status", kwargs: { namespace_name: "ns", job_id: "job-1" } },
    { label: "answer", call: "answer.generate", kwargs: { namespace: "ns", query: "q" } },
  ];
  const run = await runCalls("moorcheh_onprem.py", `${url}/moorcheh`, calls);
  assert.deepEqual(run.methods.concat("health").sort(), ON_PREM_OPERATIONS.map(({ operation }) => operation).sort());
  assertOperations(ON_PREM_OPERATIONS, calls, run);

  const answer = (label: string) => run.results[label]?.answer as Record<string, unknown>;
  const none = { status: "ok", embedding_provider: null, model: null };
  assert.deepEqual(answer("no items"), { ...none, items: 0, max_items: 100_000, remaining: 100_000 });
  assert.deepEqual(answer("no namespaces"), { namespaces: [] });
  assert.deepEqual(answer("create"), {
    status: "success",
    message: "Namespace 'ns' created successfully.",
    namespace_name: "ns",
    ...vector,
  });
  assert.deepEqual(answer("list"), {
    namespaces: [
      { namespace_name: "b_2", type: "vector", vector_dimension: 2 },
      { namespace_name: "ns", ...vector },
    ],
  });
  const { job_id, ...started } = answer("upload");
  assert.match(`${job_id}`, /^job-[0-9a-f]{32}$/);
  assert.deepEqual(started, {
    status: "success",
    message: "Vectors upload started. Poll job status for progress.",
    namespace_name: "ns",
    total: 6,
  });
  const { started_at, updated_at, finished_at, last_error, errors, ...job } = answer("job");
  const counts = { total: 6, processed: 6, successful: 3, failed: 3 };
  assert.deepEqual(job, { job_id, namespace_name: "ns", status: "completed", ...counts });
  for (const time of [started_at, updated_at, finished_at]) assert.match(`${time}`, /^\d{4}-.*Z$/);
  const refused = errors as { id: string; error: string }[];
  assert.deepEqual(
    refused.map(({ id }) => id),
    ["null", "nested", "zero"],
  );
  assert.match(refused[0]?.error ?? "", /metadata\["none"\]: Must be a string, a number/);
  assert.equal(last_error, refused[2]?.error);
  assert.deepEqual(answer("job of documents"), answer("job"));
  assert.deepEqual(answer("health"), { ...none, items: 3, max_items: 100_000, remaining: 99_997 });
  assert.deepEqual(answer("get"), {
    status: "success",
    message: "Items retrieved.",
    requested_ids: 3,
    found_items: 2,
    items: [
      { id: "near", metadata: { source: "the last one wins" } },
      { id: "7", metadata: { k: "v" } },
    ],
  });
  const near = { id: "near", score: 1, label: "Close Match", metadata: { source: "the last one wins" } };
  const seven = { id: "7", score: 0.8, label: "Very High Relevance", metadata: { k: "v" } };
  const far = { id: "far", score: 0, label: "Irrelevant", metadata: {} };
  const rest = { text: "", namespace: "ns" };
  const { results, execution_time, timings } = answer("search");
  assert.deepEqual(
    results,
    [near, seven, far].map((result) => ({ ...result, ...rest })),
  );
  assert.ok(Number(execution_time) >= 0);
  assert.deepEqual(timings, { total: execution_time });
  assert.deepEqual(
    answer("search with threshold").results,
    [near, seven].map((result) => ({ ...result, ...rest })),
  );
  assert.deepEqual(answer("delete"), {
    status: "success",
    message: "Delete by ids completed.",
    namespace_name: "ns",
    requested: 2,
    deleted: 1,
    not_found_ids: ["absent"],
  });
  assert.equal(answer("delete document").deleted, 1);
  assert.deepEqual(answer("search again").results, [{ ...near, ...rest }]);
  const deleted = answer("delete ns");
  const completed = { job_id: deleted.job_id, namespace_name: "ns", status: "completed", last_error: null };
  assert.deepEqual(deleted, {
    status: "success",
    message: "Namespace delete started.",
    job_id: deleted.job_id,
    namespace_name: "ns",
    delete_job: completed,
  });
  assert.match(`${deleted.job_id}`, /^job-[0-9a-f]{32}$/);
  assert.equal(answer("delete b status").status, "completed");
});

test(
  "Moorcheh's on-prem client raises its one error, with status and body, and never tries again",
  WITH_PYTHON,
  async (t) => {
    const url = await startCompatServer(t, ["--moorcheh-max-items", "300", "--vectors-per-second-per-index", "1"]);
    const upload = (label: string, ...ids: string[]): ClientCall => ({
      label,
      call: "vectors.upload",
      kwargs: { namespace_name: "ns", vectors: ids.map((id) => ({ id, vector: [1, 2, 3] })) },
    });
    const run = await runCalls("moorcheh_onprem.py", `${url}/moorcheh`, [
      { label: "create", call: "namespaces.create", kwargs: { namespace_name: "ns", ...vector } },
      upload("fits", ...Array.from({ length: 299 }, (_, i) => `${i}`)),
      {
        label: "job",
        call: "vectors.upload_job_status",
        kwargs: { namespace_name: "ns", job_id: "$fits.job_id" },
        until: ENDED,
      },
      upload("too many", "1", "c", "d"),
      upload("empty"),
      { label: "exists", call: "namespaces.create", kwargs: { namespace_name: "ns", ...vector } },
      { label: "no namespace", call: "namespaces.delete", kwargs: { namespace_name: "absent" } },
      {
        label: "no job",
        call: "vectors.upload_job_status",
        kwargs: { namespace_name: "other", job_id: "$fits.job_id" },
      },
      { label: "slash", call: "namespaces.delete", kwargs: { namespace_name: "a b/c" } },
      // The vectors of the first one take 299 seconds.
      upload("too fast", "1"),
    ]);
    const failure = (label: string) => {
      const { error, status, body, isItemLimit, waits } = run.results[label] ?? assert.fail(label);
      assert.deepEqual([error, waits], ["MoorchehApiError", []], label);
      return { status, body, isItemLimit };
    };
    const message = "Item limit exceeded";
    assert.deepEqual(failure("too many"), {
      status: 409,
      body: { status: "failure", message, items: 299, max_items: 300, requested_new: 2 },
      isItemLimit: true,
    });
    for (const [label, status, text] of [
      ["empty", 400, "vectors must be a non-empty array"],
      ["exists", 400, "Namespace 'ns' already exists."],
      ["no namespace", 404, "Namespace 'absent' not found."],
      ["no job", 404, "Upload job not found."],
      ["slash", 404, 'There is no DELETE "/moorcheh/namespaces/a%20b/c"'],
    ] as const) {
      assert.deepEqual(
        failure(label),
        { status, body: { status: "failure", message: text }, isItemLimit: false },
        label,
      );
    }
    assert.equal(failure("too fast").status, 429);
  },
);
