import assert from "node:assert/strict";
import { test } from "node:test";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Quiver, reasonOf } from "@quiver/client";
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
    assert.deepEqual(east, { key: "east", data: Float32Array.of(1, 0), metadata: { text: { any: ["json", null] } } });
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
