import assert from "node:assert/strict";
import { test } from "node:test";
import { answerError } from "../../../src/compat/moorcheh/errors.ts";
import { QuiverError, REASONS, type Reason } from "../../../src/errors.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { createKey, send } from "./http.ts";

/** Reasons by the status that stands for them; those whose status differs on-prem are below. */
const STATUSES: Readonly<Record<number, readonly Reason[]>> = {
  401: ["CREDENTIALS_MISSING", "CREDENTIALS_INVALID"],
  403: ["NOT_ALLOWED", "HOST_REFUSED", "ORIGIN_REFUSED"],
  413: ["REQUEST_TOO_LARGE"],
  429: ["RATE_LIMIT", "INGEST_BACKLOG", "OVERLOADED", "TOO_MANY_STREAMS", "WATCH_BEHIND", "ACCESS_KEY_LIMIT"],
  499: ["CANCELLED"],
  500: ["INTERNAL", "CORRUPTION"],
  503: ["STORAGE_READ_ONLY", "WRITE_OUTCOME_UNKNOWN", "STORAGE_LOCKED", "SHUTTING_DOWN"],
  504: ["DEADLINE_EXCEEDED"],
  // Of bytes, as this error has no unit.
  507: ["DISK_FULL", "MEMORY_FULL", "ITEM_LIMIT"],
};

test("every reason has a status, and on-prem none but the item limit has 409", () => {
  const known = new Map(
    Object.entries(STATUSES).flatMap(([status, of]) => of.map((reason) => [reason, Number(status)])),
  );
  for (const [reason, code] of Object.entries(REASONS) as [Reason, string][]) {
    const error = new QuiverError(reason, "Message", { retryAfterMs: 1_200 });
    const [cloud, onPrem] = (["cloud", "on-prem"] as const).map((api) => answerError(error, api, "UploadVectors"));
    const conflicts = ["ALREADY_EXISTS", "FAILED_PRECONDITION"].includes(code) || reason === "INDEX_LIMIT";
    const expected = known.get(reason) ?? (code === "NOT_FOUND" ? 404 : conflicts ? 409 : 400);
    assert.equal(cloud?.status, expected, reason);
    assert.equal(onPrem?.status, conflicts ? 400 : expected, reason);
    assert.deepEqual(cloud?.headers, { "retry-after": "2" });
    assert.deepEqual(cloud?.body, { status: "failure", message: "Message" });
  }
  assert.deepEqual(answerError(new QuiverError("INTERNAL", "M"), "cloud", "Search"), {
    status: 500,
    headers: {},
    body: { status: "error", message: "M" },
  });
});

const good = { id: "a", vector: [1, 2, 3] };

/** Bodies that are wrong; each is to be answered with 400 and a sentence that matches. */
const WRONG: readonly (readonly [path: string, body: unknown, message: RegExp])[] = [
  ["namespaces", "", /must be an object/i],
  ["namespaces", "null", /must be an object/i],
  ["namespaces", "[]", /must be an object/i],
  ["namespaces", "{", /not valid JSON/],
  ["namespaces", { namespace_name: 7, type: "vector", vector_dimension: 3 }, /namespace_name: Must be a string/],
  ["namespaces", { namespace_name: "x", type: "other", vector_dimension: 3 }, /type: Must be "vector"/],
  ["namespaces", { namespace_name: "x", type: "vector" }, /vector_dimension: Must be 1 to 20000/],
  [
    "namespaces",
    { namespace_name: "x", type: "vector", vector_dimension: "3" },
    /vector_dimension: Must be an integer/,
  ],
  ["namespaces", { namespace_name: "a.b", type: "vector", vector_dimension: 3 }, /namespace_name: Must be 1 to 63/],
  ["namespaces", { namespace_name: "__proto__", type: "vector", vector_dimension: 3 }, /namespace_name: Must be/],
  ["namespaces/ns/vectors", {}, /^vectors must be a non-empty array$/],
  ["namespaces/ns/vectors", { vectors: null }, /^vectors must be a non-empty array$/],
  ["namespaces/ns/vectors", { vectors: {} }, /vectors: Must be a list/],
  ["namespaces/ns/vectors", { vectors: [good, 7] }, /vectors\[1\]: Must be an object/],
  ["namespaces/ns/vectors", { vectors: [good, { id: "a" }] }, /vectors\[1\]\.vector: Is missing/],
  ["namespaces/ns/vectors", { vectors: [{ vector: [1, 2, 3] }] }, /vectors\[0\]\.id: Must be a string/],
  ["namespaces/ns/vectors", { vectors: [{ ...good, id: "" }] }, /\.id: Must be/],
  ["namespaces/ns/vectors", { vectors: [{ ...good, id: 1.5 }] }, /\.id: Must be/],
  ["namespaces/ns/vectors", { vectors: [{ ...good, id: true }] }, /\.id: Must be/],
  ["namespaces/ns/vectors", { vectors: [{ ...good, vector: [1, 2] }] }, /3 numbers, the vector_dimension .* got 2$/],
  [
    "namespaces/ns/vectors",
    { vectors: [{ ...good, vector: [1, null, 3] }] },
    /vector\[1\]: Must be a number, got null/,
  ],
  [
    "namespaces/ns/vectors",
    { vectors: [{ ...good, vector: [1, "NaN", 3] }] },
    /vector\[1\]: Must be a number, got string/,
  ],
  ["namespaces/ns/vectors", '{"vectors":[{"id":"a","vector":[1,2,1e400]}]}', /vector\[2\]: Must be finite/],
  ["namespaces/ns/vectors", { vectors: [{ ...good, vector: [1e39, 2, 3] }] }, /vector\[0\]: Must be finite as float32/],
  ["namespaces/ns/items/get", { ids: [{}] }, /ids\[0\]: Must be a string/],
  ["namespaces/ns/items/get", { ids: "a" }, /ids: Must be a list/],
  ["namespaces/ns/items/delete", {}, /ids: Must be 1 to 100 ids, got 0/],
  ["search", { namespaces: ["ns"] }, /query: Must be a list/],
  ["search", { namespaces: ["ns"], query: {} }, /query: Must be a list/],
  ["search", { namespaces: ["ns"], query: [] }, /^query: Must have 3 values/],
  ["search", { namespaces: ["ns"], query: [0, 0, 0] }, /^query: .*all zeros/],
  ["search", { namespaces: ["ns"], query: [null, 1, 2] }, /query\[0\]: Must be a number, got null/],
  ["search", { namespaces: [], query: [1, 2, 3] }, /namespaces: Must be 1 to 100/],
  ["search", { namespaces: "ns", query: [1, 2, 3] }, /namespaces: Must be a list/],
  ["search", { namespaces: ["ns"], query: [1, 2, 3], top_k: "5" }, /top_k: Must be an integer/],
  ["search", { namespaces: ["ns"], query: [1, 2, 3], threshold: 1.01 }, /threshold: Must be 0 to 1/],
  ["search", { namespaces: ["ns"], query: [1, 2, 3], kiosk_mode: 1 }, /kiosk_mode: Must be a boolean/],
  ["search", { namespaces: [""], query: [1, 2, 3] }, /index_name/],
];

for (const prefix of ["", "v1/"]) {
  test(`a wrong body is refused with its place, below /moorcheh/${prefix}`, async (t) => {
    const url = await startCompatServer(t);
    const vector = { type: "vector", vector_dimension: 3 };
    await send(url, "POST", "namespaces", { namespace_name: "ns", ...vector });
    for (const [path, body, message] of WRONG) {
      // The cloud has no items.
      if (prefix !== "" && path.includes("items")) continue;
      const answer = await send(url, "POST", `${prefix}${path}`, body);
      assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`);
      assert.match(`${answer.body.message}`, message);
    }
    assert.equal((await send(url, "GET", "health")).body.items, 0);
  });
}

test("keys of metadata that mean something to JavaScript are kept as any other", async (t) => {
  const url = await startCompatServer(t);
  await send(url, "POST", "namespaces", { namespace_name: "ns", type: "vector", vector_dimension: 1 });
  const item = '{"id":"a","vector":[1],"__proto__":"p","constructor":"c","metadata":{"__proto__":"q","toString":"t"}}';
  assert.equal((await send(url, "POST", "v1/namespaces/ns/vectors", `{"vectors":[${item}]}`)).status, 201);
  const got = await fetch(`${url}/moorcheh/namespaces/ns/items/get`, { method: "POST", body: '{"ids":["a"]}' });
  // As text: assert.deepEqual does not look at such keys.
  assert.match(await got.text(), /"metadata":\{"__proto__":"p","toString":"t","constructor":"c"\}/);
});

test("with access keys the cloud's clients get in by theirs, and on-prem clients are told that they cannot", async (t) => {
  const url = await startCompatServer(t);
  const admin = await createKey(url, "ACCESS_ROLE_ADMIN");
  const reader = await createKey(url, "ACCESS_ROLE_READ_ONLY", admin);
  const namespace = { namespace_name: "ns", type: "vector", vector_dimension: 1 };
  const status = async (path: string, key?: string, method = "GET", body?: unknown) => {
    const answer = await send(url, method, path, body, key === undefined ? {} : { "x-api-key": key });
    if (answer.status === 401 && key === undefined && !path.startsWith("v1")) {
      assert.match(
        `${answer.body.message}`,
        /on-prem client sends none: it works with a server without access keys only/,
      );
    }
    return answer.status;
  };
  assert.equal(await status("health"), 401);
  assert.equal(await status("v1/namespaces"), 401);
  assert.equal(await status("v1/namespaces", "wrong"), 401);
  assert.equal(await status("v1/namespaces", reader, "POST", namespace), 403);
  assert.equal(await status("v1/namespaces", admin, "POST", namespace), 201);
  assert.equal(await status("v1/namespaces", reader), 200);
  assert.equal(await status("health", reader), 200);
  assert.equal(await status("v1/namespaces/ns", reader, "DELETE"), 403);
});
