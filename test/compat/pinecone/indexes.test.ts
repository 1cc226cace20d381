import assert from "node:assert/strict";
import test from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { CLIENTS, SERVERLESS } from "./clients.ts";

for (const { version, apiVersion, connect } of CLIENTS) {
  test(`client ${version} (${apiVersion}) creates, lists, describes, configures and deletes indexes`, async (t) => {
    const url = await startCompatServer(t);
    const client = connect({ url });
    assert.deepEqual((await client.listIndexes()).indexes ?? [], []);

    const tags = { team: "search", stage: "test" };
    const created = await client.createIndex({
      name: "books",
      dimension: 3,
      metric: "euclidean",
      tags,
      deletionProtection: "disabled",
      waitUntilReady: true,
      spec: { serverless: { cloud: "gcp", region: "europe-west4" } },
    });
    assert.partialDeepStrictEqual(created, {
      name: "books",
      dimension: 3,
      metric: "euclidean",
      host: `${url}/pinecone/i/books`,
      vectorType: "dense",
      deletionProtection: "disabled",
      status: { ready: true, state: "Ready" },
      spec: { serverless: { cloud: "gcp", region: "europe-west4" } },
    });
    assert.deepEqual(created?.tags, tags);
    assert.deepEqual(await client.describeIndex("books"), created);

    await client.createIndex({ name: "words", metric: "dotproduct", vectorType: "sparse", spec: SERVERLESS });
    const words = await client.describeIndex("words");
    assert.equal(words.vectorType, "sparse");
    assert.equal(words.metric, "dotproduct");
    assert.equal(words.dimension, undefined);

    await client.createIndex({
      name: "pods",
      dimension: 2,
      spec: { pod: { environment: "us-east-1-aws", podType: "p1.x2", pods: 6, replicas: 2, shards: 3 } },
    });
    const pods = await client.describeIndex("pods");
    assert.equal(pods.metric, "cosine");
    assert.deepEqual(JSON.parse(JSON.stringify(pods.spec)), {
      pod: { environment: "us-east-1-aws", podType: "p1.x2", pods: 6, replicas: 2, shards: 3 },
    });
    const listed = (await client.listIndexes()).indexes ?? [];
    assert.deepEqual(
      listed.map(({ name }) => name),
      ["books", "pods", "words"],
    );
    assert.deepEqual(listed[0], created);

    const configured = await client.configureIndex({
      name: "books",
      deletionProtection: "enabled",
      tags: { team: "", owner: "me" },
    });
    assert.deepEqual(configured.tags, { stage: "test", owner: "me" });
    assert.equal(configured.deletionProtection, "enabled");
    await assert.rejects(client.deleteIndex("books"), {
      name: "PineconeBadRequestError",
      message: /Deletion protection is enabled for this index/,
    });
    // Without it, deletion protection stays.
    const again = await client.configureIndex({ name: "books", tags: { stage: "live" } });
    assert.equal(again.deletionProtection, "enabled");
    await client.configureIndex({ name: "books", deletionProtection: "disabled" });
    await client.deleteIndex("books");
    await assert.rejects(client.describeIndex("books"), { name: "PineconeNotFoundError" });
  });

  test(`client ${version} is told of indexes that are there, that are not, and that cannot be`, async (t) => {
    const client = connect({ url: await startCompatServer(t) });
    const options = { name: "one", dimension: 3, spec: SERVERLESS };
    await client.createIndex(options);
    await assert.rejects(client.createIndex(options), { name: "PineconeConflictError", message: /ALREADY_EXISTS/ });
    await client.createIndex({ ...options, suppressConflicts: true });
    await assert.rejects(client.createIndex({ ...options, name: "No!" }), {
      name: "PineconeBadRequestError",
      message: /alphanumeric character/,
    });
    await assert.rejects(client.deleteIndex("none"), { name: "PineconeNotFoundError" });
    await assert.rejects(client.configureIndex({ name: "none", tags: { a: "b" } }), { name: "PineconeNotFoundError" });
  });
}

test("two clients create the first two indexes at once", async (t) => {
  const url = await startCompatServer(t);
  const [, , newest] = CLIENTS;
  assert(newest);
  const names = ["a", "b", "c", "d"];
  await Promise.all(names.map((name) => newest.connect({ url }).createIndex({ name, dimension: 2, spec: SERVERLESS })));
  const { indexes } = await newest.connect({ url }).listIndexes();
  assert.deepEqual(
    indexes?.map(({ name }) => name),
    names,
  );
});
