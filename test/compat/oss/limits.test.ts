import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { OSS_LIMITS } from "../../../src/compat/oss/limits.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { assertOssError, callNative, createSigningKey, type OssRequest, sendOss, withSecretsKey } from "./support.ts";

const BUCKET = "my-bucket";

/** A limit by what asks for so much; `past` is refused with VectorIndexParameterInvalid unless `code` says otherwise. */
interface LimitRow {
  readonly name: string;
  readonly within: readonly OssRequest[];
  readonly past: readonly OssRequest[];
  readonly code?: string;
}

const put = (vectors: unknown): OssRequest => ({
  method: "POST",
  bucket: BUCKET,
  query: "putVectors",
  body: { indexName: "idx", vectors },
});
const post = (query: string, body: object): OssRequest => ({
  method: "POST",
  bucket: BUCKET,
  query,
  body: { indexName: "idx", ...body },
});
const vectors = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: `k${i}`, data: { float32: [i, 1] } }));
const one = (metadata: unknown, key: unknown = "k") => put([{ key, data: { float32: [1, 2] }, metadata }]);
const keys = (count: number) => Array.from({ length: count }, (_, i) => `k${i}`);
const members = (count: number, start = "m") =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${start}${i}`, "x"]));
const query = (body: object) => post("queryVectors", { topK: 1, queryVector: { float32: [1, 2] }, ...body });
const bucket = (name: string): OssRequest => ({ method: "PUT", bucket: name });
let count = 0;
const index = (body: object = {}): OssRequest =>
  post("putVectorIndex", { indexName: `x${++count}`, dimension: 2, ...body });
const nonFilterable = (names: readonly unknown[]) => index({ metadata: { nonFilterableMetadataKeys: names } });
const list = (max: string): OssRequest => ({ method: "GET", query: `max-keys=${max}` });

const LIMITS: readonly LimitRow[] = [
  {
    name: "names of buckets have 3 to 32 lower-case letters, digits and inner hyphens",
    within: [bucket("abc"), bucket("a".repeat(31)), bucket("a".repeat(32)), bucket("0-9")],
    past: [bucket("ab"), bucket("a".repeat(33)), bucket("-ab"), bucket("ab-"), bucket("aBc"), bucket("a_c")],
    code: "InvalidVectorBucketName",
  },
  {
    name: "names of indexes have 1 to 63 letters and digits, a letter first",
    within: ["a", "A", "Zz9", "a".repeat(62), "a".repeat(63)].map((indexName) => index({ indexName })),
    past: ["", "1a", "a-b", "a.b", "a_b", "é", "a".repeat(64), 1, null, {}].map((indexName) => index({ indexName })),
  },
  {
    name: "the dimension is 1 to 4,096",
    within: [1, 4_095, 4_096].map((dimension) => index({ dimension })),
    past: [0, -1, 4_097, 1.5, "3", [3], 1e300].map((dimension) => index({ dimension })),
  },
  {
    name: "the metric is euclidean or cosine, and the type float32",
    within: [index({ distanceMetric: "cosine", dataType: "float32" }), index({ distanceMetric: "euclidean" })],
    past: [index({ distanceMetric: "dot_product" }), index({ distanceMetric: 1 }), index({ dataType: "float16" })],
  },
  {
    name: "there are 1 to 10 non-filterable keys of 1 to 63 letters, digits and underscores",
    within: [
      index({ metadata: {} }),
      nonFilterable(["a"]),
      nonFilterable(Object.keys(members(9))),
      nonFilterable(Object.keys(members(10))),
      nonFilterable(["_", "a9_", "a".repeat(62), "b".repeat(63)]),
    ],
    past: [
      nonFilterable([]),
      nonFilterable(Object.keys(members(11))),
      nonFilterable(["a".repeat(64)]),
      ...["", "9", "a-b", "é", "a b", 1, null].map((key) => nonFilterable([key])),
      nonFilterable(["a", "a"]),
      index({ metadata: { nonFilterableMetadataKeys: "a" } }),
    ],
  },
  {
    name: "a put has 1 to 500 vectors",
    within: [put(vectors(1)), put(vectors(499)), put(vectors(500))],
    past: [put([]), put(vectors(501)), put(undefined), put({}), put([1]), put([null])],
  },
  {
    name: "a put has no key twice",
    within: [put([...vectors(2)])],
    past: [put([...vectors(2), ...vectors(1)])],
  },
  {
    name: "a key has 1 to 1,024 characters",
    within: [one({}, "k"), one({}, "k".repeat(1_023)), one({}, "k".repeat(1_024))],
    past: [one({}, ""), one({}, "k".repeat(1_025)), one({}, 1), one({}, null), one({}, "\ud800")],
  },
  {
    name: "metadata are texts and lists of texts",
    within: [one({ a: "x" }), one({ a: ["x", "y"], b: "" }), one({ text: "x" }), one({}), one(null)],
    past: [1, true, null, {}, [1], ["x", 1], [["x"]], [null]].flatMap((value) => [
      one({ a: value }),
      one({ text: value }),
    ]),
  },
  {
    name: "metadata is an object",
    within: [one({ constructor: "x", toString: ["y"] })],
    past: [one("x"), one(["x"]), one(1)],
  },
  {
    name: "there are 0 to 10 filterable keys",
    within: [one({}), one(members(9)), one({ ...members(10), text: "x", more: "y" })],
    past: [one(members(11)), one({ ...members(11), text: "x" })],
  },
  {
    // 4 + 8 + 1 + the text.
    name: "filterable metadata has 2,048 bytes",
    within: [one({ a: "x".repeat(2_034) }), one({ a: "x".repeat(2_035) }), one({ a: "x", text: "x".repeat(3_000) })],
    past: [one({ a: "x".repeat(2_036) }), one({ a: "é".repeat(1_018) })],
  },
  {
    name: "all metadata has 40,960 bytes",
    within: [one({ text: "x".repeat(40_943) }), one({ text: "x".repeat(40_944) })],
    past: [one({ text: "x".repeat(40_945) })],
  },
  {
    name: "data has as many numbers as the index has dimensions, each of them finite as float32",
    within: [put([{ key: "k", data: { float32: [0, 3.4e38] } }])],
    past: [[1], [1, 2, 3], [1, null], [1, "2"], [1, true], [1, 1e39], [1, [2]], "12", { 0: 1, 1: 2 }, undefined].map(
      (float32) => put([{ key: "k", data: { float32 } }]),
    ),
  },
  {
    name: "data is given",
    within: [],
    past: [put([{ key: "k" }]), put([{ key: "k", data: [1, 2] }]), put([{ key: "k", data: null }])],
  },
  {
    name: "a get has 1 to 100 keys, which may stand twice",
    within: [keys(1), keys(99), keys(100), [...keys(100), ...keys(100)]].map((each) =>
      post("getVectors", { keys: each }),
    ),
    past: [[], keys(101), undefined, "k", [1], [""]].map((each) => post("getVectors", { keys: each })),
  },
  {
    name: "a delete has 1 to 500 keys, which may stand twice",
    within: [keys(1), keys(499), keys(500), [...keys(500), "k0"]].map((each) => post("deleteVectors", { keys: each })),
    past: [[], keys(501), undefined, "k", [1], [""]].map((each) => post("deleteVectors", { keys: each })),
  },
  {
    name: "topK is 1 to 500",
    within: [1, 499, 500].map((topK) => query({ topK })),
    past: [0, -1, 501, 1.5, "1", null, undefined].map((topK) => query({ topK })),
  },
  {
    name: "a query has a vector, and a filter that is one",
    within: [query({ filter: { a: { $eq: "x" } } }), query({ filter: null })],
    past: [
      query({ queryVector: undefined }),
      query({ queryVector: { float32: [1] } }),
      query({ queryVector: { float32: [1, null] } }),
      query({ filter: [] }),
      query({ filter: {} }),
      query({ filter: { text: "x" } }),
      query({ returnDistance: "yes" }),
    ],
  },
  {
    // {"a":"..."} around the text.
    name: "a filter has 64 KB",
    within: [query({ filter: { a: "x".repeat(65_527) } }), query({ filter: { a: "x".repeat(65_528) } })],
    past: [query({ filter: { a: "x".repeat(65_529) } })],
  },
  {
    name: "a list of vectors has 1 to 1,000 items",
    within: [1, 999, 1_000, null].map((maxResults) => post("listVectors", { maxResults })),
    past: [0, -1, 1_001, 1.5, "1"].map((maxResults) => post("listVectors", { maxResults })),
  },
  {
    name: "a list is parted into 1 to 16 segments",
    within: [
      [1, 0],
      [15, 14],
      [16, 15],
    ].map(([segmentCount, segmentIndex]) => post("listVectors", { segmentCount, segmentIndex })),
    past: [
      [17, 0],
      [0, 0],
      [16, 16],
      [2, 2],
      [2, -1],
      [2, undefined],
      [undefined, 1],
    ].map(([segmentCount, segmentIndex]) => post("listVectors", { segmentCount, segmentIndex })),
  },
  {
    name: "a list of indexes has up to 500 items",
    within: [0, 1, 499, 500].map((maxResults) => post("listVectorIndexes", { maxResults })),
    past: [-1, 501, 1.5, "1"].map((maxResults) => post("listVectorIndexes", { maxResults })),
  },
  {
    name: "a list of buckets has 1 to 1,000 items",
    within: [list("1"), list("999"), list("1000"), list("")],
    past: [list("0"), list("1001"), list("-1"), list("1e2"), list("x"), list("9".repeat(400))],
    code: "InvalidArgument",
  },
  {
    name: "tags are distinct",
    within: [{ ...bucket("tagged"), headers: { "x-oss-bucket-tagging": "a=1&b=1&__proto__=x" } }],
    past: [
      { ...bucket("tagged2"), headers: { "x-oss-bucket-tagging": "a=1&a=2" } },
      { ...bucket("tagged2"), headers: { "x-oss-bucket-tagging": `a=${"x".repeat(257)}` } },
    ],
    code: "InvalidArgument",
  },
];

test("the limits of OSS are those of its documents", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, index({ indexName: "idx", metadata: { nonFilterableMetadataKeys: ["text", "more"] } }));
  for (const { name, within, past, code = "VectorIndexParameterInvalid" } of LIMITS) {
    await t.test(name, async () => {
      for (const request of within) {
        const { status, text } = await sendOss(url, request);
        assert.ok(status < 300, `${JSON.stringify(request).slice(0, 200)}: ${text}`);
      }
      for (const request of past) {
        const answer = await sendOss(url, request);
        assert.equal(answer.status, 400, JSON.stringify(request).slice(0, 200));
        assertOssError(answer, 400, code);
      }
    });
  }
});

test("an index that says nothing has 512 dimensions and measures the euclidean distance", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, { method: "POST", bucket: BUCKET, query: "putVectorIndex", body: { indexName: "idx" } });
  const { body } = await sendOss(url, post("getVectorIndex", {}));
  assert.deepEqual([body?.index?.dimension, body?.index?.distanceMetric], [512, "euclidean"]);
  const [near, far] = [new Array(512).fill(0), [3, 4, ...new Array(510).fill(0)]];
  const data = [near, far].map((float32, i) => ({ key: `k${i}`, data: { float32 } }));
  assert.equal((await sendOss(url, put(data))).status, 200);
  const answer = await sendOss(url, query({ queryVector: { float32: near }, topK: 2, returnDistance: true }));
  assert.deepEqual(answer.body?.vectors, [
    { key: "k0", distance: 0 },
    { key: "k1", distance: 5 },
  ]);
});

test("a key that stands twice is told without the options of another API", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, index({ indexName: "idx" }));
  const answer = await sendOss(url, put([...vectors(2), ...vectors(1)]));
  const message = assertOssError(answer, 400, "VectorIndexParameterInvalid");
  assert.equal(message, 'vectors[2].key: Key "k0" stands in vectors[0] already');
});

test("a zero vector is refused on a cosine index", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, index({ indexName: "idx", distanceMetric: "cosine" }));
  const zero = put([{ key: "k", data: { float32: [0, 0] } }]);
  assertOssError(await sendOss(url, zero), 400, "VectorIndexParameterInvalid");
  assertOssError(await sendOss(url, query({ queryVector: { float32: [0, 0] } })), 400, "VectorIndexParameterInvalid");
});

test("a refused put writes nothing, and keys of objects' own members are safe", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, index({ indexName: "idx" }));
  const last = { key: "bad", data: { float32: [1] } };
  assertOssError(await sendOss(url, put([...vectors(3), last])), 400, "VectorIndexParameterInvalid");
  assert.deepEqual((await sendOss(url, post("listVectors", {}))).body?.vectors, []);
  const text = `{"indexName":"idx","vectors":[{"key":"__proto__","data":{"float32":[1,2]},"metadata":{"__proto__":"x","constructor":["y"]}}]}`;
  assert.equal((await sendOss(url, { method: "POST", bucket: BUCKET, query: "putVectors", body: text })).status, 200);
  const got = await sendOss(url, post("getVectors", { keys: ["__proto__"], returnMetadata: true }));
  assert.equal(got.text, `{"vectors":[{"key":"__proto__","metadata":{"__proto__":"x","constructor":["y"]}}]}`);
});

test("a body that is no JSON object, or not the one that was sent, is refused", async (t) => {
  const url = await startCompatServer(t);
  const send = (body: string, headers = {}) =>
    sendOss(url, { method: "POST", bucket: BUCKET, query: "putVectors", body, headers });
  for (const body of ["{", "[]", '"x"', "1", "NaN", '{"a":NaN}', "[".repeat(100_000), "}"]) {
    assertOssError(await send(body), 400, "MalformedJson");
  }
  const digest = createHash("md5").update("{}").digest("base64");
  assertOssError(await send("{}", { "content-md5": digest }), 400, "VectorIndexParameterInvalid");
  assertOssError(await send("{ }", { "content-md5": digest }), 400, "InvalidDigest");
  for (const [bytes, code] of [
    [OSS_LIMITS.bodyBytesMax, "MalformedJson"],
    [OSS_LIMITS.bodyBytesMax + 1, "EntityTooLarge"],
  ] as const) {
    const long = { method: "POST", bucket: BUCKET, query: "getVectors", body: " ".repeat(bytes) };
    assertOssError(await sendOss(url, long), 400, code);
  }
});

test("a server with access keys lets api keys in, and nobody without a key", async (t) => {
  const url = await startCompatServer(t, withSecretsKey());
  const { apiKey } = await createSigningKey(url);
  const get = (headers: Readonly<Record<string, string>>) => sendOss(url, { method: "GET", headers });
  assert.equal((await get({ authorization: `Bearer ${apiKey}` })).status, 200);
  assertOssError(await get({}), 403, "AccessDenied");
  assertOssError(await get({ authorization: "Bearer qk_wrong_wrong" }), 403, "InvalidAccessKeyId");
  assertOssError(await get({ authorization: "OSS AKID:signature" }), 403, "InvalidAccessKeyId");
  assertOssError(await get({ authorization: "OSS4-HMAC-SHA256 x" }), 400, "InvalidArgument");
  const unread = { method: "POST", bucket: BUCKET, query: "putVectors", body: "{" };
  assertOssError(await sendOss(url, unread), 403, "AccessDenied");
});

test("what OSS clients put is what the native API reads, and the other way round", async (t) => {
  const url = await startCompatServer(t);
  await sendOss(url, bucket(BUCKET));
  await sendOss(url, index({ indexName: "idx" }));
  await sendOss(url, put([{ key: "a", data: { float32: [0.1, 2] }, metadata: { m: ["x"] } }]));
  const place = { vectorBucketName: BUCKET, indexName: "idx" };
  const read = { ...place, keys: ["a"], returnData: true, returnMetadata: true };
  const { vectors: [found] = [] } = (await callNative(url, "VectorService/GetVectors", read)) as unknown as {
    vectors: { key: string; data: unknown; metadata: unknown }[];
  };
  assert.deepEqual([found?.key, found?.metadata], ["a", { m: ["x"] }]);
  const data = found?.data as { float32: number[] };
  assert.deepEqual(Array.from(data.float32, Math.fround), [Math.fround(0.1), 2]);
  const metadata = { number: 1, truth: true };
  await callNative(url, "VectorService/PutVectors", {
    ...place,
    vectors: [{ key: "b", data: { float32: [3, 4] }, metadata }],
  });
  const got = await sendOss(url, post("getVectors", { keys: ["b"], returnData: true, returnMetadata: true }));
  assert.deepEqual(got.body?.vectors, [{ key: "b", data: { float32: [3, 4] }, metadata }]);
});
