import assert from "node:assert/strict";
import { test } from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { WITH_PYTHON } from "../support/python.ts";
import { OPERATIONS } from "./operations.ts";
import {
  type ClientCall,
  type ClientSetup,
  callClient,
  callNative,
  createSigningKey,
  SERVER_ACCOUNT,
  type Told,
  withSecretsKey,
} from "./support.ts";

const B = { bucket: "my-bucket" };
const I = { ...B, index_name: "idx" };
const FUSION = { ...B, index_name: "fusion" };
const POLICY = `{"Version": "1", "Statement": [{"Action": ["oss:PutVectors"], "Effect": "Deny", "Principal": ["*"], "Resource": ["acs:ossvector:*:${SERVER_ACCOUNT}:my-bucket/other"]}]}`;
const VECTORS = [
  { key: "k1", data: { float32: [1, 0, 0.1] }, metadata: { type: "a", tags: ["x", "y"], text: "long" } },
  { key: "k2", data: { float32: [0, 1, 0] }, metadata: { type: "b" } },
  { key: "k3", data: { float32: [0, 0, -2] } },
];

/** Each operation, so that each has what it needs; with the status and what matters of the answer. */
const TOUR: readonly (readonly [call: ClientCall, status: number, value: unknown])[] = [
  [["PutVectorBucket", { ...B, bucket_tagging: "team=a%20b&x=", resource_group_id: "rg-1" }], 200, {}],
  [["GetVectorBucket", B], 200, undefined],
  [["ListVectorBuckets", { prefix: "my" }], 200, undefined],
  [
    [
      "PutVectorIndex",
      {
        ...I,
        data_type: "float32",
        dimension: 3,
        distance_metric: "cosine",
        metadata: { nonFilterableMetadataKeys: ["text"] },
      },
    ],
    200,
    {},
  ],
  [["GetVectorIndex", I], 200, undefined],
  [["ListVectorIndexes", B], 200, undefined],
  [["PutVectors", { ...I, vectors: VECTORS }], 200, {}],
  [
    ["GetVectors", { ...I, keys: ["k1", "none", "k1"], return_data: true, return_metadata: true }],
    200,
    { vectors: [{ key: "k1", data: { float32: [1, 0, Math.fround(0.1)] }, metadata: VECTORS[0]?.metadata }] },
  ],
  [["GetVectors", { ...I, keys: ["k3"], return_metadata: true }], 200, { vectors: [{ key: "k3", metadata: {} }] }],
  [["ListVectors", I], 200, { vectors: [{ key: "k1" }, { key: "k2" }, { key: "k3" }], next_token: "" }],
  [
    ["QueryVectors", { ...I, top_k: 2, query_vector: { float32: [0, 3, 0] }, return_distance: true }],
    200,
    {
      vectors: [
        { key: "k2", distance: 0 },
        { key: "k1", distance: 1 },
      ],
    },
  ],
  [
    [
      "QueryVectors",
      {
        ...I,
        top_k: 9,
        query_vector: { float32: [0, 3, 0] },
        return_metadata: true,
        filter: { $and: [{ type: { $in: ["a"] } }, { tags: { $eq: "y" } }] },
      },
    ],
    200,
    { vectors: [{ key: "k1", metadata: VECTORS[0]?.metadata }] },
  ],
  [["DeleteVectors", { ...I, keys: ["k1", "none"] }], 204, {}],
  [["PutBucketPolicy", { ...B, body: POLICY }], 200, {}],
  [["GetBucketPolicy", B], 200, undefined],
  [["DeleteBucketPolicy", B], 204, {}],
  [["GetBucketLogging", B], 200, { bucket_logging_status: { logging_enabled: null } }],
  [["DeleteBucketLogging", B], 204, {}],
  [["DeleteVectorIndex", I], 204, {}],
  [["DeleteVectorBucket", B], 204, {}],
];

const REFUSED: readonly ClientCall[] = [
  ["PutBucketLogging", { ...B, logging_enabled: { target_bucket: "logs", target_prefix: "p" } }],
  ["PutVectorIndexFusion", { ...FUSION, schema_configuration: {} }],
  ["QueryVectorsFusion", { ...FUSION, query_vector_list: [] }],
];

/** One outcome of each call of the tour, which must be right. */
async function takeTour(url: string, setup: ClientSetup): Promise<Readonly<Record<string, Told>>> {
  const outcomes = await callClient(
    url,
    setup,
    TOUR.map(([call]) => call),
  );
  for (const [i, outcome] of outcomes.entries()) {
    const [[operation], status, value] = TOUR[i] ?? assert.fail();
    assert.deepEqual([outcome.status, outcome.attempts], [status, 1], `${operation}: ${JSON.stringify(outcome)}`);
    assert.match(`${outcome.requestId}`, /^[\w-]{36}$/);
    if (value !== undefined) assert.deepEqual(outcome.value, value, operation);
  }
  const named = Object.fromEntries(TOUR.map(([[operation]], i) => [operation, outcomes[i] as Told]));
  const bucket = named.GetVectorBucket?.value?.bucket_info;
  assert.deepEqual(
    [bucket?.name, bucket?.region, bucket?.location, bucket?.resource_group_id],
    [`acs:ossvector:us-east-1:${SERVER_ACCOUNT}:my-bucket`, "us-east-1", "oss-us-east-1", "rg-1"],
  );
  assert.ok(Math.abs(Date.parse(`${bucket?.creation_date}`) - Date.now()) < 600_000);
  assert.deepEqual(named.ListVectorBuckets?.value?.buckets, [bucket]);
  const { createTime, ...index } = (named.GetVectorIndex?.value?.index ?? {}) as Readonly<Record<string, unknown>>;
  assert.match(`${createTime}`, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual(index, {
    vectorBucketName: "my-bucket",
    indexName: "idx",
    dataType: "float32",
    dimension: 3,
    distanceMetric: "cosine",
    metadata: { nonFilterableMetadataKeys: ["text"] },
    status: "enable",
  });
  assert.deepEqual(named.ListVectorIndexes?.value?.indexes, [{ createTime, ...index }]);
  assert.deepEqual(JSON.parse(`${named.GetBucketPolicy?.value?.body}`), JSON.parse(POLICY));
  return named;
}

test("each operation of the official client works or is refused, as the table says", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const served = Object.keys(await takeTour(url, {}));
  const setup: ClientCall = ["PutVectorBucket", B];
  const [, ...refused] = await callClient(url, { retries: 1 }, [setup, ...REFUSED]);
  for (const [i, outcome] of refused.entries()) {
    assert.deepEqual([outcome.status, outcome.code, outcome.ec], [501, "NotImplemented", "NOT_IMPLEMENTED"], `${i}`);
  }
  const inTable = (isServed: boolean) =>
    OPERATIONS.filter(({ status }) => (status !== "not offered") === isServed).map(({ operation }) => operation);
  assert.deepEqual(served.sort(), inTable(true).sort());
  assert.deepEqual(REFUSED.map(([operation]) => operation).sort(), inTable(false).sort());
});

test("the official client reaches the server as its HTTP proxy", WITH_PYTHON, async (t) => {
  await takeTour(await startCompatServer(t), { via: "proxy" });
});

test("tags and a resource group are tags of the bucket, and lists are cut to a group", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const [, , mine, others] = await callClient(url, {}, [
    ["PutVectorBucket", { ...B, bucket_tagging: "team=a%20b&x=", resource_group_id: "rg-1" }],
    ["PutVectorBucket", { bucket: "my-other" }],
    ["ListVectorBuckets", { resource_group_id: "rg-1" }],
    ["ListVectorBuckets", { resource_group_id: "rg-2" }],
  ]);
  const { vectorBucket } = await callNative(url, "BucketService/GetVectorBucket", { vectorBucketName: "my-bucket" });
  assert.deepEqual(vectorBucket?.tags, { team: "a b", x: "", "x-oss-resource-group-id": "rg-1" });
  assert.equal(mine?.value?.buckets?.length, 1);
  assert.equal(others?.value?.buckets?.length, 0);
});

test("the official client's paginators come to every item once", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const key = (i: number) => `k${`${i}`.padStart(2, "0")}`;
  const vectors = Array.from({ length: 25 }, (_, i) => ({ key: key(i), data: { float32: [i, 1] } }));
  const outcomes = await callClient(url, {}, [
    ...["bucket-a", "bucket-b", "bucket-c"].map((bucket) => ["PutVectorBucket", { bucket }] as const),
    ...["a", "b", "c"].map(
      (index_name) => ["PutVectorIndex", { bucket: "bucket-a", index_name, dimension: 2 }] as const,
    ),
    ["PutVectors", { bucket: "bucket-a", index_name: "a", vectors }],
    ["pages of ListVectorBuckets", { limit: 2 }],
    ["pages of ListVectorIndexes", { bucket: "bucket-a", limit: 1 }],
    ["pages of ListVectors", { bucket: "bucket-a", index_name: "a", limit: 10 }],
    ...[0, 1, 2].map(
      (segment_index) =>
        ["ListVectors", { bucket: "bucket-a", index_name: "a", segment_count: 3, segment_index }] as const,
    ),
  ]);
  const pagesOf = (i: number, list: string, name: string) =>
    ((outcomes[i]?.pages ?? []) as unknown as Told[]).map((page) =>
      (page[list] as unknown as Told[]).map((item) => `${item[name]}`.split(":").at(-1)),
    );
  assert.deepEqual(pagesOf(7, "buckets", "name"), [["bucket-a", "bucket-b"], ["bucket-c"]]);
  assert.deepEqual(pagesOf(8, "indexes", "indexName"), [["a"], ["b"], ["c"]]);
  const keys = vectors.map((vector) => vector.key);
  assert.deepEqual(pagesOf(9, "vectors", "key"), [keys.slice(0, 10), keys.slice(10, 20), keys.slice(20)]);
  const segments = outcomes.slice(10).flatMap(({ value }) => value?.vectors as unknown as { key: string }[]);
  assert.deepEqual(segments.map((vector) => vector.key).sort(), keys);
});

test("the official client's errors carry the code, the message and the request's id", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t, ["--max-indexes-per-bucket", "2"]);
  const index = { ...I, dimension: 3 };
  const none = { ...B, index_name: "none" };
  const query = { ...I, top_k: 1, query_vector: { float32: [1, 1, 1] } };
  const nan = [{ key: "k", data: { float32: [Number.NaN, 1, 1].map(String) } }];
  const setup: readonly ClientCall[] = [
    ["PutVectorBucket", B],
    ["PutVectorIndex", index],
    ["PutVectorIndex", { ...index, index_name: "idx2" }],
  ];
  const rows: readonly (readonly [call: ClientCall, status: number, code: string, message?: string])[] = [
    [["PutVectorBucket", B], 409, "BucketNameNotAvailable"],
    [["DeleteVectorBucket", B], 409, "BucketNotEmpty", "The bucket you tried to delete is not empty."],
    [["GetVectorBucket", { bucket: "no-bucket" }], 404, "NoSuchBucket", "The specified bucket does not exist."],
    [["DeleteVectorBucket", { bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["GetBucketPolicy", { bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["PutBucketPolicy", { bucket: "no-bucket", body: '{"Version":"1","Statement":[]}' }], 404, "NoSuchBucket"],
    [["GetBucketLogging", { bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["DeleteBucketLogging", { bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["ListVectorIndexes", { bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["PutVectorIndex", { ...index, bucket: "no-bucket" }], 404, "NoSuchBucket"],
    [["PutVectors", { ...I, bucket: "no-bucket", vectors: VECTORS }], 404, "NoSuchBucket"],
    [["GetBucketPolicy", B], 404, "NoSuchBucketPolicy"],
    [["PutBucketPolicy", { ...B, body: '{"Version":"2","Statement":[]}' }], 400, "InvalidPolicyDocument"],
    [["PutBucketPolicy", { ...B, body: "{" }], 400, "MalformedJson"],
    [["ListVectorBuckets", { max_keys: 1001 }], 400, "InvalidArgument"],
    [["PutVectorIndex", index], 409, "VectorBucketIndexAlreadyExist"],
    [["PutVectorIndex", { ...index, index_name: "idx3" }], 400, "VectorBucketIndexExceedLimit"],
    [["GetVectorIndex", none], 404, "NoSuchVectorIndex", "The specified vector index does not exist."],
    [["DeleteVectorIndex", none], 404, "NoSuchVectorIndex"],
    [["PutVectors", { ...none, vectors: VECTORS }], 404, "NoSuchVectorIndex"],
    [["GetVectors", { ...none, keys: ["k"] }], 404, "NoSuchVectorIndex"],
    [["ListVectors", none], 404, "NoSuchVectorIndex"],
    [["DeleteVectors", { ...none, keys: ["k"] }], 404, "NoSuchVectorIndex"],
    [["QueryVectors", { ...query, index_name: "none" }], 404, "NoSuchVectorIndex"],
    [["PutVectors", { ...I, vectors: nan }], 400, "VectorIndexParameterInvalid"],
    [["QueryVectors", { ...query, filter: { a: { $near: 1 } } }], 400, "VectorIndexParameterInvalid"],
    [
      ["QueryVectors", { ...query, query_vector: { float32: [1] } }],
      400,
      "VectorIndexParameterInvalid",
      'queryVector.float32: Must have 3 values, the dimension of index "my-bucket/idx", got 1',
    ],
    [["ListVectors", { ...I, next_token: "x" }], 400, "VectorIndexParameterInvalid"],
  ];
  const outcomes = await callClient(url, {}, [...setup, ...rows.map(([call]) => call)]);
  for (const [i, [call, status, code, message]] of rows.entries()) {
    const outcome = outcomes[setup.length + i] ?? assert.fail();
    const { error, attempts } = outcome;
    const found = { error, attempts, status: outcome.status, code: outcome.code };
    const expected = { error: ["OperationError", "ServiceError"], attempts: 1, status, code };
    assert.deepEqual(found, expected, `${JSON.stringify(call)}: ${JSON.stringify(outcome)}`);
    if (message !== undefined) assert.equal(outcome.message, message);
    assert.match(`${outcome.requestId}`, /^[\w-]{36}$/);
    assert.match(`${outcome.ec}`, /^[A-Z_]+$/);
  }
});

test("the official client tries again when a rate is exceeded, as often as it is set to", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t, ["--vectors-per-second-per-index", "1"]);
  const many = Array.from({ length: 500 }, (_, i) => ({ key: `${i}`, data: { float32: [1] } }));
  const put: ClientCall = ["PutVectors", { ...I, vectors: many }];
  const [, , first, second] = await callClient(url, {}, [
    ["PutVectorBucket", B],
    ["PutVectorIndex", { ...I, dimension: 1 }],
    // From then on the index has a debt of eight minutes.
    put,
    put,
  ]);
  assert.equal(first?.status, 200);
  assert.deepEqual(
    [second?.status, second?.code, second?.ec, second?.attempts],
    [503, "QpsLimitExceeded", "RATE_LIMIT", 3],
  );
  for (const retries of [1, 5]) {
    const [outcome] = await callClient(url, { retries }, [put]);
    assert.deepEqual([outcome?.code, outcome?.attempts], ["QpsLimitExceeded", retries]);
  }
});

test("a signing key lets the official client in, and nothing else does", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t, withSecretsKey());
  const admin = await createSigningKey(url);
  for (const via of ["resolver", "proxy"] as const) await takeTour(url, { via, ...admin });
  await takeTour(url, { ...admin, additionalHeaders: ["Host", "user-agent"] });
  // The name of an endpoint may look like that of a bucket, and parameters be in no order.
  const sorted: ClientCall = ["ListVectorBuckets", { prefix: "0", max_keys: 9, marker: "a" }];
  const [listed] = await callClient(url, { ...admin, host: "server-1.localhost" }, [sorted]);
  assert.equal(listed?.status, 200);

  const refusalOf = async (setup: ClientSetup) => {
    const [outcome] = await callClient(url, { retries: 1, ...setup }, [["ListVectorBuckets"]]);
    return [outcome?.status, outcome?.code, outcome?.ec];
  };
  const invalid = (code: string) => [403, code, "CREDENTIALS_INVALID"];
  assert.deepEqual(await refusalOf({ ...admin, secret: "wrong" }), invalid("SignatureDoesNotMatch"));
  assert.deepEqual(await refusalOf({ ...admin, accessKeyId: "QKNONE" }), invalid("InvalidAccessKeyId"));
  const unsigned = await createSigningKey(url, { by: admin, allowSigning: false });
  assert.deepEqual(await refusalOf(unsigned), invalid("InvalidAccessKeyId"));

  const reader = await createSigningKey(url, { by: admin, role: "ACCESS_ROLE_READ_ONLY" });
  const [list, put] = await callClient(url, reader, [["ListVectorBuckets"], ["PutVectorBucket", B]]);
  assert.deepEqual([list?.status, put?.status, put?.code, put?.ec], [200, 403, "AccessDenied", "NOT_ALLOWED"]);

  const rotate = { accessKeyId: reader.accessKeyId, overlapSeconds: 600 };
  const rotated = await callNative(url, "AdminService/RotateAccessKey", rotate, admin.apiKey);
  for (const secret of [reader.secret, `${rotated.secretAccessKey}`]) {
    const [outcome] = await callClient(url, { ...reader, secret }, [["ListVectorBuckets"]]);
    assert.equal(outcome?.status, 200);
  }
  const { accessKeys } = await callNative(url, "AdminService/ListAccessKeys", {}, admin.apiKey);
  const keys = accessKeys as unknown as { accessKeyId: string; lastUseTime?: string }[];
  assert.ok(keys.find(({ accessKeyId }) => accessKeyId === reader.accessKeyId)?.lastUseTime);
  assert.equal(keys.find(({ accessKeyId }) => accessKeyId === unsigned.accessKeyId)?.lastUseTime, undefined);

  await callNative(url, "AdminService/DeleteAccessKey", { accessKeyId: reader.accessKeyId }, admin.apiKey);
  assert.deepEqual(await refusalOf(reader), invalid("InvalidAccessKeyId"));
});

test(
  "a server whose clock is more than 15 minutes off refuses the official client, which tries again",
  WITH_PYTHON,
  async (t) => {
    const offBy = (ms: number) => ({ now: () => Date.now() + ms });
    for (const [ms, code] of [
      [16 * 60_000, "RequestTimeTooSkewed"],
      [-16 * 60_000, "RequestTimeTooSkewed"],
      [10 * 60_000, undefined],
    ] as const) {
      const url = await startCompatServer(t, withSecretsKey(), offBy(ms));
      const [outcome] = await callClient(url, await createSigningKey(url), [["ListVectorBuckets"]]);
      assert.deepEqual([outcome?.code, outcome?.attempts], [code, code === undefined ? 1 : 3]);
    }
  },
);

test("a policy in the language of OSS decides what the official client may do", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t, withSecretsKey());
  const admin = await createSigningKey(url);
  const writer = await createSigningKey(url, { by: admin, role: "ACCESS_ROLE_READ_WRITE" });
  const policy = (action: string) =>
    JSON.stringify({
      Version: "1",
      Statement: [
        {
          Effect: "Deny",
          Action: [action],
          Principal: [writer.accessKeyId],
          Resource: [`acs:ossvector:*:${SERVER_ACCOUNT}:my-bucket/*`],
        },
      ],
    });
  const put: ClientCall = ["PutVectors", { ...I, vectors: VECTORS }];
  const made = await callClient(url, admin, [
    ["PutVectorBucket", B],
    ["PutVectorIndex", { ...I, dimension: 3 }],
    ["PutBucketPolicy", { ...B, body: policy("oss:PutVectors") }],
  ]);
  assert.deepEqual(
    made.map(({ status }) => status),
    [200, 200, 200],
  );
  const statuses = async () => (await callClient(url, writer, [put, ["ListVectors", I]])).map(({ status }) => status);
  assert.deepEqual(await statuses(), [403, 200]);
  const stored = await callNative(
    url,
    "BucketService/GetVectorBucketPolicy",
    { vectorBucketName: "my-bucket" },
    admin.apiKey,
  );
  assert.equal(stored.policy, policy("oss:PutVectors"));
  await callClient(url, admin, [["PutBucketPolicy", { ...B, body: policy("ossvector:ListVectors") }]]);
  assert.deepEqual(await statuses(), [200, 403]);
  const [byWriter] = await callClient(url, writer, [["DeleteBucketPolicy", B]]);
  assert.equal(byWriter?.code, "AccessDenied");
  await callClient(url, admin, [["DeleteBucketPolicy", B]]);
  assert.deepEqual(await statuses(), [200, 200]);
});
