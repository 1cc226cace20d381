import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@aws-sdk/client-s3vectors";
import { startCompatServer } from "../support/compat-server.ts";
import { OPERATIONS } from "./operations.ts";
import { s3Client } from "./support.ts";

const BUCKET = { vectorBucketName: "my-bucket" };
const INDEX = { ...BUCKET, indexName: "my-index" };
const BUCKET_ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/my-bucket";
const INDEX_ARN = `${BUCKET_ARN}/index/my-index`;
const AES = { sseType: "AES256" } as const;
const near = (actual: number | undefined, expected: number) => assert.ok(Math.abs((actual ?? NaN) - expected) < 1e-6);

for (const prefix of ["", "/", "/s3vectors", "/s3vectors/"]) {
  test(`Amazon's JavaScript client does all that works at the endpoint "${prefix}"`, async (t) => {
    const url = await startCompatServer(t);
    const client = s3Client(t, url + prefix);
    const called = new Set<string>();
    client.middlewareStack.add(
      (next, { commandName = "" }) =>
        async (args) => {
          const answer = await next(args);
          called.add(commandName.replace(/Command$/, ""));
          return answer;
        },
      { step: "initialize" },
    );
    const before = Date.now() - 1;

    // Buckets.
    const made = await client.send(
      new sdk.CreateVectorBucketCommand({ ...BUCKET, encryptionConfiguration: AES, tags: { env: "dev" } }),
    );
    assert.equal(made.vectorBucketArn, BUCKET_ARN);
    assert.match(made.$metadata.requestId ?? "", /^[0-9a-f-]{36}$/);
    for (const reference of [BUCKET, { vectorBucketArn: BUCKET_ARN }]) {
      const { vectorBucket } = await client.send(new sdk.GetVectorBucketCommand(reference));
      const { creationTime, ...rest } = vectorBucket ?? assert.fail();
      assert.deepEqual(rest, { ...BUCKET, vectorBucketArn: BUCKET_ARN, encryptionConfiguration: AES });
      assert.ok(creationTime && creationTime.getTime() >= before && creationTime.getTime() <= Date.now());
    }
    await client.send(new sdk.CreateVectorBucketCommand({ vectorBucketName: "other" }));
    const names: (string | undefined)[] = [];
    for await (const page of sdk.paginateListVectorBuckets({ client, pageSize: 1 }, {})) {
      names.push(...(page.vectorBuckets ?? []).map((bucket) => bucket.vectorBucketName));
    }
    assert.deepEqual(names, ["my-bucket", "other"]);
    await client.send(new sdk.DeleteVectorBucketCommand({ vectorBucketName: "other" }));
    const listed = await client.send(new sdk.ListVectorBucketsCommand({ prefix: "my", maxResults: 500 }));
    assert.deepEqual(
      listed.vectorBuckets?.map(({ vectorBucketArn }) => vectorBucketArn),
      [BUCKET_ARN],
    );

    // Policies.
    const policy = JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Principal: "*", Action: "s3vectors:*", Resource: "*" }],
    });
    await client.send(new sdk.PutVectorBucketPolicyCommand({ ...BUCKET, policy }));
    assert.equal((await client.send(new sdk.GetVectorBucketPolicyCommand(BUCKET))).policy, policy);
    await client.send(new sdk.DeleteVectorBucketPolicyCommand({ vectorBucketArn: BUCKET_ARN }));
    await assert.rejects(client.send(new sdk.GetVectorBucketPolicyCommand(BUCKET)), sdk.NotFoundException);

    // Indexes.
    const definition = { dataType: "float32", dimension: 3, distanceMetric: "cosine" } as const;
    const metadataConfiguration = { nonFilterableMetadataKeys: ["text"] };
    const { indexArn } = await client.send(
      new sdk.CreateIndexCommand({
        ...INDEX,
        ...definition,
        metadataConfiguration,
        encryptionConfiguration: AES,
        tags: { a: "b" },
      }),
    );
    assert.equal(indexArn, INDEX_ARN);
    await client.send(
      new sdk.CreateIndexCommand({
        vectorBucketArn: BUCKET_ARN,
        indexName: "plain.2",
        ...definition,
        distanceMetric: "euclidean",
      }),
    );
    for (const reference of [INDEX, { indexArn: INDEX_ARN }]) {
      const { index } = await client.send(new sdk.GetIndexCommand(reference));
      const { creationTime, ...rest } = index ?? assert.fail();
      assert.deepEqual(rest, {
        ...INDEX,
        indexArn: INDEX_ARN,
        ...definition,
        metadataConfiguration,
        encryptionConfiguration: AES,
      });
      assert.ok(creationTime && creationTime.getTime() >= before && creationTime.getTime() <= Date.now());
    }
    const plain = await client.send(new sdk.GetIndexCommand({ ...BUCKET, indexName: "plain.2" }));
    assert.equal(plain.index?.metadataConfiguration, undefined);
    const indexNames: (string | undefined)[] = [];
    for await (const page of sdk.paginateListIndexes({ client, pageSize: 1 }, { ...BUCKET })) {
      indexNames.push(...(page.indexes ?? []).map((index) => index.indexName));
    }
    assert.deepEqual(indexNames, ["my-index", "plain.2"]);

    // Vectors.
    const vectors = [
      {
        key: "k1",
        data: { float32: [1, 0, 0] },
        metadata: { genre: "drama", year: 2020, tags: ["a", "b"], text: "x" },
      },
      { key: "k2", data: { float32: [0.1, 0.2, 0.3] }, metadata: { genre: "comedy", year: 1999 } },
      { key: "кл-ü", data: { float32: [0, 1, 0] } },
      { key: "k1", data: { float32: [2, 0, 0] }, metadata: { genre: "drama", year: 2021, good: true } },
    ];
    await client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
    const got = await client.send(
      new sdk.GetVectorsCommand({ ...INDEX, keys: ["k1", "absent", "k2"], returnData: true, returnMetadata: true }),
    );
    assert.deepEqual(got.vectors, [
      { key: "k1", data: { float32: [2, 0, 0] }, metadata: { genre: "drama", year: 2021, good: true } },
      {
        key: "k2",
        data: { float32: [...Float32Array.of(0.1, 0.2, 0.3)] },
        metadata: { genre: "comedy", year: 1999 },
      },
    ]);
    const bare = await client.send(new sdk.GetVectorsCommand({ indexArn: INDEX_ARN, keys: ["кл-ü"] }));
    assert.deepEqual(bare.vectors, [{ key: "кл-ü" }]);
    const empty = await client.send(new sdk.GetVectorsCommand({ ...INDEX, keys: ["кл-ü"], returnMetadata: true }));
    assert.deepEqual(empty.vectors, [{ key: "кл-ü", metadata: {} }]);

    const keys: (string | undefined)[] = [];
    for await (const page of sdk.paginateListVectors({ client, pageSize: 1 }, { ...INDEX })) {
      assert.ok((page.vectors ?? []).length <= 1);
      keys.push(...(page.vectors ?? []).map(({ key }) => key));
    }
    assert.deepEqual(keys, ["k1", "k2", "кл-ü"]);
    const segments = await Promise.all(
      [0, 1, 2, 3].map((segmentIndex) =>
        client.send(new sdk.ListVectorsCommand({ ...INDEX, segmentCount: 4, segmentIndex, returnData: true })),
      ),
    );
    const parted = segments.flatMap((segment) => (segment.vectors ?? []).map(({ key }) => key));
    assert.deepEqual(parted.sort(), ["k1", "k2", "кл-ü"].sort());

    const found = await client.send(
      new sdk.QueryVectorsCommand({
        ...INDEX,
        topK: 5,
        queryVector: { float32: [1, 0, 0] },
        filter: { $and: [{ genre: { $in: ["drama", "comedy"] } }, { year: { $gte: 1990 } }] },
        returnMetadata: true,
        returnDistance: true,
      }),
    );
    assert.equal(found.distanceMetric, "cosine");
    assert.deepEqual(
      found.vectors?.map(({ key, metadata }) => [key, metadata]),
      [
        ["k1", { genre: "drama", year: 2021, good: true }],
        ["k2", { genre: "comedy", year: 1999 }],
      ],
    );
    near(found.vectors?.[0]?.distance, 0);
    near(found.vectors?.[1]?.distance, 1 - 0.1 / Math.hypot(0.1, 0.2, 0.3));
    assert.equal(found.nextToken, undefined);
    const onlyKeys = await client.send(
      new sdk.QueryVectorsCommand({ ...INDEX, topK: 1, queryVector: { float32: [0, 1, 0] } }),
    );
    assert.deepEqual(onlyKeys.vectors, [{ key: "кл-ü" }]);
    await client.send(new sdk.DeleteVectorsCommand({ ...INDEX, keys: ["k1", "absent"] }));
    assert.deepEqual((await client.send(new sdk.GetVectorsCommand({ ...INDEX, keys: ["k1"] }))).vectors, []);

    // Tags.
    for (const [resourceArn, first] of [
      [BUCKET_ARN, { env: "dev" }],
      [INDEX_ARN, { a: "b" }],
    ] as const) {
      await client.send(new sdk.TagResourceCommand({ resourceArn, tags: { "a b": "c/d", "ключ+": "=" } }));
      const tagged = await client.send(new sdk.ListTagsForResourceCommand({ resourceArn }));
      assert.deepEqual(tagged.tags, { ...first, "a b": "c/d", "ключ+": "=" });
      await client.send(new sdk.UntagResourceCommand({ resourceArn, tagKeys: ["a b", "ключ+", "absent"] }));
      assert.deepEqual((await client.send(new sdk.ListTagsForResourceCommand({ resourceArn }))).tags, first);
    }

    await client.send(new sdk.DeleteIndexCommand({ ...BUCKET, indexName: "plain.2" }));
    await client.send(new sdk.DeleteIndexCommand({ indexArn: INDEX_ARN }));
    await client.send(new sdk.DeleteVectorBucketCommand({ vectorBucketArn: BUCKET_ARN }));
    assert.deepEqual((await client.send(new sdk.ListVectorBucketsCommand({}))).vectorBuckets, []);

    const offered = OPERATIONS.filter(({ status }) => status !== "not offered").map(({ operation }) => operation);
    assert.deepEqual([...called].sort(), [...offered].sort());
  });
}

test("the table of operations has each that Amazon's JavaScript client has", () => {
  const listed = new Set(OPERATIONS.map(({ operation }) => operation));
  const commands = Object.keys(sdk).flatMap((name) => /^(\w+)Command$/.exec(name)?.[1] ?? []);
  assert.ok(commands.length >= 19);
  assert.deepEqual(
    commands.filter((name) => name !== "$" && !listed.has(name)),
    [],
  );
});

test("the answers to queries come in pages of 100, which the client puts together", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  await client.send(
    new sdk.CreateIndexCommand({ ...INDEX, dataType: "float32", dimension: 1, distanceMetric: "euclidean" }),
  );
  const vectors = Array.from({ length: 250 }, (_, i) => ({ key: `k${i}`, data: { float32: [i] } }));
  await client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
  const query = { ...INDEX, topK: 10_000, queryVector: { float32: [0] }, returnDistance: true };
  const pages: sdk.QueryOutputVector[][] = [];
  for await (const page of sdk.paginateQueryVectors({ client }, { ...query })) pages.push(page.vectors ?? []);
  assert.deepEqual(
    pages.map(({ length }) => length),
    [100, 100, 50],
  );
  assert.deepEqual(
    pages.flat(),
    vectors.map(({ key }, i) => ({ key, distance: i })),
  );
  const { nextToken } = await client.send(new sdk.QueryVectorsCommand(query));
  const other = client.send(new sdk.QueryVectorsCommand({ ...query, topK: 200, nextToken }));
  await assert.rejects(other, sdk.ValidationException);
});
