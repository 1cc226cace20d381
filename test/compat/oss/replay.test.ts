import assert from "node:assert/strict";
import { test } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { CAPTURED } from "./fixtures.ts";
import { assertOssError, callNative, sendOss, sendRaw } from "./support.ts";

/** What becomes of them in their order: the status, and the names in the answer or the code of the error. */
const ANSWERS: readonly (readonly [name: string, status: number, names: string | undefined])[] = [
  ["ListVectorBuckets", 200, "ListAllMyBucketsResult"],
  ["PutVectorBucket", 200, undefined],
  ["GetVectorBucket", 200, "BucketInfo"],
  ["PutVectorIndex", 200, undefined],
  ["GetVectorIndex", 200, "index"],
  ["ListVectorIndexes", 200, "indexes,nextToken"],
  // Its body holds NaN, which JSON does not have.
  ["PutVectors", 400, "MalformedJson"],
  ["GetVectors", 200, "vectors"],
  ["ListVectors", 200, "vectors,nextToken"],
  ["QueryVectors", 200, "vectors"],
  ["DeleteVectors", 204, undefined],
  ["PutBucketPolicy", 200, undefined],
  ["GetBucketPolicy", 200, "Version,Statement"],
  ["DeleteBucketPolicy", 204, undefined],
  ["PutBucketLogging", 501, "NotImplemented"],
  ["GetBucketLogging", 200, "BucketLoggingStatus"],
  ["DeleteBucketLogging", 204, undefined],
  ["DeleteVectorIndex", 204, undefined],
  ["DeleteVectorBucket", 204, undefined],
  ...CAPTURED.slice(19).map(({ name }) => [name, 404, "NoSuchBucket"] as const),
];

test("an open server answers what the official client has sent, byte for byte, whoever signed it", async (t) => {
  const url = await startCompatServer(t, ["--hosts", "*"]);
  assert.equal(ANSWERS.length, CAPTURED.length);
  for (const [i, { name, head, body }] of CAPTURED.entries()) {
    const [expected, status, names] = ANSWERS[i] ?? assert.fail();
    assert.equal(name, expected);
    const answer = await sendRaw(url, head, body);
    if (status >= 400) assertOssError(answer, status, `${names}`);
    else {
      assert.equal(answer.status, status, `${name}: ${answer.text}`);
      assert.equal(answer.body && Object.keys(answer.body).join(), names, name);
      assert.match(answer.headers["x-oss-request-id"] ?? "", /^[\w-]{36}$/);
    }
  }
});

test("names of the machine are enough for an open server, and other names are refused as OSS refuses", async (t) => {
  const url = await startCompatServer(t);
  const { port } = new URL(url);
  const list = (host: string) => sendRaw(url, ["GET /?max-keys=1 HTTP/1.1", `Host: ${host}`, "x-oss-date: x"], "");
  for (const host of ["localhost", "127.0.0.1", `localhost:${port}`, "my-bucket-123.localhost"]) {
    assert.equal((await list(host)).status, 200, host);
  }
  assertOssError(await list("my-bucket-123.oss-vectors.invalid"), 403, "AccessDenied");
});

test("a request of a proxy's client is the same as one to the server itself", async (t) => {
  const url = await startCompatServer(t);
  const host = "my-bucket-123.localhost";
  const put = await sendRaw(url, [`PUT http://${host}/ HTTP/1.1`, `Host: ${host}`, "x-oss-date: x"], "");
  assert.equal(put.status, 200, put.text);
  for (const target of ["/?bucketInfo", "/?bucketInfo=", `http://${host}/?bucketInfo`, `http://${host}?bucketInfo`]) {
    const { status, body } = await sendRaw(url, [`GET ${target} HTTP/1.1`, `Host: ${host}`], "");
    assert.equal(status, 200, target);
    assert.equal(body?.BucketInfo?.Name, "acs:ossvector:us-east-1:000000000000:my-bucket");
  }
});

test("only what has a trait of OSS is answered as OSS", async (t) => {
  const url = await startCompatServer(t);
  const { port } = new URL(url);
  const get = (line: string, ...headers: string[]) =>
    sendRaw(url, [`${line} HTTP/1.1`, `Host: localhost:${port}`, ...headers], "");
  for (const line of ["GET /", "GET /?", "GET /?x=1", "GET /?prefix=a", "HEAD /"]) {
    const answer = await get(line);
    assert.equal(answer.headers["x-oss-request-id"], undefined, line);
  }
  assert.match((await get("GET /")).text, /^Quiver /);
  assert.equal((await get("POST /")).status, 405);
  const traits = [
    ["GET /", "Authorization: OSS4-HMAC-SHA256 x"],
    ["GET /", "x-oss-date: 1"],
    ["GET /?logging"],
    ["POST /?putVectors"],
    ["GET /object", "Authorization: OSS4-HMAC-SHA256 x"],
  ];
  for (const [line = "", ...headers] of traits) {
    assert.ok((await get(line, ...headers)).headers["x-oss-request-id"], line);
  }
  assert.equal((await get("GET /livez", "x-oss-date: 1")).headers["x-oss-request-id"], undefined);
});

test("what vector buckets do not have is refused as not implemented", async (t) => {
  const url = await startCompatServer(t);
  const bucket = "my-bucket";
  const requests = [
    { method: "POST", bucket, query: "putVectorIndexFusion", body: { indexName: "idx" } },
    { method: "POST", bucket, query: "queryVectorsFusion=", body: {} },
    { method: "PUT", bucket, query: "publicAccessBlock" },
    { method: "GET", bucket, query: "putVectors" },
    { method: "POST", bucket },
    { method: "HEAD", bucket: "my-bucket" },
    { method: "GET", bucket, query: "toString" },
    { method: "PUT", path: "/bucket/object", headers: { authorization: "OSS4-HMAC-SHA256 x" }, body: "text" },
  ];
  for (const request of requests) {
    const answer = await sendOss(url, request);
    if (request.method === "HEAD") assert.equal(answer.status, 501);
    else assertOssError(answer, 501, "NotImplemented");
  }
});

test("a request on a bucket names it by its host", async (t) => {
  const url = await startCompatServer(t);
  const { port } = new URL(url);
  const get = async (host: string) =>
    sendRaw(url, ["GET /?bucketInfo HTTP/1.1", `Host: ${host}:${port}`, "Connection: close"], "");
  for (const host of [
    "localhost",
    "127.0.0.1",
    "a.localhost",
    "my-bucket-x.localhost",
    "my-bucket-.localhost",
    "-1.localhost",
    "Bucket-1.localhost",
  ]) {
    assertOssError(await get(host), 400, "InvalidVectorBucketName");
  }
  for (const name of ["abc", "a-1", "1-2-3"]) {
    assert.equal((await sendOss(url, { method: "PUT", bucket: name })).status, 200, name);
    const { body } = await sendOss(url, { method: "GET", bucket: name, query: "bucketInfo" });
    assert.equal(body?.BucketInfo?.Name, `acs:ossvector:us-east-1:000000000000:${name}`);
    assert.equal(body?.BucketInfo?.ExtranetEndpoint, `localhost:${port}`);
  }
});

test("lists hide names that OSS cannot have, and go on by names", async (t) => {
  const url = await startCompatServer(t);
  const names = ["Upper", "a1", "a.dot", "bucket-1", "bucket-2", "bucket-3", "z".repeat(33), "zz9"];
  for (const vectorBucketName of names) await callNative(url, "BucketService/CreateVectorBucket", { vectorBucketName });
  const list = async (query: string) => {
    const { body } = await sendOss(url, { method: "GET", query });
    const { Buckets, IsTruncated, NextMarker, MaxKeys } = body?.ListAllMyBucketsResult ?? assert.fail();
    const shown = Array.from(Buckets as unknown as { Name: string }[], ({ Name }) => Name.split(":").at(-1));
    return { shown, next: IsTruncated ? NextMarker : undefined, MaxKeys };
  };
  assert.deepEqual(await list(""), {
    shown: ["bucket-1", "bucket-2", "bucket-3", "zz9"],
    next: undefined,
    MaxKeys: 100,
  });
  assert.deepEqual((await list("marker=bucket-1&prefix=bu")).shown, ["bucket-2", "bucket-3"]);
  assert.deepEqual(await list("max-keys=1&marker=bucket-1"), { shown: ["bucket-2"], next: "bucket-2", MaxKeys: 1 });
  const walked: unknown[] = [];
  for (let marker: unknown = ""; marker !== undefined; ) {
    const page = await list(`max-keys=1&marker=${marker}`);
    walked.push(...page.shown);
    marker = page.next;
  }
  assert.deepEqual(walked, ["bucket-1", "bucket-2", "bucket-3", "zz9"]);

  const create = {
    vectorBucketName: "bucket-1",
    dimension: 1,
    distanceMetric: "DISTANCE_METRIC_DOT_PRODUCT",
    dataType: "DATA_TYPE_FLOAT32",
  };
  for (const indexName of ["0digit", "a-b", "alpha", "beta", "gamma"]) {
    await callNative(url, "IndexService/CreateIndex", { ...create, indexName });
  }
  const indexes = async (body: unknown) => {
    const answer = await sendOss(url, { method: "POST", bucket: "bucket-1", query: "listVectorIndexes", body });
    const shown = Array.from(
      (answer.body?.indexes ?? []) as unknown as { indexName: string }[],
      (each) => each.indexName,
    );
    return [shown, answer.body?.nextToken];
  };
  assert.deepEqual(await indexes({}), [["alpha", "beta", "gamma"], ""]);
  assert.deepEqual(await indexes({ nextToken: "alpha", maxResults: 1 }), [["beta"], "beta"]);
  assert.deepEqual(await indexes({ prefix: "a" }), [["alpha"], ""]);
});
