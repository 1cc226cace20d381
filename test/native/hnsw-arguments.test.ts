import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { createGraph, type Graph, type GraphError, loadGraph, type SearchOptions } from "../../native/hnsw.ts";
import { effort } from "./hnsw-data.ts";
import { methodsOf } from "./rocksdb-support.ts";

const options = { dimension: 2, metric: "cosine" } as const;

function isInvalid(error: GraphError): boolean {
  return error instanceof Error && error.code === "INVALID_ARGUMENT" && error.message.length > 10;
}

/** Gives a function what its types forbid. */
function loosely<Result>(call: (...args: never[]) => Result): (...args: unknown[]) => Result {
  return call as unknown as (...args: unknown[]) => Result;
}

function detached(): Float32Array {
  const array = new Float32Array(2);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

test("Options out of range or of a wrong type are refused", async () => {
  const wrong: unknown[] = [
    undefined,
    null,
    7,
    [],
    {},
    { dimension: 2 },
    { metric: "cosine" },
    ...[0, -1, 1.5, 20_001, Number.NaN, Number.POSITIVE_INFINITY, "2", 2n].map((dimension) => ({
      ...options,
      dimension,
    })),
    ...["", "Cosine", "l2", 0, null, "cosine\0"].map((metric) => ({ ...options, metric })),
    ...[1, 257, 2.5, "16", null].map((m) => ({ ...options, m })),
    ...[7, 4_097, Number.NaN].map((efConstruction) => ({ ...options, efConstruction })),
    ...[-1, 2 ** 32, 0.5].map((seed) => ({ ...options, seed })),
    Object.defineProperty({ ...options }, "m", { get: () => assert.fail("a getter that throws") }),
  ];
  for (const value of wrong) {
    assert.throws(() => loosely(createGraph)(value), isInvalid);
    await assert.rejects(loosely(loadGraph)("/nowhere", value), isInvalid);
  }
  for (const path of ["", "a\0b", 7, undefined, "x".repeat(10_000)]) {
    await assert.rejects(loosely(loadGraph)(path, options), isInvalid);
  }
});

test("Vectors and ordinals that do not fit are refused, and nothing of them stays", () => {
  const graph = createGraph(options);
  graph.add(Uint32Array.of(5), Float32Array.of(1, 0));
  const shared = new Float32Array(new SharedArrayBuffer(8)).fill(1);
  const wrong: [unknown, unknown][] = [
    [undefined, undefined],
    [[1], [1, 2]],
    [Uint32Array.of(1), Float32Array.of(1)],
    [Uint32Array.of(1), Float32Array.of(1, 2, 3)],
    [Uint32Array.of(1), Float64Array.of(1, 2)],
    [Int32Array.of(1), Float32Array.of(1, 2)],
    [Uint32Array.of(1), shared],
    [new Uint32Array(new SharedArrayBuffer(4)), Float32Array.of(1, 2)],
    [Uint32Array.of(1), detached()],
    [Uint32Array.of(), detached()],
    [Uint32Array.of(1), Float32Array.of(0, 0)],
    [Uint32Array.of(1), Float32Array.of(1, Number.NaN)],
    [Uint32Array.of(1), Float32Array.of(1, Number.NEGATIVE_INFINITY)],
    [Uint32Array.of(1, 1), Float32Array.of(1, 2, 3, 4)],
    [Uint32Array.of(1, 5), Float32Array.of(1, 2, 3, 4)],
    [Uint32Array.of(1, 2 ** 32 - 1), Float32Array.of(1, 2, 3, 4)],
    [Uint32Array.of(3, 2, 3), Float32Array.of(1, 2, 3, 4, 5, 6)],
  ];
  for (const [ordinals, vectors] of wrong)
    assert.throws(() => loosely(graph.add).call(graph, ordinals, vectors), isInvalid);
  for (const ordinals of [
    undefined,
    [5],
    Uint32Array.of(6),
    Uint32Array.of(5, 5),
    Uint32Array.of(5, 6),
    Int32Array.of(5),
  ]) {
    assert.throws(() => loosely(graph.remove).call(graph, ordinals), isInvalid);
  }
  for (const ordinal of [undefined, -1, 0.5, 2 ** 32, "5", Number.NaN]) {
    assert.throws(() => loosely(graph.get).call(graph, ordinal), isInvalid);
  }
  assert.equal(graph.stats().unindexed, 1);
  assert.equal(graph.get(1), undefined);
  assert.equal(graph.get(2 ** 32 - 1), undefined);
  graph.add(Uint32Array.of(2 ** 32 - 2, 0), Float32Array.of(3, 4, 1, 0));
  graph.add(new Uint32Array(0), new Float32Array(0));
  assert.equal(graph.stats().unindexed, 3);
  graph.remove(new Uint32Array(0));
  graph.dispose();
});

test("Searches, builds and saves with wrong arguments are refused", async () => {
  const graph = createGraph(options);
  graph.add(Uint32Array.of(5), Float32Array.of(1, 0));
  const query = Float32Array.of(1, 1);
  const wrong: [unknown, unknown][] = [
    ...[undefined, [1, 1], new Float32Array(0), Float32Array.of(1), new Float64Array(2), detached()].map(
      (queries): [unknown, unknown] => [queries, { k: 1 }],
    ),
    [Float32Array.of(0, 0), { k: 1 }],
    [Float32Array.of(Number.NaN, 0), { k: 1 }],
    [new Float32Array(20_002).fill(1), { k: 1 }],
    [new Float32Array(20_000).fill(1), { k: 1_001 }],
    ...[undefined, null, {}, 5].map((value): [unknown, unknown] => [query, value]),
    ...[0, -1, 1.5, 20_001, Number.NaN, "1", null].map((k): [unknown, unknown] => [query, { k }]),
    ...[0, 100_001, "64"].map((efSearch): [unknown, unknown] => [query, { k: 1, efSearch }]),
    ...[0, -5, Number.NaN].map((visitBudget): [unknown, unknown] => [query, { k: 1, visitBudget }]),
    ...[0, "yes", null].map((exact): [unknown, unknown] => [query, { k: 1, exact }]),
    ...[null, [1], new Int32Array(1), new Uint32Array(new SharedArrayBuffer(4))].map((allowed): [unknown, unknown] => [
      query,
      { k: 1, allowed },
    ]),
    ...[null, [1], new Int32Array(1), new Uint32Array(0), new Uint32Array(2)].map((without): [unknown, unknown] => [
      query,
      { k: 1, without },
    ]),
  ];
  for (const [queries, search] of wrong)
    await assert.rejects(loosely(graph.search).call(graph, queries, search), isInvalid);
  for (const args of [[], [0], [-1], [1_000_001], [1, 0], [1, 257], ["1"], [1, null]]) {
    await assert.rejects(loosely(graph.build).call(graph, ...args), isInvalid);
  }
  const ordinals = Uint32Array.of(5);
  const wrongDistances: [unknown, unknown][] = [
    ...[
      undefined,
      [1, 1],
      new Float32Array(0),
      Float32Array.of(1),
      new Float32Array(4).fill(1),
      new Float64Array(2),
    ].map((wrongQuery): [unknown, unknown] => [wrongQuery, ordinals]),
    [detached(), ordinals],
    [Float32Array.of(0, 0), ordinals],
    [Float32Array.of(Number.NaN, 1), ordinals],
    [Float32Array.of(1, Number.POSITIVE_INFINITY), ordinals],
    ...[undefined, null, 5, [5], Int32Array.of(5), new Uint32Array(new SharedArrayBuffer(4))].map(
      (wrongOrdinals): [unknown, unknown] => [query, wrongOrdinals],
    ),
    [query, new Uint32Array(10_000_001)],
  ];
  for (const args of wrongDistances) await assert.rejects(loosely(graph.distances).apply(graph, args), isInvalid);
  for (const path of [undefined, "", "a\0b", 5]) await assert.rejects(loosely(graph.save).call(graph, path), isInvalid);
  const found = await graph.search(query, { k: 1, allowed: new Uint32Array(0) });
  assert.deepEqual([...found.counts], [0]);
  graph.dispose();
});

test("A getter that disposes the graph or detaches the queries does no harm", async () => {
  const graph = createGraph(options);
  graph.add(Uint32Array.of(5), Float32Array.of(1, 0));
  const query = Float32Array.of(1, 1);
  const detaching = {
    get k() {
      structuredClone(query.buffer, { transfer: [query.buffer] });
      return 1;
    },
  };
  await assert.rejects(graph.search(query, detaching), isInvalid);
  const disposing: SearchOptions = {
    get k() {
      graph.dispose();
      return 1;
    },
  };
  await assert.rejects(graph.search(Float32Array.of(1, 1), disposing), { code: "DISPOSED" });
});

test("Methods refuse a `this` that is not a graph", async () => {
  const graph = createGraph(options);
  const GraphClass = graph.constructor as new () => Graph;
  for (const self of [undefined, {}, Object.create(graph), new GraphClass(), Object.getPrototypeOf(graph)]) {
    for (const name of ["add", "remove", "get", "stats", "dispose"] as const) {
      assert.throws(() => Reflect.apply(graph[name], self, []));
    }
    for (const name of ["build", "search", "distances", "save"] as const) {
      await assert.rejects(async () => Reflect.apply(graph[name], self, [1]));
    }
  }
  graph.dispose();
});

test(`${effort} calls with random arguments throw or return and never kill the process`, (t) => {
  const seed = Number(process.env.QUIVER_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`seed ${seed}`);
  const child = spawnSync(
    process.execPath,
    [new URL("hnsw-fuzz.ts", import.meta.url).pathname, `${seed}`, `${effort}`],
    {
      encoding: "utf8",
    },
  );
  assert.deepEqual([child.status, child.signal], [0, null], child.stderr);
  const { threw, returned, called } = JSON.parse(child.stdout) as { threw: number; returned: number; called: string[] };
  t.diagnostic(`${threw} threw, ${returned} returned`);
  assert.equal(threw + returned, effort);
  assert.deepEqual(called, ["create", "load", ...methodsOf("hnsw.ts")].sort(), "every method is called, and no other");
  assert.ok(returned > effort / 100, "Nearly all calls were refused");
});
