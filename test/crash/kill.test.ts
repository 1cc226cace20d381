import assert from "node:assert/strict";
import { test } from "node:test";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Quiver } from "@quiver/client";
import { exactSearch, recall } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const ROUNDS = Number(process.env.QUIVER_TEST_KILLS ?? 3);
const DIMENSION = 32;
const BATCH = 100;
const WRITERS = 4;

test("what was acknowledged before a kill -9 is there after the next start, key by key, whole and searchable", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory(t);
  const acknowledged = new Map<string, Float32Array>();
  const maybe = new Map<string, Float32Array>();

  server = await ServerProcess.start(data);
  await connect(server).quiver.bucket("b").create();
  await connect(server).index.create({ dimension: DIMENSION, distanceMetric: "cosine" });
  for (let round = 0; round < ROUNDS; round++) {
    const { index } = connect(server);
    const killAfter = acknowledged.size + BATCH * (20 + random.below(60));
    let batches = 0;
    const write = async () => {
      for (;;) {
        const batch = Array.from({ length: BATCH }, (_, i) => ({
          key: `r${round}-${batches}-${i}`,
          data: random.vector(DIMENSION),
        }));
        batches++;
        for (const { key, data } of batch) maybe.set(key, data);
        await index.put(batch);
        for (const { key, data } of batch) acknowledged.set(key, data);
        if (acknowledged.size >= killAfter) await server?.kill();
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: WRITERS }, write));
    assert.ok(ends.every(({ status }) => status === "rejected"));

    server = await ServerProcess.start(data);
    const restarted = connect(server).index;
    // Exact answers at once.
    const query = random.vector(DIMENSION);
    const found = await restarted.query(query, { topK: 10, exact: true });
    const stored = new Map<string, Float32Array>();
    for await (const vector of restarted.list({ data: true }))
      stored.set(vector.key, vector.data ?? new Float32Array());
    assert.deepEqual(
      found.vectors.map(({ key }) => key),
      exactSearch("cosine", stored, query, 10).map(({ key }) => key),
    );
    for (const [key, data] of acknowledged) assert.deepEqual(stored.get(key), data, `"${key}" was acknowledged`);
    for (const [key, data] of stored) assert.deepEqual(maybe.get(key), data, `"${key}" was never written so`);
    // A batch is whole or absent.
    const batchSizes = Object.groupBy(stored.keys(), (key) => key.slice(0, key.lastIndexOf("-")));
    for (const [batch, keys] of Object.entries(batchSizes)) assert.equal(keys?.length, BATCH, `batch ${batch}`);
    for (const [key, data] of stored) acknowledged.set(key, data);
  }

  const { index } = connect(server);
  await until(async () => (await index.stats()).unindexedVectors === 0);
  let recalls = 0;
  for (let i = 0; i < 50; i++) {
    const query = random.vector(DIMENSION);
    const answer = await index.query(query, { topK: 10 });
    recalls += recall(exactSearch("cosine", acknowledged, query, 10), answer.vectors) / 50;
  }
  assert.ok(recalls >= 0.9, `recall ${recalls} after ${ROUNDS} kills`);
  t.diagnostic(`${acknowledged.size} vectors, ${ROUNDS} kills, recall ${recalls.toFixed(3)}`);
});

test("a second server on the same data is refused with one line and harms nothing", async (t) => {
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory(t);
  server = await ServerProcess.start(data);
  await connect(server).quiver.bucket("b").create();
  await assert.rejects(
    ServerProcess.start(data),
    /ended with 1: quiver: Cannot open ".*": another process is using it/,
  );
  assert.equal((await connect(server).quiver.buckets.listVectorBuckets({})).vectorBuckets.length, 1);
});

test("SIGTERM ends the server with exit code 0 while connections are open", async (t) => {
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  server = await ServerProcess.start(temporaryDirectory(t));
  await connect(server).quiver.bucket("b").create();
  await fetch(new URL("/livez", server.url));
  assert.equal(await server.stop(), 0);
});

function connect(server: ServerProcess) {
  const quiver = new Quiver({ transport: createGrpcTransport({ baseUrl: server.url }) });
  return { quiver, index: quiver.bucket("b").index("i") };
}
