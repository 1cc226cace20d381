import assert from "node:assert/strict";
import test from "node:test";
import { Pinecone } from "pinecone-8";
import { startCompatServer } from "../support/compat-server.ts";
import { configuration, SERVERLESS } from "./clients.ts";
import { OPERATIONS } from "./operations.ts";
import { ask } from "./wire.ts";

const vector = [1, 2, 3];

test("every operation does what the table of operations says", async (t) => {
  const url = await startCompatServer(t);
  let requests = 0;
  const client = new Pinecone(
    configuration({
      url,
      onAnswer() {
        requests++;
      },
    }),
  );
  const index = client.index({ name: "table" });
  const filter = { n: 1 };
  const backupId = "b";
  const calls: Readonly<Record<string, () => Promise<unknown>>> = {
    create_index: () => client.createIndex({ name: "table", dimension: 3, spec: SERVERLESS }),
    list_indexes: () => client.listIndexes(),
    describe_index: () => client.describeIndex("table"),
    configure_index: () => client.configureIndex({ name: "table", tags: { a: "b" } }),
    upsert: () => index.upsert({ records: [{ id: "a", values: vector, metadata: { n: 1 } }] }),
    query: () => index.query({ vector, topK: 1 }),
    fetch: () => index.fetch({ ids: ["a"] }),
    fetch_by_metadata: () => index.fetchByMetadata({ filter }),
    update: () => index.update({ id: "a", metadata: { n: 1 } }),
    update_by_metadata: () => index.update({ filter, metadata: { m: 1 } }),
    list: () => index.listPaginated(),
    describe_index_stats: () => index.describeIndexStats(),
    create_namespace: () => index.createNamespace({ name: "ns" }),
    list_namespaces: () => index.listNamespaces(),
    describe_namespace: () => index.describeNamespace("ns"),
    delete_namespace: () => index.deleteNamespace("ns"),
    delete: () => index.deleteOne({ id: "a" }),
    create_index_for_model: () =>
      client.createIndexForModel({
        name: "m",
        cloud: "aws",
        region: "us-east-1",
        embed: { model: "multilingual-e5-large", fieldMap: { text: "t" } },
      }),
    upsert_records: () => index.upsertRecords({ records: [{ id: "r", text: "hello" }] }),
    search_records: () => index.searchRecords({ query: { topK: 1, inputs: { text: "q" } } }),
    embed: () => client.inference.embed({ model: "m", inputs: ["a"], parameters: {} }),
    rerank: () => client.inference.rerank({ model: "m", query: "q", documents: ["a"] }),
    list_models: () => client.inference.listModels(),
    get_model: () => client.inference.getModel("m"),
    create_backup: () => client.createBackup({ indexName: "table", name: "b" }),
    list_index_backups: () => client.listBackups({ indexName: "table" }),
    list_project_backups: () => client.listBackups({}),
    describe_backup: () => client.describeBackup(backupId),
    delete_backup: () => client.deleteBackup(backupId),
    create_index_from_backup: () => client.createIndexFromBackup({ backupId, name: "new" }),
    list_restore_jobs: () => client.listRestoreJobs({}),
    describe_restore_job: () => client.describeRestoreJob("j"),
    create_collection: () => client.createCollection({ name: "c", source: "table" }),
    list_collections: () => client.listCollections(),
    describe_collection: () => client.describeCollection("c"),
    delete_collection: () => client.deleteCollection("c"),
    start_bulk_import: () => index.startImport({ uri: "s3://b/d" }),
    list_bulk_imports: () => index.listImports(),
    describe_bulk_import: () => index.describeImport("1"),
    cancel_bulk_import: () => index.cancelImport("1"),
    // This client has no call for them.
    documents: async () => {
      requests++;
      const { body } = await ask(url, "/i/table/namespaces/ns/documents/upsert", { documents: [] });
      throw Object.assign(new Error(body.message), { name: "PineconeBadRequestError" });
    },
    delete_index: () => client.deleteIndex("table"),
  };
  assert.deepEqual(Object.keys(calls).sort(), OPERATIONS.map(({ operation }) => operation).sort());
  const rows = new Map(OPERATIONS.map((row) => [row.operation, row]));
  for (const [operation, call] of Object.entries(calls)) {
    const row = rows.get(operation);
    assert(row);
    if (row.status !== "not offered") {
      await call();
      continue;
    }
    requests = 0;
    await assert.rejects(
      call(),
      ({ name, message }: Error) =>
        name === "PineconeBadRequestError" &&
        message.includes(`${operation} is not offered. ${JSON.stringify(row.note).slice(1, -1)}`),
      operation,
    );
    assert.equal(requests, 1, `${operation} is not tried again`);
  }
});

test("what is nowhere is not found, in the form of the plane that it was asked of", async (t) => {
  const url = await startCompatServer(t);
  for (const [path, method] of [
    ["", "GET"],
    ["/nothing", "GET"],
    ["/indexes", "PUT"],
    ["/indexes/a/b", "DELETE"],
    ["/indexes/%zz", "GET"],
  ] as const) {
    const { status, body } = await ask(url, path, undefined, { method });
    assert.equal(status, 404, path);
    assert.equal(body.error.code, "NOT_FOUND", path);
  }
  for (const [path, method] of [
    ["/i/x/nothing", "POST"],
    ["/i/x/query", "GET"],
    ["/i/x/namespaces/%ff", "GET"],
  ] as const) {
    const { status, body } = await ask(url, path, method === "POST" ? "no JSON" : undefined, { method });
    assert.equal(status, 404, path);
    assert.equal(body.code, 5, path);
    assert.deepEqual(body.details, [], path);
  }
});

test("an index of another API is seen, unless its name is none of Pinecone's, with what it was not given", async (t) => {
  const url = await startCompatServer(t);
  const native = async (method: string, body: object) => {
    const answer = await fetch(`${url}/quiver.v1.${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ vectorBucketName: "default", ...body }),
    });
    assert.equal(answer.status, 200, await answer.clone().text());
    return answer.json();
  };
  await native("BucketService/CreateVectorBucket", {});
  const index = { dataType: "DATA_TYPE_FLOAT32", dimension: 1, distanceMetric: "DISTANCE_METRIC_DOT_PRODUCT" };
  await native("IndexService/CreateIndex", { ...index, indexName: "Upper" });
  // Whoever may write tags may write nonsense.
  const tags = ["null", "[", '"x"', '{"spec":null,"sparse":1}', '{"spec":{"pod":1}}', '{"spec":{"serverless":[]}}'];
  for (const [i, text] of tags.entries()) {
    await native("IndexService/CreateIndex", {
      ...index,
      indexName: `n${i}`,
      tags: { "quiver:pinecone": text, a: "b" },
    });
  }
  const { body } = await ask(url, "/indexes");
  assert.equal(body.indexes.length, tags.length);
  for (const each of body.indexes) {
    assert.partialDeepStrictEqual(each, { dimension: 1, vector_type: "dense", metric: "dotproduct", tags: { a: "b" } });
    assert.deepEqual(Object.keys(each.tags), ["a"]);
  }
  // An index of one dimension is no sparse index.
  await ask(url, "/i/n0/vectors/upsert", { vectors: [{ id: "a", values: [2], metadata: { m: 1 } }] });
  const stored = (await native("VectorService/GetVectors", {
    indexName: "n0",
    keys: ["a"],
    returnData: true,
    returnMetadata: true,
  })) as { vectors: object[] };
  assert.partialDeepStrictEqual(stored.vectors[0], { key: "a", data: { float32: [2] }, metadata: { m: 1 } });
});

test("an index is created by schema and deployment, as since 2026-07, and described so", async (t) => {
  const url = await startCompatServer(t);
  const field = { type: "dense_vector", dimension: 3, metric: "euclidean" };
  const deployment = { deployment_type: "pod", environment: "e", pod_type: "p1.x1", replicas: 2, shards: 3 };
  const created = await ask(url, "/indexes", { name: "i", schema: { fields: { _values: field } }, deployment });
  assert.equal(created.status, 201);
  assert.partialDeepStrictEqual(created.body, {
    dimension: 3,
    metric: "euclidean",
    spec: { pod: { environment: "e", pods: 6 } },
    schema: { fields: { _values: field } },
    deployment,
  });
  const sparse = { name: "s", schema: { fields: { _sparse_values: { type: "sparse_vector" } } } };
  assert.partialDeepStrictEqual((await ask(url, "/indexes", sparse)).body, {
    vector_type: "sparse",
    deployment: { deployment_type: "managed", cloud: "aws", region: "us-east-1" },
    ...sparse,
  });
});

test("doubled and trailing slashes in a path make no difference", async (t) => {
  const url = await startCompatServer(t);
  await ask(url, "//indexes/", { name: "i", dimension: 2, spec: SERVERLESS });
  const { status, body } = await ask(url, "/i/i//vectors/upsert", { vectors: [{ id: "a", values: [1, 2] }] });
  assert.equal(status, 200);
  assert.deepEqual(body, { upsertedCount: 1 });
});
