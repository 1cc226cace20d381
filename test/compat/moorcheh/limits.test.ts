import assert from "node:assert/strict";
import { test } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { send } from "./http.ts";

const MIB = 1024 ** 2;
const namespace = (namespace_name: string, vector_dimension: number) => ({
  namespace_name,
  type: "vector",
  vector_dimension,
});
const ids = (count: number) => Array.from({ length: count }, (_, i) => `${i}`);
const padded = (value: unknown, bytes: number) => JSON.stringify(value).padEnd(bytes);

/** A request for a value of a limit, and the status for its value below, at, and above the limit. */
interface LimitRow {
  readonly limit: string;
  readonly values: readonly [number, number, number];
  readonly statuses: readonly [number, number, number];
  readonly path: string;
  body(value: number): unknown;
}

const LIMITS: readonly LimitRow[] = [
  {
    limit: "characters of a namespace's name",
    values: [62, 63, 64],
    statuses: [201, 201, 400],
    path: "namespaces",
    body: (length) => namespace("n".repeat(length), 1),
  },
  {
    limit: "least dimension",
    values: [2, 1, 0],
    statuses: [201, 201, 400],
    path: "v1/namespaces",
    body: (dimension) => namespace(`dimension-${dimension}`, dimension),
  },
  {
    limit: "greatest dimension",
    values: [19_999, 20_000, 20_001],
    statuses: [201, 201, 400],
    path: "namespaces",
    body: (dimension) => namespace(`dimension-${dimension}`, dimension),
  },
  {
    limit: "ids of one get",
    values: [99, 100, 101],
    statuses: [200, 200, 400],
    path: "namespaces/ns/items/get",
    body: (count) => ({ ids: ids(count) }),
  },
  {
    limit: "ids of one delete on-prem",
    values: [99, 100, 101],
    statuses: [200, 200, 400],
    path: "namespaces/ns/items/delete",
    body: (count) => ({ ids: ids(count) }),
  },
  {
    limit: "ids of one delete in the cloud",
    values: [999, 1_000, 1_001],
    statuses: [200, 200, 400],
    path: "v1/namespaces/ns/vectors/delete",
    body: (count) => ({ ids: ids(count) }),
  },
  {
    limit: "namespaces of one search",
    values: [99, 100, 101],
    // None of them exists; how many they are is looked at first.
    statuses: [404, 404, 400],
    path: "search",
    body: (count) => ({ query: [1, 2], namespaces: ids(count) }),
  },
  {
    limit: "least threshold",
    values: [0.01, 0, -0.01],
    statuses: [200, 200, 400],
    path: "search",
    body: (threshold) => ({ query: [1, 2], namespaces: ["ns"], threshold }),
  },
  {
    limit: "greatest threshold",
    values: [0.99, 1, 1.01],
    statuses: [200, 200, 400],
    path: "search",
    body: (threshold) => ({ query: [1, 2], namespaces: ["ns"], threshold }),
  },
  {
    limit: "bytes of an id",
    values: [1_023, 1_024, 1_025],
    // One item that is refused does not refuse the upload.
    statuses: [201, 201, 207],
    path: "v1/namespaces/ns/vectors",
    body: (length) => ({ vectors: [{ id: "x".repeat(length), vector: [1, 2] }] }),
  },
  {
    limit: "bytes of a request",
    values: [20 * MIB - 1, 20 * MIB, 20 * MIB + 1],
    statuses: [201, 201, 413],
    path: "v1/namespaces/ns/vectors",
    body: (bytes) => padded({ vectors: [{ id: "a", vector: [1, 2] }] }, bytes),
  },
];

test("limits hold below, at and above each of them", async (t) => {
  const url = await startCompatServer(t);
  await send(url, "POST", "namespaces", namespace("ns", 2));
  for (const { limit, values, statuses, path, body } of LIMITS) {
    for (const [i, value] of values.entries()) {
      const answer = await send(url, "POST", path, body(value));
      assert.equal(answer.status, statuses[i], `${limit} ${value}: ${JSON.stringify(answer.body)}`);
    }
  }
});

test("top_k is brought into 1 to 100, and is 10 by default", async (t) => {
  const url = await startCompatServer(t);
  await send(url, "POST", "namespaces", namespace("ns", 2));
  const vectors = ids(101).map((id) => ({ id, vector: [1, Number(id)] }));
  assert.equal((await send(url, "POST", "v1/namespaces/ns/vectors", { vectors })).status, 201);
  for (const [top_k, count] of [
    [-5, 1],
    [0, 1],
    [1, 1],
    [2, 2],
    [99, 99],
    [100, 100],
    [101, 100],
    [2 ** 50, 100],
    [undefined, 10],
    [null, 10],
  ] as const) {
    for (const path of ["search", "v1/search"]) {
      const { body } = await send(url, "POST", path, { query: [1, 0], namespaces: ["ns"], top_k });
      const results = body.results as { id: string }[];
      assert.deepEqual(
        results.map(({ id }) => id),
        ids(count),
        `${path} ${top_k}`,
      );
    }
  }
});

test("an upload of many batches stores each of its vectors but those that it names", async (t) => {
  const url = await startCompatServer(t);
  await send(url, "POST", "namespaces", namespace("ns", 2));
  const zero = new Set([0, 999, 1_000, 2_500]);
  const vectors = ids(2_501).map((id, i) => ({ id, vector: [zero.has(i) ? 0 : 1, 0] }));
  const { status, body } = await send(url, "POST", "v1/namespaces/ns/vectors", { vectors });
  assert.equal(status, 207);
  assert.deepEqual(
    body.vector_ids_processed,
    ids(2_501).filter((_, i) => !zero.has(i)),
  );
  const errors = body.errors as { id: string; error: string }[];
  assert.deepEqual(
    errors.map(({ id }) => id),
    [...zero].map(String),
  );
  for (const { id, error } of errors)
    assert.ok(error.startsWith(`vectors[${id}].data.float32: Must not be all zeros`), error);
  assert.equal((await send(url, "GET", "health")).body.items, 2_497);
});

test("labels change at their scores", async (t) => {
  const url = await startCompatServer(t);
  const steps = [0.894, 0.632, 0.447, 0.316, 0.224, 0.1];
  const labels = [
    "Close Match",
    "Very High Relevance",
    "High Relevance",
    "Good Relevance",
    "Low Relevance",
    "Very Low Relevance",
    "Irrelevant",
  ];
  await send(url, "POST", "namespaces", namespace("ns", 2));
  const vectors = steps.flatMap((step) =>
    [step + 1e-4, step - 1e-4].map((cosine) => ({ id: `${cosine}`, vector: [cosine, Math.sqrt(1 - cosine * cosine)] })),
  );
  await send(url, "POST", "v1/namespaces/ns/vectors", { vectors });
  const { body } = await send(url, "POST", "search", { query: [1, 0], namespaces: ["ns"], top_k: 100 });
  const results = body.results as { id: string; score: number; label: string }[];
  assert.deepEqual(
    results.map(({ label }) => label),
    steps.flatMap((_, i) => [labels[i], labels[i + 1]]),
  );
  for (const { id, score } of results) {
    assert.ok(Math.abs(Number(id) - score) < 1e-5, `${id} has score ${score}`);
    assert.equal(score, Number(score.toFixed(6)));
  }
});
