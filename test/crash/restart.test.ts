import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Index, Quiver } from "@quiver/client";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { exactSearch, recall } from "../support/exact-search.ts";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 128;
const TICKS_PER_SECOND = 100;
const VECTORS = rounds("RESTART_VECTORS", { quick: 20_000, full: 1_000_000 });
const CLUSTERS = 1_000;
const BATCH = 1_000;

/** From the start of the process to the first right answer; promised for a million vectors, so asserted only there. */
const SAVED_MS_MAX = 10_000;
const UNSAVED_MS_MAX = 30_000;
const PROMISED_VECTORS = 1_000_000;

/** From SIGTERM to the end of the process. */
const STOP_MS_MAX = 15_000;

/** Between two looks at a graph that is being built, which takes minutes in the full form. */
const POLL_MS = 100;

/** Written after the graph was saved, before the process is killed. */
const LATER = Math.floor(VECTORS / 100);

test("a server answers right soon after its start, with a saved graph and without", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t);
  const centres = Array.from({ length: CLUSTERS }, () => random.vector(DIMENSION));
  const draw = () => near(random.pick(centres), random);
  const model = new Map<string, Float32Array>();
  await fill(place.data, model, draw);
  const answers = () => Array.from({ length: 3 }, draw).map((query) => ({ query, expected: nearest(model, query) }));

  const unsaved = await place.start(answers());
  t.diagnostic(`without a saved graph: ${unsaved}`);
  await until(async () => {
    await setTimeout(POLL_MS);
    return (await place.index.stats()).unindexedVectors === 0;
  });

  const measured = await place.measuredRecall();

  const stopped = performance.now();
  assert.equal(await place.stop(), 0);
  const stopMs = performance.now() - stopped;
  assert.ok(stopMs <= STOP_MS_MAX, `SIGTERM took ${stopMs} ms`);
  assert.equal(place.savedFiles().length, 2);
  t.diagnostic(`SIGTERM, which saved the graph: ${Math.round(stopMs)} ms`);

  const saved = await place.start(answers());
  t.diagnostic(`with a saved graph: ${saved}`);
  assert.equal(saved.unindexed, 0, "the graph was built anew");
  assert.deepEqual(await place.measuredRecall(), measured, "its recall was measured anew");
  await place.assertRecall(model, draw);

  for (let i = 0; i < LATER; i += BATCH) {
    const puts = Array.from({ length: Math.min(BATCH, LATER - i) }, (_, j) => {
      return { key: `k${random.below(VECTORS + i + j)}`, data: draw() };
    });
    const distinct = [...new Map(puts.map((put) => [put.key, put])).values()];
    await place.index.put(distinct);
    for (const { key, data } of distinct) model.set(key, data);
    const deleted = Array.from({ length: 100 }, () => `k${random.below(VECTORS)}`);
    const keys = [...new Set(deleted)];
    await place.index.deleteVectors(keys);
    for (const key of keys) model.delete(key);
  }
  await place.kill();
  const replayed = await place.start(answers());
  t.diagnostic(`with a saved graph and ${LATER} later writes, after a kill -9: ${replayed}`);
  assert.ok(replayed.unindexed <= LATER, "the graph was built anew");
  await place.assertRecall(model, draw);

  await place.kill();
  rmSync(join(place.data, "graphs"), { recursive: true });
  const again = await place.start(answers());
  t.diagnostic(`without a saved graph, after a kill -9: ${again}`);
  assert.ok(again.unindexed > LATER, "the graph was there, though it was not saved");
  if (VECTORS < PROMISED_VECTORS) return;
  for (const { ms } of [saved, replayed]) assert.ok(ms <= SAVED_MS_MAX, `${ms} ms with a saved graph`);
  for (const { ms } of [unsaved, again]) assert.ok(ms <= UNSAVED_MS_MAX, `${ms} ms without a saved graph`);
});

/** The data directory, and the server over it. */
class Place {
  readonly data = temporaryDirectory();
  #server: ServerProcess | undefined;
  #index: Index | undefined;

  constructor(t: TestContext) {
    t.after(() => this.#server?.kill());
  }

  get index(): Index {
    assert.ok(this.#index);
    return this.#index;
  }

  /** Starts it, and measures until the first query is answered, and what no graph holds then; all answers are compared. */
  async start(queries: readonly { query: Float32Array; expected: readonly string[] }[]) {
    const started = performance.now();
    this.#server = await ServerProcess.start(this.data);
    const index = new Quiver({ transport: createGrpcTransport({ baseUrl: this.#server.url }) }).bucket("b").index("i");
    this.#index = index;
    const servesMs = performance.now() - started;
    let ms = 0;
    let cpu = 0;
    let unindexed = 0;
    for (const { query, expected } of queries) {
      const { vectors } = await index.query(query, { topK: 10, exact: true });
      if (ms === 0) {
        ms = performance.now() - started;
        cpu = cpuSecondsOf(this.#server.pid);
        unindexed = (await index.stats()).unindexedVectors;
      }
      assert.deepEqual(keysOf(vectors), expected);
    }
    const { pid } = this.#server;
    const text = `serves after ${Math.round(servesMs)} ms, first right answer after ${Math.round(ms)} ms and ${cpu} s of processors, ${memoryOf(pid)}`;
    return { ms, unindexed, toString: () => text };
  }

  /** Waits until the recall of the graph is known. */
  async measuredRecall() {
    const { indexes } = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(this.#server?.url ?? ""));
    const ask = () => indexes.getIndexStats({ vectorBucketName: "b", indexName: "i" });
    await until(async () => {
      await setTimeout(POLL_MS);
      return (await ask()).recall !== undefined;
    });
    return (await ask()).recall;
  }

  stop(): Promise<number | null> | undefined {
    return this.#server?.stop();
  }

  async kill(): Promise<void> {
    await this.#server?.kill();
  }

  savedFiles(): string[] {
    const graphs = join(this.data, "graphs");
    return readdirSync(graphs).flatMap((family) => readdirSync(join(graphs, family)));
  }

  async assertRecall(model: ReadonlyMap<string, Float32Array>, draw: () => Float32Array): Promise<void> {
    const queries = 30;
    let found = 0;
    for (let i = 0; i < queries; i++) {
      const query = draw();
      const { vectors } = await this.index.query(query, { topK: 10 });
      for (const { key } of vectors) assert.ok(model.has(key), `${key} was deleted`);
      found += recall(exactSearch("cosine", model, query, 10), vectors) / queries;
    }
    // The target is 0.95, and a single query may find half of it.
    assert.ok(found >= 0.85, `recall ${found}`);
  }
}

/** Puts all vectors, and ends without a saved graph. */
async function fill(path: string, model: Map<string, Float32Array>, draw: () => Float32Array): Promise<void> {
  const engine = await openEmbeddedEngine({
    path,
    onBackgroundError: (message, cause) => {
      throw new Error(message, { cause });
    },
  });
  await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
  const index = { bucket: "b", index: "i" };
  await engine.createIndex({
    ...index,
    createdAt: 1,
    dimension: DIMENSION,
    distanceMetric: "cosine",
    nonFilterableMetadataKeys: [],
    // This graph is not saved: the cheapest is good enough.
    m: 2,
    efConstruction: 8,
    deletionProtection: false,
    tags: {},
  });
  for (let first = 0; first < VECTORS; first += BATCH) {
    const batch = Array.from({ length: BATCH }, (_, i) => {
      return { key: `k${first + i}`, data: draw(), metadata: { part: i % 100, name: `name ${first + i}` } };
    });
    await engine.putVectors({ ...index, namespace: "" }, batch);
    for (const { key, data } of batch) model.set(key, data);
  }
  await engine.updateIndex(index, { m: 16, efConstruction: 40 });
  await engine.close({ withinMs: 0 });
}

function near(centre: Float32Array, random: Random): Float32Array {
  return centre.map((value) => value + (random.next() - 0.5));
}

function nearest(model: ReadonlyMap<string, Float32Array>, query: Float32Array): string[] {
  return keysOf(exactSearch("cosine", model, query, 10));
}

function keysOf(vectors: readonly { readonly key: string }[]): string[] {
  return vectors.map(({ key }) => key);
}

/** What a busy machine shows truer than the clock does. */
function cpuSecondsOf(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(" ");
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}

function memoryOf(pid: number | undefined): string {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mib = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024);
  return `resident ${mib("VmRSS")} MiB, at most ${mib("VmHWM")} MiB`;
}
