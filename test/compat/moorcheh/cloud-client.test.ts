import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { WITH_PYTHON } from "../support/python.ts";
import { createKey } from "./http.ts";
import { CLOUD_OPERATIONS } from "./operations.ts";
import { assertOperations, type ClientCall, runCalls } from "./run-calls.ts";

const create = (namespace_name: string, label = `create ${namespace_name}`): ClientCall => ({
  label,
  call: "namespaces.create",
  kwargs: { namespace_name, type: "vector", vector_dimension: 3 },
});

const query = (label: string, kwargs: Readonly<Record<string, unknown>>): ClientCall => ({
  label,
  call: "similarity_search.query",
  kwargs,
});

test("Moorcheh's cloud client does every operation as the table says", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const file_path = join(temporaryDirectory(), "a.txt");
  writeFileSync(file_path, "text");
  const calls: ClientCall[] = [
    create("ns"),
    create("other"),
    {
      label: "upload",
      call: "vectors.upload",
      kwargs: {
        namespace_name: "ns",
        vectors: [
          { id: "near", vector: [1, 0, 0], metadata: { a: "b" } },
          { id: 7, vector: [0.8, 0.6, 0], flat: "x" },
        ],
      },
    },
    {
      label: "partial upload",
      call: "vectors.upload",
      kwargs: {
        namespace_name: "other",
        vectors: [
          { id: "third", vector: [0, 0.6, 0.8], metadata: null },
          { id: "null", vector: [1, 1, 1], metadata: { none: null } },
          { id: "zero", vector: [0, 0, 0] },
          { id: "x".repeat(1_025), vector: [1, 1, 1] },
        ],
      },
    },
    { label: "list", call: "namespaces.list" },
    query("search both", { namespaces: ["ns", "other"], query: [1, 0, 0] }),
    query("threshold alone", { namespaces: ["ns", "other"], query: [1, 0, 0], threshold: 0.9 }),
    query("kiosk", { namespaces: ["ns", "other"], query: [1, 0, 0], threshold: 0.9, kiosk_mode: true }),
    query("kiosk with the client's threshold", { namespaces: ["other", "ns"], query: [1, 0, 0], kiosk_mode: true }),
    { label: "delete vectors", call: "vectors.delete", kwargs: { namespace_name: "ns", ids: [7, "absent"] } },
    query("search again", { namespaces: ["ns"], query: [1, 0, 0] }),
    {
      label: "documents",
      call: "documents.upload",
      kwargs: { namespace_name: "ns", documents: [{ id: "d", text: "t" }] },
    },
    { label: "get", call: "documents.get", kwargs: { namespace_name: "ns", ids: ["d"] } },
    { label: "delete document", call: "documents.delete", kwargs: { namespace_name: "ns", ids: ["d"] } },
    { label: "texts", call: "documents.fetch_text_data", kwargs: { namespace_name: "ns", limit: 2, next_token: "t" } },
    { label: "file", call: "documents.upload_file", kwargs: { namespace_name: "ns", file_path } },
    { label: "files", call: "documents.list_files", kwargs: { namespace_name: "ns" } },
    { label: "delete file", call: "documents.delete_files", kwargs: { namespace_name: "ns", file_names: ["a.txt"] } },
    { label: "answer", call: "answer.generate", kwargs: { namespace: "ns", query: "q" } },
    { label: "delete ns", call: "namespaces.delete", kwargs: { namespace_name: "ns" } },
  ];
  const run = await runCalls("moorcheh_cloud.py", `${url}/moorcheh/v1`, calls);
  assert.deepEqual([...run.methods].sort(), CLOUD_OPERATIONS.map(({ operation }) => operation).sort());
  assertOperations(CLOUD_OPERATIONS, calls, run);
  // Nothing of this is sent twice.
  for (const { label } of calls) assert.deepEqual(run.results[label]?.waits, [], label);

  const answer = (label: string) => run.results[label]?.answer as Record<string, unknown>;
  assert.deepEqual(answer("create ns"), {
    status: "success",
    message: "Namespace 'ns' created successfully.",
    namespace_name: "ns",
    type: "vector",
    vector_dimension: 3,
  });
  assert.deepEqual(answer("upload"), { status: "success", vector_ids_processed: ["near", 7], errors: [] });
  const { errors, ...partial } = answer("partial upload");
  assert.deepEqual(partial, { status: "partial", vector_ids_processed: ["third"] });
  const refused = errors as { id: string; error: string }[];
  assert.deepEqual(
    refused.map(({ id }) => id),
    ["null", "zero", "x".repeat(1_025)],
  );
  assert.match(refused[0]?.error ?? "", /^vectors\[1\]\.metadata\["none"\]: Must be a string, a number/);
  const namespaces = answer("list").namespaces as Record<string, unknown>[];
  assert.deepEqual(
    namespaces.map(({ created_at, ...namespace }) => namespace),
    [
      { namespace_name: "ns", type: "vector", vector_dimension: 3, item_count: 2 },
      { namespace_name: "other", type: "vector", vector_dimension: 3, item_count: 1 },
    ],
  );
  for (const { created_at } of namespaces) assert.match(`${created_at}`, /^\d{4}-.*Z$/);
  const near = { id: "near", score: 1, label: "Close Match", metadata: { a: "b" }, text: "", namespace: "ns" };
  const seven = {
    id: "7",
    score: 0.8,
    label: "Very High Relevance",
    metadata: { flat: "x" },
    text: "",
    namespace: "ns",
  };
  const third = { id: "third", score: 0, label: "Irrelevant", metadata: {}, text: "", namespace: "other" };
  assert.deepEqual(answer("search both").results, [near, seven, third]);
  assert.deepEqual(answer("threshold alone").results, [near, seven, third]);
  assert.deepEqual(answer("kiosk").results, [near]);
  assert.deepEqual(answer("kiosk with the client's threshold").results, [near, seven]);
  const counts = { actual_deletions: 1, not_found_ids: ["absent"] };
  assert.deepEqual(answer("delete vectors"), { status: "success", deleted_ids: ["7"], ...counts, errors: [] });
  assert.deepEqual(answer("search again").results, [near]);
});

test("Moorcheh's cloud client raises the class of each error, and tries only 429 again", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t, ["--vectors-per-second-per-index", "1"]);
  const admin = await createKey(url, "ACCESS_ROLE_ADMIN");
  const reader = await createKey(url, "ACCESS_ROLE_READ_ONLY", admin);
  const upload = (label: string, vectors: readonly unknown[], namespace_name = "ns"): ClientCall => ({
    label,
    call: "vectors.upload",
    kwargs: { namespace_name, vectors },
  });
  const good = Array.from({ length: 300 }, (_, i) => ({ id: i, vector: [1, 2, 3] }));
  const run = await runCalls(
    "moorcheh_cloud.py",
    `${url}/moorcheh/v1`,
    [
      create("ns"),
      create("ns", "exists"),
      upload("wrong dimension", [{ id: "a", vector: [1] }]),
      upload("no namespace", [{ id: "a", vector: [1, 2, 3] }], "absent"),
      query("wrong query", { namespaces: ["ns"], query: [1] }),
      query("search nowhere", { namespaces: ["absent"], query: [1] }),
      upload("good", good),
      upload("too fast", good.slice(0, 1)),
    ],
    admin,
  );
  const error = (label: string) => {
    const { error, message, status, waits } = run.results[label] ?? assert.fail(label);
    return [error, message?.replace(/\{.*\}/, ""), status, waits.length];
  };
  assert.deepEqual(error("exists"), ["ConflictError", "Conflict: ", null, 0]);
  assert.deepEqual(error("wrong dimension"), ["InvalidInputError", "Bad Request: ", null, 0]);
  assert.deepEqual(error("no namespace"), ["NamespaceNotFound", "Resource not found: ", null, 0]);
  assert.deepEqual(error("wrong query"), ["InvalidInputError", "Bad Request: ", null, 0]);
  assert.deepEqual(error("search nowhere"), ["APIError", "API Error (Status: 404): Not Found: ", 404, 0]);
  // Four attempts; between them as long as the server says.
  assert.deepEqual(error("too fast"), ["APIError", "API Error (Status: 429): API Error: ", 429, 3]);
  for (const seconds of run.results["too fast"]?.waits ?? []) assert.ok(seconds > 100 && seconds <= 300, `${seconds}`);

  for (const [key, call] of [
    ["wrong", { label: "refused", call: "namespaces.list" }],
    [reader, create("another", "refused")],
  ] as const) {
    const { results } = await runCalls("moorcheh_cloud.py", `${url}/moorcheh/v1`, [call], key);
    assert.deepEqual([results.refused?.error, results.refused?.waits], ["AuthenticationError", []]);
  }
});
