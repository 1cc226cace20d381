import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createGraph, type GraphError } from "../../native/hnsw.ts";
import { Random } from "../support/random.ts";
import { bitmapOf, clustered, concatenate, effort, resultsOf, sequence } from "./hnsw-data.ts";

const module = new URL("../../native/hnsw.ts", import.meta.url).href;

test("Searches see what was acknowledged before them and nothing removed, while vectors come, go and are built", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const dimension = 24;
  const graph = createGraph({ dimension, metric: "euclidean", efConstruction: 40 });
  const live = new Map<number, Float32Array>();
  let next = 0;
  let building: Promise<number> | undefined;
  const searches: Promise<void>[] = [];

  const search = async () => {
    const [ordinal, query] = random.pick([...live]);
    const exact = random.next() < 0.5;
    const filtered = random.next() < 0.3;
    const allowed = filtered ? { allowed: bitmapOf([...live.keys()].filter((o) => o % 2 === ordinal % 2)) } : {};
    const before = new Set(live.keys());
    const options = { k: 10, exact, ...allowed };
    const found = resultsOf(
      await (random.next() < 0.5 ? graph.search(query, options) : graph.searchHere(query, options)),
      0,
    );
    // What was live before and still is must have been there all the time.
    assert.ok(found.length === 10 || found.length >= [...live.keys()].filter((o) => before.has(o)).length / 2 - 1);
    for (const hit of found) assert.ok(before.has(hit.ordinal) || hit.ordinal >= next - 500, `${hit.ordinal} was gone`);
    assert.equal(new Set(found.map((hit) => hit.ordinal)).size, found.length);
    if (exact && live.has(ordinal)) assert.deepEqual(found[0], { ordinal, distance: 0 });
  };

  for (let round = 0; round < effort / 50; round++) {
    const fresh = sequence(1 + random.below(60)).map((i) => [next + i, random.vector(dimension)] as const);
    next += fresh.length;
    graph.add(
      Uint32Array.from(fresh, ([ordinal]) => ordinal),
      concatenate(fresh.map(([, vector]) => vector)),
    );
    for (const [ordinal, vector] of fresh) live.set(ordinal, vector);
    const gone = [...live.keys()].filter(() => random.next() < 0.02);
    graph.remove(Uint32Array.from(gone));
    for (const ordinal of gone) live.delete(ordinal);
    building ??= graph.build(1 + random.below(2_000), 1 + random.below(4)).finally(() => {
      building = undefined;
    });
    searches.push(search(), search());
    if (searches.length >= 8) await Promise.all(searches.splice(0));
    if (round % 20 === 0) {
      const { indexed, unindexed } = graph.stats();
      assert.equal(indexed + unindexed, live.size);
      for (const [ordinal, vector] of [...live].slice(0, 50)) assert.deepEqual(graph.get(ordinal), vector);
      for (const ordinal of gone) assert.equal(graph.get(ordinal), undefined);
    }
  }
  await Promise.all(searches);
  await building;
  await graph.build(1_000_000);
  assert.equal(graph.stats().indexed, live.size);
  const [some] = live.values();
  const all = await graph.search(some as Float32Array, { k: 20_000, exact: true });
  assert.deepEqual(new Set(all.ordinals), new Set(live.keys()));
  graph.dispose();
});

test("Builds run one after the other and add up", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const graph = createGraph({ dimension: 8, metric: "cosine" });
  graph.add(Uint32Array.from(sequence(3_000)), clustered(random, 3_000, 8));
  const moved = await Promise.all([graph.build(1_000), graph.build(1, 256), graph.build(5_000, 3), graph.build(10)]);
  assert.deepEqual(moved, [1_000, 1, 1_999, 0]);
  graph.dispose();
});

test("A disposed graph ends its build early, answers what runs and refuses the rest", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const count = 50_000;
  const graph = createGraph({ dimension: 32, metric: "cosine", efConstruction: 400 });
  const vectors = clustered(random, count, 32);
  graph.add(Uint32Array.from(sequence(count)), vectors);
  const building = graph.build(count);
  const searching = graph.search(vectors.subarray(0, 3_200), { k: 10 });
  const first = await graph.search(vectors.subarray(0, 32), { k: 1 });
  graph.dispose();
  graph.dispose();
  assert.ok((await building) < count);
  assert.ok((await searching).counts.every((results) => results === 10));
  assert.equal(first.counts[0], 1);
  const disposed = (error: GraphError) => error instanceof Error && error.code === "DISPOSED";
  assert.throws(() => graph.add(new Uint32Array(1), new Float32Array(32)), disposed);
  assert.throws(() => graph.remove(new Uint32Array(1)), disposed);
  assert.throws(() => graph.get(1), disposed);
  assert.throws(() => graph.stats(), disposed);
  await assert.rejects(graph.build(1), disposed);
  await assert.rejects(graph.search(new Float32Array(32), { k: 1 }), disposed);
  await assert.rejects(graph.save("/nowhere"), disposed);
});

const busy = `
  import { createGraph } from ${JSON.stringify(module)};
  const count = 40_000, dimension = 64;
  let state = 1;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32 - 0.5;
  const vectors = Float32Array.from({ length: count * dimension }, next);
  for (let i = 0; i < 2; i++) {
    const graph = createGraph({ dimension, metric: "cosine" });
    graph.add(Uint32Array.from({ length: count }, (_, i) => i), vectors);
    graph.build(count);
    graph.search(vectors.subarray(0, 1000 * dimension), { k: 10, exact: i === 0 });
    graph.distances(vectors.subarray(0, dimension), new Uint32Array(1_000_000));
    graph.save("/proc/nowhere").catch(() => {});
  }
`;

test("A process may exit while builds and searches run", async () => {
  const source = `${busy} setImmediate(() => process.exit(7));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", source], { stdio: "inherit" });
  assert.deepEqual(await once(child, "exit"), [7, null]);
});

test("A process ends by itself once its builds have ended, with graphs that nobody disposed", async () => {
  const source = `${busy.replace("40_000", "2_000")} process.exitCode = 8;`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", source], { stdio: "inherit" });
  assert.deepEqual(await once(child, "exit"), [8, null]);
});

test("A worker thread may end or be terminated while builds and searches run", async () => {
  for (const end of ["process.exit(0)", 'parentPort.postMessage("busy")']) {
    const source = `import { parentPort } from "node:worker_threads"; ${busy} setImmediate(() => ${end});`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    const exit = once(worker, "exit");
    if (end !== "process.exit(0)") {
      await once(worker, "message");
      await worker.terminate();
    }
    await exit;
  }
});
