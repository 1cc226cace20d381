import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { exactSearch, recall } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { connect, loadUntilKilled, readAndCompare, WriterModel } from "./load.ts";

const ROUNDS = rounds("KILLS", { quick: 3, full: 500 });
const DIMENSION = 32;
const BATCH = 100;

test("what was acknowledged before a kill -9 is there after the next start, key by key, whole and searchable", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
  const model = new WriterModel();
  let batches = 0;
  const nextBatch = () => {
    const batch = batches++;
    return Array.from({ length: BATCH }, (_, i) => ({ key: `${batch}-${i}`, data: random.vector(DIMENSION) }));
  };

  server = await startWithIndex(data, DIMENSION);
  for (let round = 0; round < ROUNDS; round++) {
    const killAt = model.acknowledged.size + BATCH * (20 + random.below(60));
    await loadUntilKilled(server, model, { nextBatch, killAt });
    server = await ServerProcess.start(data);
    const { index } = connect(server);
    const query = random.vector(DIMENSION);
    const { vectors } = await index.query(query, { topK: 10, exact: true });
    const stored = await readAndCompare(index, model);
    assert.deepEqual(keysOf(vectors), keysOf(exactSearch("cosine", stored, query, 10)));
    const sizes = Object.groupBy(stored.keys(), (key) => key.slice(0, key.indexOf("-")));
    for (const [batch, keys] of Object.entries(sizes)) assert.equal(keys?.length, BATCH, `batch ${batch} is not whole`);
    for (const [key, vector] of stored) model.acknowledged.set(key, vector);
  }

  const { index } = connect(server);
  await until(async () => (await index.stats()).unindexedVectors === 0);
  let found = 0;
  for (let i = 0; i < 50; i++) {
    const query = random.vector(DIMENSION);
    const { vectors } = await index.query(query, { topK: 10 });
    found += recall(exactSearch("cosine", model.acknowledged, query, 10), vectors) / 50;
  }
  assert.ok(found >= 0.9, `recall ${found} after ${ROUNDS} kills`);
  t.diagnostic(`${model.acknowledged.size} vectors, ${ROUNDS} kills, recall ${found.toFixed(3)}`);
});

test("a kill -9 in the middle of loading real word vectors loses none that was acknowledged", async (t) => {
  const words = await readWords(t);
  if (!words) return;
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
  const model = new WriterModel();
  let next = 0;
  const nextBatch = () => {
    const from = next;
    next += 500;
    return words.slice(from, next).map(({ word, data }) => ({ key: word, data }));
  };

  server = await startWithIndex(data, 100);
  await loadUntilKilled(server, model, { nextBatch, killAt: 60_000 });
  const started = performance.now();
  server = await ServerProcess.start(data);
  const { index } = connect(server);
  const queries = words.slice(-20).map((word) => word.data);
  const atOnce = await index.query(queries[0] as Float32Array, { topK: 10, exact: true });
  const toFirstAnswer = performance.now() - started;
  const stored = await readAndCompare(index, model);
  assert.deepEqual(keysOf(atOnce.vectors), keysOf(exactSearch("cosine", stored, queries[0] as Float32Array, 10)));
  assert.ok(atOnce.exact);

  await until(async () => (await index.stats()).unindexedVectors === 0);
  let found = 0;
  for (const query of queries) {
    const { vectors, exact } = await index.query(query, { topK: 10 });
    assert.ok(!exact);
    found += recall(exactSearch("cosine", stored, query, 10), vectors) / queries.length;
  }
  assert.ok(found >= 0.9, `recall ${found}`);
  t.diagnostic(
    `${model.acknowledged.size} acknowledged, ${stored.size} stored, first exact answer ${Math.round(toFirstAnswer)} ms after the start, recall by graph ${found.toFixed(3)}`,
  );
});

test("a second server on the same data is refused with one line and harms nothing", async (t) => {
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
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
  server = await ServerProcess.start(temporaryDirectory());
  await connect(server).quiver.bucket("b").create();
  await fetch(new URL("/livez", server.url));
  assert.equal(await server.stop(), 0);
});

async function startWithIndex(data: string, dimension: number): Promise<ServerProcess> {
  const server = await ServerProcess.start(data);
  const { quiver, index } = connect(server);
  await quiver.bucket("b").create();
  await index.create({ dimension, distanceMetric: "cosine" });
  return server;
}

/** The demo's words; undefined, with the reason printed, where its packages are not installed. */
async function readWords(t: TestContext) {
  if (existsSync(resolve(import.meta.dirname, "../../demo/node_modules"))) {
    return (await import("../../demo/words.ts")).readWords();
  }
  const reason = "the demo's packages are not installed (scripts/install demo)";
  if (process.env.CI) throw new Error(reason);
  t.skip(reason);
  return undefined;
}

function keysOf(vectors: readonly { key: string }[]): string[] {
  return vectors.map(({ key }) => key);
}
