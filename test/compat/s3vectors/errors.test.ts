import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@aws-sdk/client-s3vectors";
import { DistanceMetric } from "../../../gen/quiver/v1/resources_pb.ts";
import { answerError } from "../../../src/compat/s3vectors/errors.ts";
import { QuiverError, REASONS, type Reason } from "../../../src/errors.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { nativeClients, s3Client } from "./support.ts";

const BUCKET = { vectorBucketName: "my-bucket" };
const INDEX = { ...BUCKET, indexName: "my-index" };
const DEFINITION = { dataType: "float32", dimension: 2, distanceMetric: "cosine" } as const;
const ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/my-bucket";
const DATA = { float32: [1, 0] };

async function setUp(client: sdk.S3VectorsClient): Promise<void> {
  await client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  const metadataConfiguration = { nonFilterableMetadataKeys: ["text"] };
  await client.send(new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION, metadataConfiguration }));
}

type Class = abstract new (...args: never[]) => sdk.S3VectorsServiceException;

/** The error, of the class that Amazon's client makes of it. */
async function errorOf<E extends Class>(sent: Promise<unknown>, kind: E, message: string | RegExp) {
  const error = await sent.then(
    () => assert.fail("It was let in"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof kind, `${error}`);
  if (typeof message === "string") assert.equal(error.message, message);
  else assert.match(error.message, message);
  return error as InstanceType<E>;
}

test("what is not there, or there already, is told in Amazon's words", async (t) => {
  const url = await startCompatServer(t);
  const client = s3Client(t, url);
  const noBucket = "The specified vector bucket could not be found";
  const noIndex = "The specified index could not be found";
  const { NotFoundException, ConflictException } = sdk;
  const onIndex = () => [
    new sdk.GetIndexCommand(INDEX),
    new sdk.DeleteIndexCommand({ indexArn: `${ARN}/index/my-index` }),
    new sdk.PutVectorsCommand({ ...INDEX, vectors: [{ key: "k", data: DATA }] }),
    new sdk.GetVectorsCommand({ ...INDEX, keys: ["k"] }),
    new sdk.ListVectorsCommand(INDEX),
    new sdk.QueryVectorsCommand({ ...INDEX, topK: 1, queryVector: DATA }),
    new sdk.DeleteVectorsCommand({ ...INDEX, keys: ["k"] }),
  ];
  const onBucket = [
    new sdk.GetVectorBucketCommand(BUCKET),
    new sdk.DeleteVectorBucketCommand(BUCKET),
    new sdk.ListIndexesCommand(BUCKET),
    new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION }),
    new sdk.PutVectorBucketPolicyCommand({ ...BUCKET, policy: '{"Version":"2012-10-17","Statement":[]}' }),
    new sdk.GetVectorBucketPolicyCommand(BUCKET),
    new sdk.DeleteVectorBucketPolicyCommand(BUCKET),
    new sdk.ListTagsForResourceCommand({ resourceArn: ARN }),
  ];
  const send = (command: unknown) => client.send(command as sdk.GetIndexCommand);
  for (const command of onBucket) await errorOf(send(command), NotFoundException, noBucket);
  for (const command of onIndex()) await errorOf(send(command), NotFoundException, noIndex);
  await setUp(client);
  await client.send(new sdk.DeleteIndexCommand(INDEX));
  for (const command of onIndex()) {
    const error = await errorOf(send(command), NotFoundException, noIndex);
    assert.equal(error.$metadata.httpStatusCode, 404);
  }
  const noPolicy = "The specified vector bucket policy could not be found";
  await errorOf(client.send(new sdk.GetVectorBucketPolicyCommand(BUCKET)), NotFoundException, noPolicy);

  await client.send(new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION }));
  const again = client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  const exists = "A vector bucket with the specified name already exists";
  assert.equal((await errorOf(again, ConflictException, exists)).$metadata.httpStatusCode, 409);
  const indexAgain = client.send(new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION, dimension: 5 }));
  await errorOf(indexAgain, ConflictException, "An index with the specified name already exists");
  const full = client.send(new sdk.DeleteVectorBucketCommand(BUCKET));
  await errorOf(full, ConflictException, "The specified vector bucket is not empty");
  await nativeClients(url).indexes.updateIndex({ ...INDEX, deletionProtection: true });
  await errorOf(client.send(new sdk.DeleteIndexCommand(INDEX)), ConflictException, /protect/);
});

test("what is wrong with a request is told in Amazon's words, and changes nothing", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await setUp(client);
  const { ValidationException } = sdk;
  const put = (vector: unknown) => {
    const vectors = [{ key: "good", data: DATA }, vector as sdk.PutInputVector];
    return client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
  };
  const of = (float32: unknown) => ({ key: "k", data: { float32: float32 as number[] } });
  const having = (metadata: unknown) => ({ key: "k", data: DATA, metadata });
  const zero = "cosine distance does not support vectors with zero norm";
  const nan = "vector contains NaNs or Infs";
  const values = "Metadata values must be strings, numbers, booleans, or arrays";
  const elements = "Metadata array values must be strings or numbers";
  const nothing = "Empty arrays are not allowed in metadata";
  const wrong: readonly [unknown, string][] = [
    [of([1]), "vector must have length 2, but has length 1"],
    [of([1, 2, 3]), "vector must have length 2, but has length 3"],
    [of([]), "vector must have length 2, but has length 0"],
    [of([0, 0]), zero],
    [of([1e-46, 1e-46]), zero],
    [of([Number.NaN, 1]), nan],
    [of([Number.POSITIVE_INFINITY, 1]), nan],
    [of([1, Number.NEGATIVE_INFINITY]), nan],
    [of([1e39, 1]), nan],
    [having({ a: null }), values],
    [having({ text: null }), values],
    [having({ text: { nested: 1 } }), values],
    [having({ a: [] }), nothing],
    [having({ text: [] }), nothing],
    [having({ a: [1, "a"] }), elements],
    [having({ a: ["a", 1] }), elements],
    [having({ a: [true] }), elements],
    [having({ text: [null] }), elements],
    [having("text"), "Metadata must be an object"],
    [having([1]), "Metadata must be an object"],
  ];
  for (const [vector, problem] of wrong) {
    const error = await errorOf(put(vector), ValidationException, `Invalid record for key 'k': ${problem}`);
    assert.deepEqual(error.fieldList, [{ path: "vectors[1]", message: problem }]);
  }
  assert.deepEqual((await client.send(new sdk.ListVectorsCommand(INDEX))).vectors, []);

  const query = (float32: number[]) =>
    client.send(new sdk.QueryVectorsCommand({ ...INDEX, topK: 1, queryVector: { float32 } }));
  for (const [float32, problem] of [
    [[1], "vector must have length 2, but has length 1"],
    [[0, 0], zero],
    [[Number.NaN, 1], nan],
    [[1e39, 1], nan],
  ] as const) {
    const message = "Query vector contains invalid values or is invalid for this index";
    const error = await errorOf(query([...float32]), ValidationException, message);
    assert.deepEqual(error.fieldList, [{ path: "vector", message: `Invalid input: ${problem}` }]);
  }

  const bucket = (reference: object) => client.send(new sdk.GetVectorBucketCommand(reference));
  const one = "Must specify either vectorBucketName or vectorBucketArn but not both";
  for (const reference of [{}, { ...BUCKET, vectorBucketArn: ARN }]) {
    await errorOf(bucket(reference), ValidationException, one);
  }
  const index = (reference: object) => client.send(new sdk.GetIndexCommand(reference));
  const both = "Must specify either indexArn or both vectorBucketName and indexName";
  const indexArn = `${ARN}/index/my-index`;
  for (const reference of [{}, BUCKET, { indexName: "my-index" }, { ...INDEX, indexArn }, { ...BUCKET, indexArn }]) {
    await errorOf(index(reference), ValidationException, both);
  }
  const pattern = /^1 validation error detected. Value at '\/indexArn' .* regular expression pattern: arn:aws/;
  for (const wrongArn of [ARN, `${indexArn}/x`, "arn", `${ARN}/index/A`]) {
    await errorOf(index({ indexArn: wrongArn }), ValidationException, pattern);
  }
  const foreign = "arn:aws:s3vectors:eu-central-1:000000000000:bucket/my-bucket";
  await errorOf(bucket({ vectorBucketArn: foreign }), ValidationException, /us-east-1/);

  const missing = client.send(new sdk.CreateIndexCommand({ ...BUCKET } as sdk.CreateIndexCommandInput));
  const error = await errorOf(
    missing,
    ValidationException,
    /^4 validation errors detected. Value null at '\/indexName'/,
  );
  assert.deepEqual(
    error.fieldList?.map(({ path }) => path),
    ["/indexName", "/dataType", "/dimension", "/distanceMetric"],
  );
  const short = await errorOf(
    client.send(new sdk.GetVectorBucketCommand({ vectorBucketName: "ab" })),
    ValidationException,
    "1 validation error detected. Value with length 2 at '/vectorBucketName' failed to satisfy constraint: Member must have length between 3 and 63, inclusive",
  );
  assert.deepEqual(
    short.fieldList?.map(({ path }) => path),
    ["/vectorBucketName"],
  );
  const policy = client.send(new sdk.PutVectorBucketPolicyCommand({ ...BUCKET, policy: "{}" }));
  await errorOf(policy, ValidationException, /Version must be/);
});

test("what may be strange in metadata and keys is kept as it is", async (t) => {
  const url = await startCompatServer(t);
  await setUp(s3Client(t, url));
  const metadata =
    '{"":"empty","$eq":"x","__proto__":"p","a.b":1,"b":false,"constructor":"c","dup":["a","a"],"n":-1.5,"toString":[""]}';
  // The client would lose a "__proto__".
  const post = async (operation: string, body: string) => {
    const names = '"vectorBucketName":"my-bucket","indexName":"my-index"';
    const answer = await fetch(`${url}/${operation}`, { method: "POST", body: `{${names},${body}}` });
    return answer.text();
  };
  for (const key of ["__proto__", "constructor", "\u0000", " ", "a/b"].map((each) => JSON.stringify(each))) {
    const vector = `{"key":${key},"data":{"float32":[1,0]},"metadata":${metadata}}`;
    assert.equal(await post("PutVectors", `"vectors":[${vector}]`), "{}");
    const answer = await post("GetVectors", `"keys":[${key}],"returnMetadata":true,"returnData":true`);
    assert.equal(answer, `{"vectors":[${vector}]}`);
  }
});

test("a body that is not what the protocol means is a SerializationException", async (t) => {
  const url = await startCompatServer(t);
  await setUp(s3Client(t, url));
  const names = '"vectorBucketName":"my-bucket","indexName":"my-index"';
  const bodies: readonly [string, string][] = [
    ["PutVectors", "{"],
    ["PutVectors", "[]"],
    ["PutVectors", '"x"'],
    ["PutVectors", `{${names},"vectors":{}}`],
    ["PutVectors", `{${names},"vectors":[1]}`],
    ["PutVectors", `{${names},"vectors":[null]}`],
    ["PutVectors", `{${names},"vectors":[{"key":1,"data":{"float32":[1,0]}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":{"float32":[1,null]}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":{"float32":[1,"nan"]}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":{"float32":"1"}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":[1,0]}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"\\ud800","data":{"float32":[1,0]}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":{"float32":[1,0]},"metadata":{"a":"\\udc00"}}]}`],
    ["PutVectors", `{${names},"vectors":[{"key":"k","data":{"float32":[1,0]},"metadata":{"a":["\\udc00"]}}]}`],
    ["QueryVectors", `{${names},"topK":"5","queryVector":{"float32":[1,0]}}`],
    ["QueryVectors", `{${names},"topK":1.5,"queryVector":{"float32":[1,0]}}`],
    ["QueryVectors", `{${names},"topK":5,"queryVector":{"float32":[1,0]},"returnDistance":"yes"}`],
    ["GetVectors", `{${names},"keys":"k"}`],
    ["GetVectors", `{${names},"keys":[1]}`],
    ["GetVectors", `{${names},"keys":["\\ud800"]}`],
    ["CreateVectorBucket", '{"vectorBucketName":1}'],
    ["CreateVectorBucket", '{"vectorBucketName":"abc","tags":[]}'],
    ["CreateVectorBucket", '{"vectorBucketName":"abc","tags":{"a":1}}'],
    ["CreateVectorBucket", '{"vectorBucketName":"abc","encryptionConfiguration":"AES256"}'],
  ];
  for (const [operation, body] of bodies) {
    const answer = await fetch(`${url}/${operation}`, { method: "POST", body });
    const { message } = (await answer.json()) as { message: string };
    assert.equal(answer.headers.get("x-amzn-errortype"), "SerializationException", `${body}: ${message}`);
    assert.equal(answer.status, 400);
    assert.match(answer.headers.get("x-amzn-requestid") ?? "", /^[0-9a-f-]{36}$/);
  }
  const compressed = await fetch(`${url}/GetVectors`, {
    method: "POST",
    body: "x",
    headers: { "content-encoding": "gzip" },
  });
  assert.equal(compressed.headers.get("x-amzn-errortype"), "SerializationException");
});

test("what is no operation is told so, and nothing of others is taken", async (t) => {
  const url = await startCompatServer(t);
  for (const [method, path] of [
    ["POST", "/s3vectors/NoSuch"],
    ["POST", "/s3vectors"],
    ["GET", "/s3vectors/GetIndex"],
    ["PUT", "/s3vectors/tags/arn"],
    ["POST", "/UpdateIndexMode"],
    ["POST", "/PutVectorBucketDefaultIndexMode"],
    ["POST", "/UpdateMetadataConfiguration"],
  ]) {
    const answer = await fetch(url + path, { method: method ?? "", body: method === "GET" ? null : "{}" });
    assert.deepEqual(
      [answer.status, answer.headers.get("x-amzn-errortype")],
      [404, "UnknownOperationException"],
      `${method} ${path}`,
    );
    assert.match(((await answer.json()) as { message: string }).message, /does not offer/);
  }
  for (const [method, path] of [
    ["GET", "/GetIndex"],
    ["POST", "/NoSuch"],
    ["GET", "/livez"],
    ["GET", "/s3vectorsX"],
  ]) {
    const answer = await fetch(url + path, { method: method ?? "" });
    assert.equal(answer.headers.get("x-amzn-errortype"), null, `${method} ${path}`);
  }
});

test("a client asks three times for what is refused for now, and once for all else", async (t) => {
  const url = await startCompatServer(t, ["--requests-per-second-per-index", "1"]);
  const client = s3Client(t, url);
  await setUp(client);
  const gets = Array.from({ length: 8 }, () => client.send(new sdk.GetIndexCommand(INDEX)));
  const refused = (await Promise.allSettled(gets)).flatMap((each) => (each.status === "rejected" ? each.reason : []));
  assert.ok(refused.length > 0);
  for (const error of refused) {
    assert.ok(error instanceof sdk.TooManyRequestsException, `${error}`);
    assert.deepEqual([error.$metadata.httpStatusCode, error.$metadata.attempts], [429, 3]);
    assert.match(error.$response?.headers["retry-after"] ?? "", /^\d+$/);
  }
  const wrong = await errorOf(client.send(new sdk.GetVectorBucketCommand({})), sdk.ValidationException, /./);
  assert.equal(wrong.$metadata.attempts, 1);

  const seats = { read: 0, search: 0, write: 0, stream: 0 };
  const busy = await startCompatServer(t, [], { admission: { seats, waitingMax: 0 } });
  const overloaded = s3Client(t, busy).send(new sdk.GetIndexCommand(INDEX));
  const error = await errorOf(overloaded, sdk.ServiceUnavailableException, /./);
  assert.deepEqual([error.$metadata.httpStatusCode, error.$metadata.attempts], [503, 3]);
});

test("quotas are told as such", async (t) => {
  const client = s3Client(
    t,
    await startCompatServer(t, ["--max-vectors-per-index", "1", "--max-indexes-per-bucket", "1"]),
  );
  await setUp(client);
  const vectors = ["a", "b"].map((key) => ({ key, data: DATA }));
  const { ServiceQuotaExceededException } = sdk;
  const put = client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
  assert.equal((await errorOf(put, ServiceQuotaExceededException, /./)).$metadata.httpStatusCode, 402);
  const create = client.send(new sdk.CreateIndexCommand({ ...BUCKET, indexName: "second", ...DEFINITION }));
  await errorOf(create, ServiceQuotaExceededException, /./);
});

test("every reason is an exception of Amazon's with its status", () => {
  const operation = { name: "PutVectors", kind: "write", maxBytes: 0, serve: () => ({ status: 200 }) } as const;
  const byStatus: Readonly<Record<number, RegExp>> = {
    400: /^(Validation|Serialization)Exception$/,
    402: /^ServiceQuotaExceededException$/,
    403: /^AccessDeniedException$/,
    404: /^(NotFound|UnknownOperation)Exception$/,
    408: /^RequestTimeoutException$/,
    409: /^ConflictException$/,
    429: /^TooManyRequestsException$/,
    500: /^InternalServerException$/,
    503: /^ServiceUnavailableException$/,
  };
  for (const reason of Object.keys(REASONS) as Reason[]) {
    const { status, headers, body } = answerError(new QuiverError(reason, "why", { retryAfterMs: 1_001 }), operation);
    assert.match(headers?.["x-amzn-errortype"] ?? "", byStatus[status] ?? /^$/, reason);
    assert.equal(headers?.["retry-after"], "2");
    assert.ok((body as { message: string }).message !== "");
  }
});

test("indexes of another API are shown as far as Amazon's clients can name them", async (t) => {
  const url = await startCompatServer(t);
  const client = s3Client(t, url);
  const native = nativeClients(url);
  for (const vectorBucketName of ["my-bucket", "My_Bucket", "ab", "dotted.bucket"]) {
    await native.buckets.createVectorBucket({ vectorBucketName });
  }
  const { vectorBuckets } = await client.send(new sdk.ListVectorBucketsCommand({}));
  assert.deepEqual(
    vectorBuckets?.map(({ vectorBucketName }) => vectorBucketName),
    ["my-bucket"],
  );
  // Also where a page has nothing that may be shown.
  const names: (string | undefined)[] = [];
  for await (const page of sdk.paginateListVectorBuckets({ client, pageSize: 1 }, {})) {
    names.push(...(page.vectorBuckets ?? []).map(({ vectorBucketName }) => vectorBucketName));
  }
  assert.deepEqual(names, ["my-bucket"]);
  for (const indexName of ["dots", "Upper", "x", "under_score"]) {
    await native.indexes.createIndex({
      ...BUCKET,
      indexName,
      dimension: 5_000,
      dataType: 1,
      distanceMetric: DistanceMetric.DOT_PRODUCT,
    });
  }
  const { indexes } = await client.send(new sdk.ListIndexesCommand(BUCKET));
  assert.deepEqual(
    indexes?.map(({ indexName }) => indexName),
    ["dots"],
  );
  const dots = { ...BUCKET, indexName: "dots" };
  const { index } = await client.send(new sdk.GetIndexCommand(dots));
  assert.deepEqual([index?.dimension, `${index?.distanceMetric}`], [5_000, "dot_product"]);
  await native.vectors.putVectors({
    ...dots,
    vectors: [{ key: "sparse", sparse: { indices: [1], values: [1] }, metadata: { nested: 1 } }],
  });
  const float32 = Array.from({ length: 5_000 }, () => 1);
  await client.send(new sdk.PutVectorsCommand({ ...dots, vectors: [{ key: "dense", data: { float32 } }] }));
  const listed = await client.send(new sdk.ListVectorsCommand({ ...dots, returnData: true, returnMetadata: true }));
  assert.deepEqual(listed.vectors, [
    { key: "dense", data: { float32 }, metadata: {} },
    { key: "sparse", metadata: { nested: 1 } },
  ]);
  const found = await client.send(
    new sdk.QueryVectorsCommand({ ...dots, topK: 9, queryVector: { float32 }, returnDistance: true }),
  );
  assert.deepEqual(found.vectors, [{ key: "dense", distance: -5_000 }]);
  assert.equal(`${found.distanceMetric}`, "dot_product");
});
