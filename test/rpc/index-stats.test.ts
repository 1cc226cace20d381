import assert from "node:assert/strict";
import { test } from "node:test";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex } from "../support/resources.ts";
import { serverOfFile } from "../support/server.ts";
import { until } from "../support/until.ts";

/** Enough for a graph. */
const VECTORS = 6_000;
const BATCH = 1_000;

const server = serverOfFile();

test("the figures of an index tell what it holds, and what deleted vectors still take", async () => {
  const clients = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
  await createIndex(clients, "b", "i");
  const index = { vectorBucketName: "b", indexName: "i" };
  const statsOf = () => clients.indexes.getIndexStats(index);
  assert.equal((await statsOf()).bytes?.metadata, 0n);

  for (let first = 0; first < VECTORS; first += BATCH) {
    const vectors = Array.from({ length: BATCH }, (_, i) => ({
      key: `k${first + i}`,
      data: { float32: [first, i] },
      metadata: { place: first + i },
    }));
    await clients.vectors.putVectors({ ...index, vectors });
  }
  await until(async () => (await statsOf()).unindexedVectors === 0n);
  const full = await statsOf();
  assert.equal(full.vectorCount, BigInt(VECTORS));
  assert.equal(full.deletedVectors, 0n);
  for (const part of ["vectors", "graph", "keys", "metadata"] as const) {
    assert.ok((full.bytes?.[part] ?? 0n) >= VECTORS * 4, `${part}: ${full.bytes?.[part]} bytes`);
  }
  assert.equal(full.bytes?.reclaimable, 0n);

  const keys = Array.from({ length: 500 }, (_, i) => `k${i}`);
  await clients.vectors.deleteVectors({ ...index, keys });
  const after = await statsOf();
  assert.equal(after.vectorCount, BigInt(VECTORS - keys.length));
  assert.equal(after.deletedVectors, BigInt(keys.length));
  assert.ok((after.bytes?.reclaimable ?? 0n) > 0n);
});
