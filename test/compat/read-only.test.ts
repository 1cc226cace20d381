import assert from "node:assert/strict";
import { constants } from "node:os";
import { type TestContext, test } from "node:test";
import { PutVectorsCommand, S3VectorsClient } from "@aws-sdk/client-s3vectors";
import { Quiver } from "../../clients/typescript/index.ts";
import { Disk, hasShim } from "../crash/shim/shim.ts";
import { CLIENTS } from "./pinecone/clients.ts";

const INDEX = "papers";
const VALUES = [1, 2, 3];

/** A server whose disk has failed, so that every write is UNAVAILABLE, with an index that can still be read. */
async function startReadOnly(t: TestContext): Promise<string> {
  const disk = new Disk();
  const server = await disk.start();
  t.after(() => server.kill());
  const bucket = new Quiver({ url: server.url }).bucket("default");
  await bucket.create();
  const index = bucket.index(INDEX);
  await index.create({ dimension: VALUES.length, distanceMetric: "cosine" });
  await index.put([{ key: "a", data: VALUES }]);
  disk.setFaults([
    { call: "fsync", pattern: "data/*.log", first: 1, count: 1, action: "error", value: constants.errno.EIO },
  ]);
  await assert.rejects(index.put([{ key: "b", data: VALUES }]));
  return server.url;
}

test("clients try what a server cannot write as often as they do with their own service, and reads go on", async (t) => {
  if (!hasShim(t)) return;
  const url = await startReadOnly(t);

  await t.test("@aws-sdk/client-s3vectors: three times, then ServiceUnavailableException", async () => {
    const client = new S3VectorsClient({
      region: "us-east-1",
      endpoint: url,
      credentials: { accessKeyId: "k", secretAccessKey: "s" },
    });
    const vectors = [{ key: "c", data: { float32: VALUES } }];
    const put = client.send(new PutVectorsCommand({ vectorBucketName: "default", indexName: INDEX, vectors }));
    await assert.rejects(put, ({ name, $metadata }: Error & { $metadata: { attempts: number } }) => {
      assert.equal(name, "ServiceUnavailableException");
      assert.equal($metadata.attempts, 3);
      return true;
    });
  });

  for (const { version, connect } of CLIENTS) {
    const attempts = version === 6 ? 3 : 4;
    await t.test(
      `@pinecone-database/pinecone ${version}: ${attempts} times, then PineconeMaxRetriesExceededError`,
      async () => {
        const statuses: number[] = [];
        const client = connect({
          url,
          onAnswer: (answer) => {
            statuses.push(answer.status);
          },
        });
        const index = client.index(INDEX);
        assert.equal((await index.query({ vector: VALUES, topK: 1 })).matches[0]?.id, "a");
        statuses.length = 0;
        await assert.rejects(index.upsert([{ id: "c", values: VALUES }]), { name: "PineconeMaxRetriesExceededError" });
        assert.deepEqual(statuses, Array(attempts).fill(503));
      },
    );
  }
});
