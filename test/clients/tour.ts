import assert from "node:assert/strict";

/** Calls one RPC with a ProtoJSON request and resolves to the ProtoJSON answer. */
export type Call = (service: string, method: string, request: object) => Promise<unknown>;

interface QueryAnswer {
  vectors?: { key: string; distance?: number; metadata?: unknown }[];
  plan?: { strategy?: string; exact?: boolean };
}

/** What every client must be able to do: create a bucket and an index, put, query, update, filter, delete. */
export async function tour(bucket: string, call: Call): Promise<void> {
  const reference = { vectorBucketName: bucket, indexName: "colors" };
  await call("BucketService", "CreateVectorBucket", { vectorBucketName: bucket });
  await call("IndexService", "CreateIndex", {
    ...reference,
    dataType: "DATA_TYPE_FLOAT32",
    dimension: 3,
    distanceMetric: "DISTANCE_METRIC_EUCLIDEAN",
  });
  const put = await call("VectorService", "PutVectors", {
    ...reference,
    vectors: [
      { key: "red", data: { float32: [1, 0, 0] }, metadata: { warm: true } },
      { key: "green", data: { float32: [0, 1, 0] } },
      { key: "orange", data: { float32: [1, 0.5, 0] }, metadata: { warm: true, names: ["orange", "naranja"] } },
    ],
  });
  assert.equal(Number((put as { putCount?: string }).putCount), 3);
  const query = {
    ...reference,
    queryVector: { float32: [1, 0.25, 0] },
    topK: 2,
    returnDistance: true,
    returnMetadata: true,
  };
  const answer = (await call("VectorService", "QueryVectors", query)) as QueryAnswer;
  assert.deepEqual(
    answer.vectors?.map(({ key, distance, metadata }) => [key, distance, metadata]),
    [
      ["orange", 0.25, { warm: true, names: ["orange", "naranja"] }],
      ["red", 0.25, { warm: true }],
    ],
  );
  assert.equal(answer.plan?.strategy, "QUERY_STRATEGY_EXACT");
  const update = { ...reference, filter: { warm: true }, setMetadata: { warm: null, heat: 3 } };
  const updated = await call("VectorService", "UpdateVectors", update);
  assert.equal(Number((updated as { updatedCount?: string }).updatedCount), 2);
  const byKey = { ...reference, queryKey: "red", topK: 3, filter: { heat: { $gte: 3 } }, returnMetadata: true };
  assert.deepEqual(((await call("VectorService", "QueryVectors", byKey)) as QueryAnswer).vectors?.map(plain), [
    { key: "orange", metadata: { names: ["orange", "naranja"], heat: 3 } },
  ]);
  const deleted = await call("VectorService", "DeleteVectors", { ...reference, keys: ["orange", "none"] });
  assert.equal(Number((deleted as { deletedCount?: string }).deletedCount), 1);
  const after = (await call("VectorService", "QueryVectors", query)) as QueryAnswer;
  assert.deepEqual(
    after.vectors?.map(({ key }) => key),
    ["red", "green"],
  );
  await call("IndexService", "DeleteIndex", reference);
  await call("BucketService", "DeleteVectorBucket", { vectorBucketName: bucket });
}

function plain({ key, metadata }: { key: string; metadata?: unknown }) {
  return { key, metadata };
}
