import assert from "node:assert/strict";
import { test } from "node:test";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { type QueryAnswer, Quiver, reasonOf, registry } from "@quiver/client";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { startServer } from "../support/server.ts";

test("the TypeScript client puts, gets, lists, queries and deletes over each protocol", async (t) => {
  const { url } = await startServer(t);
  const transports = {
    fetch: undefined,
    grpc: createGrpcTransport({ baseUrl: url }),
    web: createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1" }),
  };
  for (const [name, transport] of Object.entries(transports)) {
    const quiver = new Quiver({ url, ...(transport && { transport }) });
    const bucket = quiver.bucket(name);
    await bucket.create();
    const index = bucket.index("i");
    await index.create({ dimension: 2, distanceMetric: "cosine", nonFilterableMetadataKeys: ["text"] });
    await index.put([
      { key: "east", data: [1, 0], metadata: { text: { any: ["json", null] } } },
      { key: "north", data: Float32Array.of(0, 1) },
    ]);
    const [east] = await index.get(["east", "none"], { data: true });
    assert.deepEqual(east, {
      key: "east",
      version: east?.version,
      data: Float32Array.of(1, 0),
      metadata: { text: { any: ["json", null] } },
    });
    const { vectors, exact } = await index.query([1, 0.1], { topK: 1 });
    assert.deepEqual([vectors.map(({ key }) => key), exact], [["east"], true]);
    const keys: string[] = [];
    for await (const { key } of index.list({ prefix: "n" })) keys.push(key);
    assert.deepEqual(keys, ["north"]);
    assert.deepEqual(await index.stats(), { vectorCount: 2, unindexedVectors: 2 });
    assert.equal(await index.deleteVectors(["east", "west"]), 1);
    const other = index.namespace("other");
    await other.put([{ key: "south", data: [0, -1] }]);
    assert.deepEqual(
      [(await other.get(["south", "north"])).length, (await index.get(["south", "north"])).length],
      [1, 1],
    );
    await index.delete();
    await bucket.delete();
    await assert.rejects(bucket.delete(), (error) => reasonOf(error) === "BUCKET_NOT_FOUND");
  }
});

test("the TypeScript client updates, filters, and queries in every way over each protocol", async (t) => {
  const { url } = await startServer(t);
  const transports = {
    fetch: undefined,
    json: createConnectTransport({
      baseUrl: url,
      httpVersion: "1.1",
      useBinaryFormat: false,
      jsonOptions: { registry },
    }),
    grpc: createGrpcTransport({ baseUrl: url }),
  };
  for (const [name, transport] of Object.entries(transports)) {
    const quiver = new Quiver({ url, ...(transport && { transport }) });
    const index = quiver.bucket(name).index("i");
    await quiver.bucket(name).create();
    await index.create({ dimension: 2, distanceMetric: "dot_product" });
    await index.put([
      { key: "a", data: [1, 0], metadata: { n: 1 } },
      { key: "b", data: [2, 0], sparse: { indices: [1, 7], values: [1, 2] }, metadata: { n: 2 } },
      { key: "c", sparse: { indices: [7], values: [3] }, metadata: { n: 3 } },
    ]);
    const keysOf = ({ vectors }: QueryAnswer) => vectors.map(({ key, distance }) => [key, distance]);
    const sparse = { indices: [7], values: [1] };
    assert.deepEqual(keysOf(await index.query({ key: "a" })), [["b", -2]]);
    assert.deepEqual(keysOf(await index.query({ sparse }, { topK: 1 })), [["c", -3]]);
    const hybrid = await index.query({ data: [1, 0], sparse, denseWeight: 0.25 }, { filter: { n: { $lt: 3 } } });
    assert.deepEqual(keysOf(hybrid), [
      ["b", -2],
      ["a", -0.25],
    ]);
    const [good, bad] = await index.queryBatch([{ target: [1, 0], topK: 1, data: true }, { target: { key: "none" } }]);
    assert.ok(good && "vectors" in good && good.exact);
    assert.deepEqual(good.vectors[0]?.sparse, { indices: [1, 7], values: [1, 2] });
    assert.equal(reasonOf(bad), "VECTOR_NOT_FOUND");

    const [{ version = 0n } = {}] = await index.get(["a"]);
    assert.equal(
      await index.update([{ key: "a", setMetadata: { n: null, m: 1 }, ifVersion: version }, { key: "x" }]),
      1,
    );
    await assert.rejects(index.put([{ key: "a", data: [1, 1], ifVersion: version }]), (error) => {
      return reasonOf(error) === "VERSION_MISMATCH";
    });
    assert.deepEqual((await index.get(["a"]))[0]?.metadata, { m: 1 });
    assert.equal(await index.updateMatching({ n: { $gt: 1 } }, { big: true }, { dryRun: true }), 2);
    assert.equal(await index.updateMatching({ n: { $gt: 1 } }, { big: true }), 2);
    const big: string[] = [];
    for await (const { key } of index.list({ filter: { big: true } })) big.push(key);
    assert.deepEqual(big, ["b", "c"]);
    assert.equal(await index.deleteVectors({ filter: { n: 3 } }), 1);
    assert.equal(await index.deleteVectors({ all: true }), 2);

    for (let i = 0; i < 2; i++) {
      await index.put(Array.from({ length: 600 }, (_, j) => ({ key: `${1_000 + i * 600 + j}`, data: [1, j] })));
    }
    const many = await index.query([0, 1], { topK: 10_000, metadata: false });
    assert.deepEqual([many.vectors.length, new Set(many.vectors.map(({ key }) => key)).size], [1_200, 1_200]);
  }
});

test("the TypeScript client brings its api key with every call and stream over each transport", async (t) => {
  const { url } = await startServer(t);
  const { apiKey } = await new Quiver({ url }).admin.createAccessKey({ role: AccessRole.ADMIN });
  const transports = { fetch: undefined, grpc: createGrpcTransport({ baseUrl: url }) };
  for (const [name, transport] of Object.entries(transports)) {
    const options = { url, ...(transport && { transport }) };
    const quiver = new Quiver({ ...options, apiKey });
    const index = quiver.bucket(name).index("i");
    await quiver.bucket(name).create();
    await index.create({ dimension: 2, distanceMetric: "cosine" });
    await index.put([{ key: "a", data: [1, 0] }]);
    let exported = 0;
    for await (const { vectors } of quiver.vectors.exportVectors({ vectorBucketName: name, indexName: "i" })) {
      exported += vectors.length;
    }
    assert.equal(exported, 1);
    const reasonOfDelete = async (other: Quiver) =>
      reasonOf(
        await other
          .bucket(name)
          .delete()
          .catch((error) => error),
      );
    assert.equal(await reasonOfDelete(new Quiver(options)), "CREDENTIALS_MISSING");
    assert.equal(await reasonOfDelete(new Quiver({ ...options, apiKey: `${apiKey}x` })), "CREDENTIALS_INVALID");
  }
});
