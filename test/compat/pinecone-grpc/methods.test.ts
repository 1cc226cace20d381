import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DistanceMetric } from "../../../gen/quiver/v1/resources_pb.ts";
import { createCa, createCertificate, type Pair, writePair } from "../../support/certificates.ts";
import { createClients } from "../../support/protocols.ts";
import { createIndex } from "../../support/resources.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { GrpcClient, METHODS } from "./grpc-client.ts";

let ca: Pair;
let own: Pair;
before(async () => {
  ca = await createCa("CA");
  own = await createCertificate("server", ca);
});

const SETTINGS = {
  "in the clear": () => ({ args: [], ca: undefined }),
  "over TLS": () => ({ args: writePair(temporaryDirectory(), own), ca: ca.cert }),
};

for (const [setting, choose] of Object.entries(SETTINGS)) {
  test(`a client made from the proto file calls every method, ${setting}`, async (t) => {
    const { args, ca } = choose();
    const url = await startCompatServer(t, args);
    await createIndex(createClients(createGrpcTransport({ baseUrl: url, nodeOptions: { ca } })), "default", "docs", {
      distanceMetric: DistanceMetric.DOT_PRODUCT,
    });
    const client = new GrpcClient(url, { ...(ca && { ca }) });
    t.after(() => client.close());
    await callEverything(client);
    assert.deepEqual([...client.called].sort(), [...METHODS].sort());
  });
}

async function callEverything(client: GrpcClient): Promise<void> {
  const namespace = "ns";
  const [a, b, c] = [
    { id: "a", values: [1, 0], metadata: { s: "x", n: 1.5, b: true, l: ["p", "q"] } },
    { id: "b", values: [0.1, 2], sparseValues: { indices: [7, 3], values: [0.5, 0.25] }, metadata: { s: "y" } },
    { id: "c", values: [3, 3] },
  ];
  const storedB = { ...b, values: [Math.fround(0.1), 2], sparseValues: { indices: [3, 7], values: [0.25, 0.5] } };

  assert.deepEqual(await client.call("Upsert", { vectors: [a, b, c], namespace }), { upsertedCount: 3 });
  assert.deepEqual(await client.call("Upsert", { vectors: [a, { ...a, values: [9, 9] }] }), { upsertedCount: 1 });

  const fetched = await client.call("Fetch", { ids: ["b", "nobody"], namespace });
  assert.deepEqual(fetched, { vectors: { b: storedB }, namespace, usage: { readUnits: 1 } });
  assert.deepEqual((await client.call("Fetch", { ids: ["a"] })).vectors, { a: { ...a, values: [9, 9] } });

  const byMetadata = { namespace, filter: { s: { $in: ["x", "y"] } } };
  const first = await client.call("FetchByMetadata", { ...byMetadata, limit: 1 });
  assert.deepEqual(first.vectors, { a });
  const { next } = first.pagination as { next: string };
  const second = await client.call("FetchByMetadata", { ...byMetadata, limit: 1, paginationToken: next });
  assert.deepEqual(second.vectors, { b: storedB });

  assert.deepEqual(await client.call("List", { namespace }), {
    vectors: [{ id: "a" }, { id: "b" }, { id: "c" }],
    namespace,
    usage: { readUnits: 1 },
  });
  assert.deepEqual((await client.call("List", { namespace, prefix: "b" })).vectors, [{ id: "b" }]);
  const page = await client.call("List", { namespace, limit: 2 });
  const rest = { namespace, paginationToken: (page.pagination as { next: string }).next };
  assert.deepEqual((await client.call("List", rest)).vectors, [{ id: "c" }]);

  const near = { topK: 2, vector: [1, 0], namespace };
  assert.deepEqual(await client.call("Query", { ...near, includeValues: true, includeMetadata: true }), {
    matches: [
      { id: "c", values: [3, 3], score: 3 },
      { ...a, score: 1 },
    ],
    namespace,
    usage: { readUnits: 1 },
  });
  const ids = (answer: Record<string, unknown>) => (answer.matches as { id: string }[]).map(({ id }) => id);
  assert.deepEqual(ids(await client.call("Query", { ...near, topK: 3 })), ["c", "a", "b"]);
  assert.deepEqual(ids(await client.call("Query", { topK: 1, id: "c", namespace })), ["c"]);
  assert.deepEqual(ids(await client.call("Query", { ...near, filter: { s: "y" } })), ["b"]);
  const hybrid = await client.call("Query", { ...near, sparseVector: { indices: [3], values: [100] } });
  assert.deepEqual(ids(hybrid), ["b", "c"]);

  assert.deepEqual(await client.call("Update", { id: "a", values: [5, 6], setMetadata: { n: 2 }, namespace }), {});
  const changed = { ...a, values: [5, 6], metadata: { ...a.metadata, n: 2 } };
  assert.deepEqual((await client.call("Fetch", { ids: ["a"], namespace })).vectors, { a: changed });
  const byFilter = { filter: { s: { $exists: true } }, setMetadata: { z: "z" }, namespace };
  assert.deepEqual(await client.call("Update", { ...byFilter, dryRun: true }), { matchedRecords: 2 });
  assert.deepEqual(await client.call("Update", byFilter), { matchedRecords: 2 });
  const found = await client.call("FetchByMetadata", { namespace, filter: { z: "z" } });
  assert.deepEqual(Object.keys(found.vectors as object).sort(), ["a", "b"]);

  // What is 0 is not sent, unless it is optional.
  assert.deepEqual(await client.call("DescribeIndexStats", {}), {
    namespaces: { __default__: { vectorCount: 1 }, ns: { vectorCount: 3 } },
    dimension: 2,
    totalVectorCount: 4,
    metric: "dotproduct",
    vectorType: "dense",
    memoryFullness: 0,
    storageFullness: 0,
  });

  assert.deepEqual(await client.call("Delete", { ids: ["a", "nobody"], namespace }), {});
  assert.deepEqual(await client.call("Delete", { filter: { s: "y" }, namespace }), {});
  assert.deepEqual((await client.call("List", { namespace })).vectors, [{ id: "c" }]);
  assert.deepEqual(await client.call("Delete", { deleteAll: true, namespace }), {});

  const made = await client.call("CreateNamespace", { name: "made", schema: { fields: { s: { filterable: true } } } });
  assert.deepEqual(made, { name: "made" });
  assert.deepEqual(await client.call("DescribeNamespace", { namespace: "made" }), made);
  const named = (await client.call("ListNamespaces", { prefix: "m" })).namespaces;
  assert.deepEqual(named, [made]);
  assert.deepEqual(await client.call("DeleteNamespace", { namespace: "made" }), {});
  const all = (await client.call("ListNamespaces", {})).namespaces as { name: string }[];
  assert.ok(!all.some(({ name }) => name === "made"));
}
