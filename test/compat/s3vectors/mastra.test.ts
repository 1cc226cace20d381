import assert from "node:assert/strict";
import { test } from "node:test";
import { CreateVectorBucketCommand } from "@aws-sdk/client-s3vectors";
import { S3Vectors } from "@mastra/s3vectors";
import { s3Client, startSigningServer } from "./support.ts";

test("Mastra keeps vectors and finds them again", async (t) => {
  const { url, credentials } = await startSigningServer(t);
  const vectorBucketName = "mastra";
  await s3Client(t, url, { credentials }).send(new CreateVectorBucketCommand({ vectorBucketName }));
  const store = new S3Vectors({
    id: "quiver",
    vectorBucketName,
    clientConfig: { region: "us-east-1", endpoint: url, credentials },
    nonFilterableMetadataKeys: ["text"],
  });
  t.after(() => store.disconnect());
  const indexName = "documents";
  for (let times = 0; times < 2; times++) await store.createIndex({ indexName, dimension: 3, metric: "cosine" });
  assert.deepEqual(await store.listIndexes(), [indexName]);

  const texts = ["apples", "pears", "planes"];
  const ids = await store.upsert({
    indexName,
    vectors: [
      [1, 0.1, 0],
      [0.9, 0.2, 0],
      [0, 0, 1],
    ],
    metadata: texts.map((text, i) => ({ text, kind: i < 2 ? "fruit" : "machine", price: i })),
    ids: ["a", "b", "c"],
  });
  assert.deepEqual(ids, ["a", "b", "c"]);
  assert.deepEqual(await store.describeIndex({ indexName }), { dimension: 3, metric: "cosine", count: 3 });

  const queryVector = [1, 0.1, 0];
  const found = await store.query({ indexName, queryVector, topK: 2, includeVector: true });
  assert.deepEqual(
    found.map(({ id, metadata }) => [id, metadata?.text]),
    [
      ["a", "apples"],
      ["b", "pears"],
    ],
  );
  assert.ok(Math.abs((found[0]?.score ?? 0) - 1) < 1e-6);
  assert.deepEqual(found[0]?.vector, [...Float32Array.of(1, 0.1, 0)]);
  const filter = { kind: "fruit", price: { $gt: 0 } };
  const filtered = await store.query({ indexName, queryVector, topK: 3, filter });
  assert.deepEqual(
    filtered.map(({ id }) => id),
    ["b"],
  );

  // It replaces all metadata, and puts back the data that it has got.
  await store.updateVector({ indexName, id: "b", update: { metadata: { price: 7 } } });
  const priced = await store.query({ indexName, queryVector, topK: 3, filter: { price: 7 } });
  assert.deepEqual(
    priced.map(({ id, metadata }) => [id, metadata]),
    [["b", { price: 7 }]],
  );
  await store.deleteVector({ indexName, id: "b" });
  assert.equal((await store.describeIndex({ indexName })).count, 2);
  await store.deleteIndex({ indexName });
  assert.deepEqual(await store.listIndexes(), []);
});
