import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@aws-sdk/client-s3vectors";
import { startCompatServer } from "../support/compat-server.ts";
import { s3Client } from "./support.ts";

const BUCKET = { vectorBucketName: "limits" };
const INDEX = { ...BUCKET, indexName: "main" };
const DEFINITION = { dataType: "float32", dimension: 2, distanceMetric: "cosine" } as const;
const DATA = { float32: [1, 0] };

type Metadata = Exclude<NonNullable<sdk.PutInputVector["metadata"]>, string>;
type Send = (client: sdk.S3VectorsClient) => Promise<unknown>;

/** An index of dimension 2 with the non-filterable key "text". */
async function setUp(client: sdk.S3VectorsClient): Promise<void> {
  await client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  const metadataConfiguration = { nonFilterableMetadataKeys: ["text"] };
  await client.send(new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION, metadataConfiguration }));
}

let made = 0;
const newName = () => `n${++made}`.padEnd(3, "0");

const createBucket = (request: Partial<sdk.CreateVectorBucketCommandInput>): Send => {
  return (client) => client.send(new sdk.CreateVectorBucketCommand({ vectorBucketName: newName(), ...request }));
};
const createIndex = (request: Partial<sdk.CreateIndexCommandInput>): Send => {
  const definition = { ...BUCKET, indexName: newName(), ...DEFINITION };
  return (client) => client.send(new sdk.CreateIndexCommand({ ...definition, ...request }));
};
const put = (vectors: sdk.PutInputVector[]): Send => {
  return (client) => client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
};
const putMetadata = (metadata: Metadata) => put([{ key: "k", data: DATA, metadata }]);
const putKey = (key: string) => put([{ key, data: DATA }]);
const get = (keys: string[]): Send => {
  return (client) => client.send(new sdk.GetVectorsCommand({ ...INDEX, keys }));
};
const remove = (keys: string[]): Send => {
  return (client) => client.send(new sdk.DeleteVectorsCommand({ ...INDEX, keys }));
};
const list = (request: Partial<sdk.ListVectorsCommandInput>): Send => {
  return (client) => client.send(new sdk.ListVectorsCommand({ ...INDEX, ...request }));
};
const listBuckets = (request: sdk.ListVectorBucketsCommandInput): Send => {
  return (client) => client.send(new sdk.ListVectorBucketsCommand(request));
};
const listIndexes = (request: Partial<sdk.ListIndexesCommandInput>): Send => {
  return (client) => client.send(new sdk.ListIndexesCommand({ ...BUCKET, ...request }));
};
const query = (request: Partial<sdk.QueryVectorsCommandInput>): Send => {
  return (client) => client.send(new sdk.QueryVectorsCommand({ ...INDEX, queryVector: DATA, topK: 1, ...request }));
};
const tag = (tags: Record<string, string>): Send => {
  const resourceArn = `arn:aws:s3vectors:us-east-1:000000000000:bucket/${BUCKET.vectorBucketName}`;
  return async (client) => {
    await client.send(new sdk.TagResourceCommand({ resourceArn, tags }));
    await client.send(new sdk.UntagResourceCommand({ resourceArn, tagKeys: Object.keys(tags) }));
  };
};

const named = (count: number, prefix = "k") => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const records = (count: number) => named(count).map((key) => ({ key, data: DATA }));
const tagsOf = (count: number) => Object.fromEntries(named(count).map((key) => [key, "v"]));
/** 4 for the object, 8 for the entry, the key's bytes and those of the value. */
const textOf = (key: string, bytes: number) => ({ [key]: "x".repeat(bytes - 12 - key.length) });

const length = (min: number, max: number) =>
  new RegExp(
    `^1 validation error detected. Value with length \\d+ at '/[^']+' failed .*between ${min} and ${max}, incl`,
  );
const between = (min: number, max: number) =>
  new RegExp(
    `^1 validation error detected. Value at '/[^']+' failed .*: Member must be between ${min} and ${max}, incl`,
  );
const text = (message: string) => new RegExp(`(^|: )${message.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);

/** Each limit: what it lets in, what it refuses, and what it says then. */
const LIMITS: readonly {
  readonly limit: string;
  readonly allows: readonly Send[];
  readonly refuses: readonly Send[];
  readonly message: RegExp;
}[] = [
  {
    limit: "a bucket's name has 3 to 63 characters",
    allows: ["abc", "a".repeat(62), "a".repeat(63)].map((vectorBucketName) => createBucket({ vectorBucketName })),
    refuses: ["", "ab", "a".repeat(64)].map((vectorBucketName) => createBucket({ vectorBucketName })),
    message: length(3, 63),
  },
  {
    limit: "a bucket's name has lower-case letters, digits and hyphens, none of them first or last",
    allows: ["a-0", "0-a"].map((vectorBucketName) => createBucket({ vectorBucketName })),
    refuses: ["Abc", "a_b", "a.b", "-ab", "ab-", "äbc", "abc/"].map((vectorBucketName) =>
      createBucket({ vectorBucketName }),
    ),
    message: text("Invalid vector bucket name"),
  },
  {
    limit: "an index's name has 3 to 63 characters",
    allows: ["abc", "a".repeat(62), "a".repeat(63)].map((indexName) => createIndex({ indexName })),
    refuses: ["", "ab", "a".repeat(64)].map((indexName) => createIndex({ indexName })),
    message: length(3, 63),
  },
  {
    limit: "an index's name may have dots, too",
    allows: ["a.b-c"].map((indexName) => createIndex({ indexName })),
    refuses: ["Abc", "a_b", ".ab", "ab."].map((indexName) => createIndex({ indexName })),
    message: text("Invalid index name"),
  },
  {
    limit: "a dimension is 1 to 4,096",
    allows: [1, 4_095, 4_096].map((dimension) => createIndex({ dimension })),
    refuses: [0, -1, 4_097].map((dimension) => createIndex({ dimension })),
    message: between(1, 4_096),
  },
  {
    limit: "data are float32",
    allows: [createIndex({ dataType: "float32" })],
    refuses: [createIndex({ dataType: "float16" as "float32" })],
    message: text(
      "1 validation error detected. Value at '/dataType' failed to satisfy constraint: Member must satisfy enum value set: [float32]",
    ),
  },
  {
    limit: "a distance metric is euclidean or cosine",
    allows: [createIndex({ distanceMetric: "euclidean" }), createIndex({ distanceMetric: "cosine" })],
    refuses: [createIndex({ distanceMetric: "dot_product" as "cosine" })],
    message: text("Member must satisfy enum value set: [euclidean, cosine]"),
  },
  {
    limit: "an index has at most 10 non-filterable keys",
    allows: [0, 9, 10].map((n) => createIndex({ metadataConfiguration: { nonFilterableMetadataKeys: named(n) } })),
    refuses: [createIndex({ metadataConfiguration: { nonFilterableMetadataKeys: named(11) } })],
    message: length(0, 10),
  },
  {
    limit: "a non-filterable key has 1 to 63 characters",
    allows: [1, 63].map((n) => createIndex({ metadataConfiguration: { nonFilterableMetadataKeys: ["x".repeat(n)] } })),
    refuses: [0, 64].map((n) => createIndex({ metadataConfiguration: { nonFilterableMetadataKeys: ["x".repeat(n)] } })),
    message: length(1, 63),
  },
  {
    limit: "a put has 1 to 500 vectors",
    allows: [1, 499, 500].map((n) => put(records(n))),
    refuses: [0, 501, 1_001].map((n) => put(records(n))),
    message: length(1, 500),
  },
  {
    limit: "a get has 1 to 100 keys",
    allows: [1, 99, 100].map((n) => get(named(n))),
    refuses: [0, 101].map((n) => get(named(n))),
    message: length(1, 100),
  },
  {
    limit: "a delete has 1 to 500 keys",
    allows: [1, 499, 500].map((n) => remove(named(n))),
    refuses: [0, 501].map((n) => remove(named(n))),
    message: length(1, 500),
  },
  {
    limit: "a key has 1 to 1,024 characters",
    allows: [1, 1_023, 1_024].map((n) => putKey("x".repeat(n))),
    refuses: [putKey(""), putKey("x".repeat(1_025)), get([""]), remove(["x".repeat(1_025)])],
    message: length(1, 1_024),
  },
  {
    limit: "a key has at most 1,024 bytes",
    allows: [putKey("ü".repeat(512)), putKey("😀".repeat(256)), get(["ü".repeat(512)])],
    refuses: [putKey("ü".repeat(513)), get(["ü".repeat(513)]), remove(["😀".repeat(257)])],
    message: text("Record key length exceeds the maximum allowed"),
  },
  {
    limit: "a vector has at most 50 keys of metadata",
    allows: [49, 50].map((n) => putMetadata(tagsOf(n))),
    refuses: [putMetadata(tagsOf(51))],
    message: text("Invalid record for key 'k': Metadata object must have at most 50 keys"),
  },
  {
    limit: "a vector has at most 2,048 bytes of filterable metadata",
    allows: [
      putMetadata(textOf("a", 2_047)),
      putMetadata(textOf("ключ", 2_044)),
      // 4 + 8 + 1 + 4 * 508 + 3 = 2,048, of numbers and booleans that take 4 and 0 in lists of 4 an element.
      putMetadata({ a: Array.from({ length: 254 }, () => 1) }),
      putMetadata({ ...textOf("a", 2_039), b: true }),
    ],
    refuses: [
      putMetadata(textOf("a", 2_049)),
      putMetadata({ a: Array.from({ length: 255 }, () => 1) }),
      putMetadata({ ...textOf("a", 2_040), b: true }),
      putMetadata({ ...textOf("a", 2_036), b: 1 }),
      putMetadata({ ...textOf("a", 2_035), b: [""], c: true }),
    ],
    message: text("Invalid record for key 'k': Filterable metadata must have at most 2048 bytes"),
  },
  {
    limit: "a vector has at most 40,960 bytes of metadata",
    allows: [putMetadata(textOf("text", 40_959)), putMetadata(textOf("text", 40_960))],
    refuses: [putMetadata(textOf("text", 40_961))],
    message: text("Invalid record for key 'k': Metadata object must have at most 40960 bytes"),
  },
  {
    limit: "a list of vectors has pages of 1 to 1,000",
    allows: [1, 999, 1_000].map((maxResults) => list({ maxResults })),
    refuses: [0, -1, 1_001].map((maxResults) => list({ maxResults })),
    message: between(1, 1_000),
  },
  {
    limit: "lists of buckets and indexes have pages of 1 to 500",
    allows: [1, 499, 500].flatMap((maxResults) => [listBuckets({ maxResults }), listIndexes({ maxResults })]),
    refuses: [0, 501].flatMap((maxResults) => [listBuckets({ maxResults }), listIndexes({ maxResults })]),
    message: between(1, 500),
  },
  {
    limit: "a prefix has 1 to 63 characters",
    allows: [1, 62, 63].flatMap((n) => [
      listBuckets({ prefix: "a".repeat(n) }),
      listIndexes({ prefix: "a".repeat(n) }),
    ]),
    refuses: [0, 64].flatMap((n) => [listBuckets({ prefix: "a".repeat(n) }), listIndexes({ prefix: "a".repeat(n) })]),
    message: length(1, 63),
  },
  {
    limit: "a token of a list of names has at most 512 characters",
    allows: [],
    refuses: [listBuckets({ nextToken: "x".repeat(513) }), listIndexes({ nextToken: "" })],
    message: length(1, 512),
  },
  {
    limit: "a token of a list of vectors has at most 2,048 characters",
    allows: [],
    refuses: [list({ nextToken: "x".repeat(2_049) })],
    message: length(1, 2_048),
  },
  {
    limit: "a token of a query has at most 4,096 characters",
    allows: [],
    refuses: [query({ nextToken: "x".repeat(4_097) })],
    message: length(1, 4_096),
  },
  {
    limit: "a token belongs to its request",
    allows: [],
    refuses: [listBuckets({ nextToken: "t" }), list({ nextToken: "x".repeat(2_048) }), query({ nextToken: "t" })],
    message: /^nextToken: Must be a next_token that an answer to the same request carried/,
  },
  {
    limit: "a list of vectors has at most 16 segments",
    allows: [1, 15, 16].map((segmentCount) => list({ segmentCount, segmentIndex: segmentCount - 1 })),
    refuses: [0, 17].map((segmentCount) => list({ segmentCount, segmentIndex: 0 })),
    message: between(1, 16),
  },
  {
    limit: "a segment is one of those that there are",
    allows: [],
    refuses: [list({ segmentCount: 4, segmentIndex: 4 }), list({ segmentCount: 1, segmentIndex: 15 })],
    message: text("segmentIndex must be less than segmentCount"),
  },
  {
    limit: "a segment has a count and an index",
    allows: [],
    refuses: [list({ segmentCount: 4 }), list({ segmentIndex: 0 })],
    message: text("Must specify both segmentCount and segmentIndex, or neither"),
  },
  {
    limit: "topK is 1 to 10,000",
    allows: [1, 100, 101, 9_999, 10_000].map((topK) => query({ topK })),
    refuses: [0, -1, 10_001].map((topK) => query({ topK })),
    message: between(1, 10_000),
  },
  {
    limit: "a resource has at most 50 tags",
    allows: [createBucket({ tags: tagsOf(49) }), createIndex({ tags: tagsOf(50) }), tag(tagsOf(50))],
    refuses: [createBucket({ tags: tagsOf(51) }), createIndex({ tags: tagsOf(51) }), tag(tagsOf(51))],
    message: text("Too many tags specified"),
  },
  {
    limit: "a tag's key has 1 to 128 characters",
    allows: [1, 127, 128].map((n) => tag({ ["k".repeat(n)]: "" })),
    refuses: [tag({ "": "v" }), tag({ ["k".repeat(129)]: "v" }), createBucket({ tags: { "": "v" } })],
    message: length(1, 128),
  },
  {
    limit: "a tag's value has at most 256 characters",
    allows: [0, 255, 256].map((n) => tag({ k: "v".repeat(n) })),
    refuses: [tag({ k: "v".repeat(257) }), createIndex({ tags: { k: "v".repeat(257) } })],
    message: length(0, 256),
  },
  {
    limit: "tags are of letters, digits, spaces and _.:/=+-@",
    allows: [tag({ "ключ 1_.:/=+-@": "значение" }), tag({ __proto__x: "v", constructor: "v" })],
    refuses: [tag({ "k#": "v" }), tag({ k: "a,b" })],
    message: /Member must satisfy regular expression pattern/,
  },
  {
    limit: "tags of Amazon's own are refused",
    allows: [tag({ "AWS:x": "v", aws: "v" })],
    refuses: [tag({ "aws:x": "v" }), createBucket({ tags: { "aws:x": "v" } })],
    message: text("System tags cannot be added/updated by requester"),
  },
  {
    limit: "a key stands in a delete once",
    allows: [get(["a", "a"])],
    refuses: [remove(["a", "b", "a"])],
    message: text("Request must not contain duplicate keys"),
  },
  {
    limit: "encryption is AES256",
    allows: [
      createBucket({ encryptionConfiguration: { sseType: "AES256" } }),
      createIndex({ encryptionConfiguration: { sseType: "AES256" } }),
      createBucket({ encryptionConfiguration: {} }),
    ],
    refuses: [createBucket, createIndex].map((create) =>
      create({
        encryptionConfiguration: { sseType: "aws:kms", kmsKeyArn: "arn:aws:kms:us-east-1:000000000000:key/x" },
      }),
    ),
    message: text("This server has no key management service (KMS): use sseType AES256"),
  },
  {
    limit: "aws:kms needs a key",
    allows: [],
    refuses: [createBucket({ encryptionConfiguration: { sseType: "aws:kms" } })],
    message: text("kmsKeyArn must be specified when sseType is set to aws:kms"),
  },
  {
    limit: "AES256 takes no key",
    allows: [],
    refuses: [createBucket({ encryptionConfiguration: { sseType: "AES256", kmsKeyArn: "arn:aws:kms:::key/x" } })],
    message: text("kmsKeyArn must not be specified when sseType is AES256."),
  },
];

test("each limit of Amazon's holds at its edges, and says what it is", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await setUp(client);
  for (const { limit, allows, refuses, message } of LIMITS) {
    await t.test(limit, async () => {
      for (const send of allows) await send(client);
      for (const [i, send] of refuses.entries()) {
        const error = await send(client).then(
          () => assert.fail(`refuses[${i}] was let in`),
          (thrown: unknown) => thrown,
        );
        assert.ok(error instanceof sdk.ValidationException, `${error}`);
        assert.match(error.message, message, `refuses[${i}]`);
        assert.equal(error.$metadata.httpStatusCode, 400);
        assert.ok((error.fieldList ?? []).every(({ path, message }) => path !== "" && message !== ""));
        assert.ok((error.fieldList ?? []).length > 0);
      }
    });
  }
});

test("tags are counted together with those that are there", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await client.send(new sdk.CreateVectorBucketCommand({ ...BUCKET, tags: tagsOf(49) }));
  const resourceArn = "arn:aws:s3vectors:us-east-1:000000000000:bucket/limits";
  await client.send(new sdk.TagResourceCommand({ resourceArn, tags: { more: "1" } }));
  const error = client.send(new sdk.TagResourceCommand({ resourceArn, tags: { more: "2", evenMore: "1" } }));
  await assert.rejects(error, (thrown: sdk.ValidationException) => {
    assert.deepEqual([thrown.name, thrown.message], ["ValidationException", "Too many tags specified"]);
    return true;
  });
  const { tags } = await client.send(new sdk.ListTagsForResourceCommand({ resourceArn }));
  assert.equal(tags?.more, "1");
});

test("a request has at most 20 MiB", async (t) => {
  const url = await startCompatServer(t);
  const client = s3Client(t, url);
  await setUp(client);
  const send = (bytes: number) => {
    const body = JSON.stringify({ ...INDEX, keys: ["absent"] });
    return fetch(`${url}/DeleteVectors`, { method: "POST", body: body.padEnd(bytes) });
  };
  const max = 20_971_520;
  for (const bytes of [max - 1, max]) assert.equal((await send(bytes)).status, 200);
  const answer = await send(max + 1);
  assert.deepEqual(
    [answer.status, answer.headers.get("x-amzn-errortype"), await answer.json()],
    [400, "ValidationException", { message: "Request body exceeds max allowed size" }],
  );
});

test("a put of 500 vectors of 1,536 numbers is taken whole", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  await client.send(new sdk.CreateIndexCommand({ ...INDEX, ...DEFINITION, dimension: 1_536 }));
  const float32 = Array.from({ length: 1_536 }, (_, i) => Math.fround(Math.sin(i + 1)));
  const vectors = named(500).map((key) => ({ key, data: { float32 } }));
  await client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
  const got = await client.send(new sdk.GetVectorsCommand({ ...INDEX, keys: named(100), returnData: true }));
  assert.deepEqual(got.vectors?.at(-1)?.data, { float32 });
});
