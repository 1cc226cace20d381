import assert from "node:assert/strict";
import test from "node:test";
import { answerError } from "../../../src/compat/pinecone/errors.ts";
import { QuiverError, REASONS, type Reason, type StatusCode } from "../../../src/errors.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { CLIENTS, SERVERLESS } from "./clients.ts";
import { ask, createIndex } from "./wire.ts";

test("every reason has a status, a name and a number", () => {
  const byCode: Readonly<Record<StatusCode, readonly [number, string, number]>> = {
    CANCELLED: [499, "ABORTED", 1],
    INVALID_ARGUMENT: [400, "INVALID_ARGUMENT", 3],
    DEADLINE_EXCEEDED: [504, "DEADLINE_EXCEEDED", 4],
    NOT_FOUND: [404, "NOT_FOUND", 5],
    ALREADY_EXISTS: [409, "ALREADY_EXISTS", 6],
    PERMISSION_DENIED: [403, "PERMISSION_DENIED", 7],
    RESOURCE_EXHAUSTED: [429, "RESOURCE_EXHAUSTED", 8],
    FAILED_PRECONDITION: [412, "FAILED_PRECONDITION", 9],
    OUT_OF_RANGE: [400, "OUT_OF_RANGE", 11],
    UNIMPLEMENTED: [400, "UNIMPLEMENTED", 12],
    INTERNAL: [500, "INTERNAL", 13],
    UNAVAILABLE: [503, "UNAVAILABLE", 14],
    DATA_LOSS: [500, "DATA_LOSS", 15],
    UNAUTHENTICATED: [401, "UNAUTHENTICATED", 16],
  };
  const special: Partial<Record<Reason, readonly [number, string, number]>> = {
    DELETION_PROTECTED: [403, "FORBIDDEN", 7],
    REQUEST_TOO_LARGE: [400, "OUT_OF_RANGE", 11],
    ITEM_LIMIT: [403, "QUOTA_EXCEEDED", 8],
    INDEX_LIMIT: [403, "QUOTA_EXCEEDED", 8],
  };
  for (const [reason, code] of Object.entries(REASONS) as [Reason, StatusCode][]) {
    const [status, name, number] = special[reason] ?? byCode[code];
    const error = new QuiverError(reason, "why", { retryAfterMs: 1_500 });
    const data = answerError(error, "data");
    assert.equal(data.status, status, reason);
    assert.deepEqual(data.headers, { "retry-after": "2" });
    assert.partialDeepStrictEqual(data.body, { code: number, details: [] });
    const control = answerError(error, "control");
    const body = reason === "MALFORMED_REQUEST" ? [422, "UNPROCESSABLE_ENTITY"] : [status, name];
    assert.equal(control.status, body[0], reason);
    assert.partialDeepStrictEqual(control.body, { status: body[0], error: { code: body[1] } });
  }
});

test("hostile bodies are refused with the place of what is wrong", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url, { metric: "dotproduct" });
  const values = [1, 2, 3];
  const upsert = (record: unknown) => ["/vectors/upsert", { vectors: [record] }] as const;
  const rows: readonly (readonly [path: string, body: unknown, message: RegExp])[] = [
    ["/vectors/upsert", "{", /not valid JSON/],
    ["/vectors/upsert", [], /^body: Must be an object, got a list/],
    ["/vectors/upsert", {}, /^vectors: Must be 1 to 1000 records, got 0/],
    ["/vectors/upsert", { vectors: {} }, /^vectors: Must be a list/],
    ["/vectors/upsert", { vectors: [null] }, /^vectors\[0\]: Must be an object, got null/],
    [...upsert({ values }), /^vectors\[0\]\.id: Must be 1 to 512/],
    [...upsert({ id: "a", values: "1" }), /^vectors\[0\]\.values: Must be a list/],
    [...upsert({ id: "a", values: [1, "2", 3] }), /^vectors\[0\]\.values\[1\]: Must be a number/],
    [...upsert({ id: "a", values: [1, 1e39, 3] }), /^vectors\[0\]\.values\[1\]: Must be finite/],
    [...upsert({ id: "a", values: [0, 0, 0] }), /at least one non-zero value. Vector ID a contains only zeros/],
    [...upsert({ id: "a", values: [1, 2] }), /^Vector dimension 2 does not match the dimension of the index 3$/],
    [...upsert({ id: "a" }), /^Vector dimension 0 does not match/],
    [
      ...upsert({ id: "a", values, sparseValues: { indices: [1], values: [1, 2] } }),
      /^vectors\[0\]\.sparseValues: Must have as many/,
    ],
    [
      ...upsert({ id: "a", values, sparseValues: { indices: [1, 1], values: [1, 2] } }),
      /^vectors\[0\]\.sparseValues\.indices\[1\]: Must be above/,
    ],
    [
      ...upsert({ id: "a", values, sparseValues: { indices: [-1], values: [1] } }),
      /^vectors\[0\]\.sparseValues\.indices\[0\]: Must be 0 to 4294967295/,
    ],
    [...upsert({ id: "a", values, metadata: { a: null } }), /got 'null' for field 'a'/],
    [...upsert({ id: "a", values, metadata: { a: { b: 1 } } }), /got 'object' for field 'a'/],
    [...upsert({ id: "a", values, metadata: { a: [1] } }), /got 'list of other values' for field 'a'/],
    [...upsert({ id: "a", values, metadata: { $a: 1 } }), /must not start with "\$"/],
    ["/vectors/upsert", { vectors: [{ id: "a", values }], namespace: "a/b" }, /^namespace: /],
    ["/query", { vector: values }, /^topK: Must be 1 to 10000, got 0/],
    ["/query", { vector: values, topK: 1.5 }, /^topK: Must be an integer/],
    ["/query", { topK: 1 }, /^vector: Give a vector/],
    ["/query", { topK: 1, vector: values, id: "a" }, /Cannot provide both ID and vector/],
    ["/query", { topK: 1, vector: [1] }, /^Vector dimension 1 does not match/],
    ["/query", { topK: 1, vector: values, filter: { a: { $near: 1 } } }, /^filter\["a"\]\.\$near/],
    ["/query", { topK: 1, vector: values, includeValues: "yes" }, /^includeValues: Must be a boolean/],
    ["/vectors/update", { setMetadata: { a: 1 } }, /^id: Give either id or filter/],
    ["/vectors/update", { id: "a", filter: { a: 1 } }, /^id: Give either id or filter/],
    ["/vectors/update", { filter: { a: 1 }, values }, /^values: Cannot be given with a filter/],
    ["/vectors/update", { id: "a", values: [1] }, /^Vector dimension 1 does not match/],
    ["/vectors/delete", {}, /^ids: Give exactly one of ids, deleteAll and filter/],
    ["/vectors/delete", { filter: {} }, /^ids: Give exactly one/],
    ["/vectors/delete", { ids: ["a"], deleteAll: true }, /^ids: Give exactly one/],
    ["/vectors/delete", { ids: [1] }, /^ids\[0\]: Must be a string/],
    ["/vectors/fetch_by_metadata", { limit: 0 }, /^limit: Must be 1 to 10000, got 0/],
    ["/vectors/fetch_by_metadata", { paginationToken: "x" }, /^paginationToken/],
    ["/namespaces", {}, /^name: Must not be empty/],
  ];
  for (const [path, body, message] of rows) {
    const answer = await ask(url, `${index}${path}`, body);
    assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`);
    assert.match(answer.body.message, message);
    assert.deepEqual(answer.body.details, []);
  }
  for (const path of ["/vectors/fetch", "/vectors/list?limit=x", "/vectors/list?limit=1001", "/namespaces?limit=-1"]) {
    assert.equal((await ask(url, `${index}${path}`)).status, 400, path);
  }
  assert.deepEqual((await ask(url, `${index}/vectors/list`)).body.vectors, [], "nothing was stored");
});

test("an index that cannot be is refused with the reason", async (t) => {
  const url = await startCompatServer(t);
  const good = { name: "i", dimension: 3, spec: SERVERLESS };
  const rows: readonly (readonly [body: unknown, status: number, message: RegExp])[] = [
    ["{", 422, /not valid JSON/],
    [{ ...good, dimension: "3" }, 422, /^dimension: Must be an integer/],
    [{ ...good, name: "-i" }, 400, /must start and end with an alphanumeric character/],
    [{ ...good, name: undefined }, 400, /alphanumeric character/],
    [{ ...good, dimension: undefined }, 400, /^dimension: Must be 1 to 20000, got 0/],
    [{ ...good, metric: "manhattan" }, 400, /^metric: Must be one of/],
    [{ ...good, vector_type: "sparse" }, 400, /^dimension: Must not be given/],
    [{ ...good, dimension: undefined, vector_type: "sparse", metric: "cosine" }, 400, /^metric: Must be dotproduct/],
    [{ ...good, vector_type: "other" }, 400, /^vector_type: /],
    [{ ...good, spec: {} }, 400, /^spec: Must have serverless or pod/],
    [{ ...good, spec: { serverless: { cloud: "aws", region: "x".repeat(51) } } }, 400, /^spec\.serverless\.region: /],
    [{ ...good, deletion_protection: "yes" }, 400, /^deletion_protection: Must be enabled or disabled/],
    [{ ...good, tags: { "a b": "c" } }, 400, /^tags: A key must be/],
    [{ ...good, tags: { "quiver:pinecone": "{}" } }, 400, /^tags: A key must be/],
    [{ ...good, spec: { serverless: { ...SERVERLESS.serverless, source_collection: "c" } } }, 400, /does not offer it/],
    [{ name: "i", schema: { fields: { title: { type: "string" } } } }, 400, /stores no documents/],
  ];
  for (const [body, status, message] of rows) {
    const answer = await ask(url, "/indexes", body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.equal(answer.body.status, status);
    assert.match(answer.body.error.message, message);
  }
  assert.deepEqual((await ask(url, "/indexes")).body, { indexes: [] });
});

for (const { version, connect } of CLIENTS) {
  test(`client ${version} tries no request again that was refused for its rate`, async (t) => {
    const url = await startCompatServer(t, ["--requests-per-second-per-index", "3"]);
    const statuses: number[] = [];
    const client = connect({ url, onAnswer: ({ status }) => statuses.push(status) });
    const name = `rate${version}`;
    await client.createIndex({ name, dimension: 2, spec: SERVERLESS });
    const index = client.index(name);
    const isRefused = (error: Error) => error.name === "PineconeUnmappedHttpError" && /429/.test(error.message);
    await assert.rejects(async () => {
      for (;;) await index.describeNamespace("__default__");
    }, isRefused);
    assert.equal(statuses.filter((status) => status === 429).length, 1);
  });

  test(`client ${version} is let in with a key of this server alone`, async (t) => {
    const url = await startCompatServer(t);
    const response = await fetch(`${url}/quiver.v1.AdminService/CreateAccessKey`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ role: "ACCESS_ROLE_ADMIN" }),
    });
    const { apiKey } = (await response.json()) as { apiKey: string };
    const name = `auth${version}`;
    const options = { name, dimension: 2, spec: SERVERLESS };
    await assert.rejects(connect({ url }).createIndex(options), { name: "PineconeAuthorizationError" });
    await assert.rejects(connect({ url, apiKey: `${apiKey}x` }).listIndexes(), { name: "PineconeAuthorizationError" });
    const client = connect({ url, apiKey });
    await client.createIndex(options);
    await client.index(name).upsert([{ id: "a", values: [1, 2] }]);
    const { status, body } = await ask(url, `/i/${name}/query`, { topK: 1, id: "a" }, { headers: { "api-key": "no" } });
    assert.equal(status, 401);
    assert.deepEqual(body, { code: 16, message: "Invalid API Key", details: [] });
  });
}

test("an empty filter lets through every record", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url);
  await ask(url, `${index}/vectors/upsert`, { vectors: [{ id: "a", values: [1, 2, 3] }] });
  const { body } = await ask(url, `${index}/query`, { topK: 1, vector: [1, 2, 3], filter: {} });
  assert.equal(body.matches.length, 1);
  assert.equal((await ask(url, `${index}/describe_index_stats`, { filter: {} })).body.totalVectorCount, 1);
});

test("an update by metadata can be tried first, and changes nothing then", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url);
  await ask(url, `${index}/vectors/upsert`, { vectors: [{ id: "a", values: [1, 2, 3], metadata: { n: 1 } }] });
  const change = { filter: { n: 1 }, setMetadata: { m: 2 } };
  const tried = await ask(url, `${index}/vectors/update`, { ...change, dryRun: true });
  assert.deepEqual(tried.body, { matchedRecords: 1 });
  await ask(url, `${index}/vectors/update`, { id: "a", setMetadata: { m: 1 }, dryRun: true });
  assert.deepEqual((await ask(url, `${index}/vectors/fetch?ids=a`)).body.vectors.a.metadata, { n: 1 });
  assert.deepEqual((await ask(url, `${index}/vectors/update`, change)).body, { matchedRecords: 1 });
  assert.deepEqual((await ask(url, `${index}/vectors/fetch?ids=a`)).body.vectors.a.metadata, { n: 1, m: 2 });
});

test("writes and reads tell their sequence numbers, which grow", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url);
  const written: number[] = [];
  for (const id of ["a", "b"]) {
    const { headers } = await ask(url, `${index}/vectors/upsert`, { vectors: [{ id, values: [1, 2, 3] }] });
    written.push(Number(headers.get("x-pinecone-request-lsn")));
  }
  const { headers } = await ask(url, `${index}/query`, { topK: 1, id: "a" });
  const seen = Number(headers.get("x-pinecone-max-indexed-lsn"));
  const [first = Number.NaN, second = Number.NaN] = written;
  assert.ok(0 < first && first < second && second <= seen, `${first} ${second} ${seen}`);
});
