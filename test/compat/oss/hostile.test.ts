import assert from "node:assert/strict";
import { test } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { type OssAnswer, sendOss, sendRaw } from "./support.ts";

const BUCKET = "my-bucket";

/** By sub-resource, a good body. */
const BODIES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  putVectorIndex: { indexName: "new", dataType: "float32", dimension: 2, distanceMetric: "cosine", metadata: {} },
  getVectorIndex: { indexName: "idx" },
  listVectorIndexes: { maxResults: 1, nextToken: "a", prefix: "i" },
  putVectors: { indexName: "idx", vectors: [{ key: "k", data: { float32: [1, 2] }, metadata: { a: "x" } }] },
  getVectors: { indexName: "idx", keys: ["k"], returnData: true, returnMetadata: true },
  listVectors: { indexName: "idx", maxResults: 1, nextToken: "", segmentCount: 1, segmentIndex: 0, returnData: true },
  deleteVectors: { indexName: "idx", keys: ["k"] },
  queryVectors: {
    indexName: "idx",
    queryVector: { float32: [1, 2] },
    topK: 1,
    filter: { a: "x" },
    returnDistance: true,
    returnMetadata: true,
  },
  deleteVectorIndex: { indexName: "none" },
};

const ODD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  "",
  "x",
  "NaN",
  "\u0000",
  "\ud800",
  "x".repeat(70_000),
  [],
  [[]],
  [null],
  [{}],
  ["x", 1],
  {},
  { float32: null },
  { float32: [null] },
  { a: { b: { c: [] } } },
  { $and: [{ $or: [] }] },
  JSON.parse('{"__proto__":{"a":1},"constructor":1}'),
];

/** A body with each of its values, however deep, replaced by an odd one, or left out. */
function* spoiled(value: unknown): Generator<unknown> {
  yield* ODD;
  if (Array.isArray(value)) for (const item of spoiled(value[0])) yield [item];
  else if (typeof value === "object" && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      yield { ...value, [name]: undefined };
      for (const other of spoiled(member)) yield { ...value, [name]: other };
    }
  }
}

function assertNoFault({ status, body, text }: OssAnswer, what: string): void {
  assert.ok(status < 500 || status === 501, `${what.slice(0, 300)}: ${text}`);
  if (status >= 400) assert.equal(typeof body?.Error?.Code, "string", what.slice(0, 300));
}

test("no body is the server's fault", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, { method: "PUT", bucket: BUCKET });
  await sendOss(url, {
    method: "POST",
    bucket: BUCKET,
    query: "putVectorIndex",
    body: { indexName: "idx", dimension: 2 },
  });
  for (const [query, good] of Object.entries(BODIES)) {
    for (const body of spoiled(good)) {
      assertNoFault(
        await sendOss(url, { method: "POST", bucket: BUCKET, query, body: JSON.stringify(body) ?? "" }),
        `${query} ${JSON.stringify(body)}`,
      );
    }
    assert.ok((await sendOss(url, { method: "POST", bucket: BUCKET, query, body: good })).status < 500);
  }
  for (const policy of spoiled({
    Version: "1",
    Statement: [{ Effect: "Deny", Action: ["*"], Principal: ["*"], Resource: ["*"] }],
  })) {
    assertNoFault(
      await sendOss(url, { method: "PUT", bucket: BUCKET, query: "policy", body: JSON.stringify(policy) ?? "" }),
      `policy ${JSON.stringify(policy)}`,
    );
  }
});

test("no host, query or header is the server's fault", async (t) => {
  const url = await startCompatServer(t);
  const long = "x".repeat(8_000);
  const queries = [
    "%",
    "%ff",
    "prefix=%",
    "marker=%00",
    `marker=${long}`,
    `prefix=${long}`,
    "=&=&",
    "max-keys",
    "max-keys=%",
  ];
  for (const query of queries) assertNoFault(await sendOss(url, { method: "GET", query }), query);
  const tagging = ["%", "&&", "=", "a", "a=%ff", `a=${long}`, `${"a&".repeat(2_000)}`, "\u00e9=1"];
  for (const value of tagging) {
    const headers = { "x-oss-bucket-tagging": value, "x-oss-resource-group-id": value };
    assertNoFault(await sendOss(url, { method: "PUT", bucket: BUCKET, headers }), value);
  }
  const hosts = [
    "-1.localhost",
    "--1.localhost",
    `${"a".repeat(33)}-1.localhost`,
    `${long}-1.localhost`,
    `a-${"1".repeat(99)}.localhost`,
  ];
  for (const host of hosts) {
    assertNoFault(await sendRaw(url, ["GET /?bucketInfo HTTP/1.1", `Host: ${host}`], ""), host);
  }
});
