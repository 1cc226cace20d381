import assert from "node:assert/strict";
import { test } from "node:test";
import { runPython, WITH_PYTHON } from "../support/python.ts";
import { OPERATIONS } from "./operations.ts";
import { startSigningServer } from "./support.ts";

const BUCKET_ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/boto-bucket";
const KEYS = Array.from({ length: 150 }, (_, i) => `k${`${i}`.padStart(3, "0")}`);

test("boto3 does all that works, signed with an access key", WITH_PYTHON, async (t) => {
  const { url, credentials } = await startSigningServer(t, {}, [
    "--vectors-per-second-per-index",
    "20",
    "--max-indexes-per-bucket",
    "1",
  ]);
  const { called, operations, bucketCreated, requestId, throttled, nearest, failures, ...results } = (await runPython(
    "s3vectors.py",
    [url],
    { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey },
  )) as Record<string, unknown> & {
    called: string[];
    operations: string[];
    throttled: [number, number][];
    failures: unknown[];
  };
  const notOffered = OPERATIONS.filter(({ status }) => status === "not offered");
  assert.deepEqual(operations, OPERATIONS.map(({ operation }) => operation).sort());
  assert.deepEqual(called, operations);
  assert.match(`${requestId}`, /^[0-9a-f-]{36}$/);
  assert.ok(Math.abs(Number(bucketCreated) * 1_000 - Date.now()) < 600_000);
  assert.ok(Math.abs(Number(nearest)) < 1e-6);
  assert.deepEqual(results, {
    created: { vectorBucketArn: BUCKET_ARN },
    bucket: {
      vectorBucketName: "boto-bucket",
      vectorBucketArn: BUCKET_ARN,
      encryptionConfiguration: { sseType: "AES256" },
    },
    buckets: ["boto-bucket"],
    policyKept: true,
    index: { indexArn: `${BUCKET_ARN}/index/boto-index` },
    described: {
      vectorBucketName: "boto-bucket",
      indexName: "boto-index",
      indexArn: `${BUCKET_ARN}/index/boto-index`,
      dataType: "float32",
      dimension: 3,
      distanceMetric: "cosine",
      metadataConfiguration: { nonFilterableMetadataKeys: ["text"] },
      encryptionConfiguration: { sseType: "AES256" },
    },
    indexes: ["boto-index"],
    got: [{ key: "k001", data: { float32: [1, 1 / 128, 0] }, metadata: { i: 1, text: "ü", tags: ["a"] } }],
    listed: [KEYS.slice(0, 40), KEYS.slice(40, 80), KEYS.slice(80, 120), KEYS.slice(120)],
    queried: [KEYS.slice(0, 100), KEYS.slice(100)],
    metric: "cosine",
    filtered: [
      ["k140", 140],
      ["k141", 141],
      ["k142", 142],
    ],
    tags: { "a b": "c/d", more: "" },
    tagsLeft: { more: "" },
    notOffered: Object.fromEntries(notOffered.map(({ operation }) => [operation, ["UnknownOperationException", 404]])),
    denied: 403,
    left: [],
  });
  const message = "vector contains NaNs or Infs";
  assert.deepEqual(failures.slice(0, 6), [
    { kind: "NotFoundException", status: 404, message: "The specified index could not be found", fields: [] },
    {
      kind: "ConflictException",
      status: 409,
      message: "A vector bucket with the specified name already exists",
      fields: [],
    },
    { kind: "ConflictException", status: 409, message: "The specified vector bucket is not empty", fields: [] },
    {
      kind: "ValidationException",
      status: 400,
      message: "Invalid record for key 'k': vector must have length 3, but has length 2",
      fields: ["vectors[0]"],
    },
    {
      kind: "ValidationException",
      status: 400,
      message: "Request must not contain duplicate keys",
      fields: ["keys"],
    },
    {
      kind: "ValidationException",
      status: 400,
      message: `Invalid record for key 'k': ${message}`,
      fields: ["vectors[0]"],
    },
  ]);
  const { kind, status: code } = failures[6] as { kind: string; status: number };
  assert.deepEqual([kind, code], ["ServiceQuotaExceededException", 402]);
  assert.deepEqual(throttled, [
    [429, 0],
    [429, 2],
  ]);
});
