import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { crc32 } from "node:zlib";
import { createGraph, type Graph, type GraphError, type GraphOptions, loadGraph } from "../../native/hnsw.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { bitmapOf, clustered, effort, sequence } from "./hnsw-data.ts";

const dimension = 6;
const m = 4;
const options: GraphOptions = { dimension, metric: "cosine", m };
const nodes = 500;
const headerBytes = 64;
const deletedOffset = headerBytes + nodes;
const upperOffset = deletedOffset + Math.ceil(nodes / 32) * 4;
const nodeBytes = 4 + 2 * m * 4 + dimension * 4 + 8;

function coded(code: string): (error: GraphError) => boolean {
  return (error) => error instanceof Error && error.code === code;
}

/** A graph of 500 nodes (some removed) and 200 vectors in the tail (some removed). */
async function mixed(t: TestContext): Promise<{ graph: Graph; queries: Float32Array; directory: string }> {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const graph = createGraph(options);
  graph.add(
    Uint32Array.from(sequence(700), (i) => i * 2),
    clustered(random, 700, dimension),
  );
  assert.equal(await graph.build(nodes), nodes);
  graph.remove(Uint32Array.from(sequence(1_400).filter((o) => o % 2 === 0 && random.next() < 0.1)));
  t.after(() => graph.dispose());
  return { graph, queries: clustered(random, 40, dimension), directory: temporaryDirectory() };
}

async function assertSame(left: Graph, right: Graph, queries: Float32Array): Promise<void> {
  const allowed = bitmapOf(sequence(1_400).filter((ordinal) => ordinal % 3 === 0));
  for (const search of [{ k: 10 }, { k: 10, exact: true }, { k: 10, allowed }, { k: 2_000 }]) {
    assert.deepEqual(await left.search(queries, search), await right.search(queries, search));
  }
  for (const ordinal of sequence(1_401)) assert.deepEqual(left.get(ordinal), right.get(ordinal));
}

test("A loaded graph answers as the saved one did, and goes on as it does", async (t) => {
  const { graph, queries, directory } = await mixed(t);
  const path = join(directory, "graph");
  await graph.save(path);
  const loaded = await loadGraph(path, options);
  const { indexed, unindexed, deleted } = graph.stats();
  const stats = loaded.stats();
  assert.deepEqual([stats.indexed, stats.unindexed, stats.deleted], [indexed, unindexed, deleted]);
  await assertSame(graph, loaded, queries);
  for (const each of [graph, loaded]) {
    each.add(Uint32Array.of(5_001), queries.subarray(0, dimension));
    each.remove(Uint32Array.from(sequence(1_400).filter((ordinal) => each.get(ordinal) && ordinal % 5 === 0)));
    await each.build(1_000, 1);
  }
  await assertSame(graph, loaded, queries);
  assert.deepEqual(readdirSync(directory), ["graph"]);
  loaded.dispose();
});

test("An empty graph, a tail alone and nodes alone are saved and loaded", async (t) => {
  const { graph, queries, directory } = await mixed(t);
  const empty = createGraph(options);
  const tail = createGraph(options);
  tail.add(Uint32Array.from(sequence(40)), queries);
  await graph.build(1_000);
  for (const [i, each] of [empty, tail, graph].entries()) {
    const path = join(directory, `graph-${i}`);
    await each.save(path);
    const loaded = await loadGraph(path, options);
    await assertSame(each, loaded, queries);
    loaded.dispose();
  }
});

test("A graph that is disposed ends its save early, and leaves no file", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const directory = temporaryDirectory();
  const large = createGraph({ dimension: 1_000, metric: "euclidean" });
  const count = 20_000;
  large.add(Uint32Array.from(sequence(count)), new Float32Array(count * 1_000).fill(random.next()));
  const saving = large.save(join(directory, "graph"));
  large.dispose();
  await assert.rejects(saving, coded("DISPOSED"));
  assert.deepEqual(readdirSync(directory), []);
});

test("The file holds the vectors of the moment of the call, whatever is added, removed or built meanwhile", async (t) => {
  const { graph, queries, directory } = await mixed(t);
  const copyPath = join(directory, "copy");
  const path = join(directory, "graph");
  await graph.save(copyPath);
  const building = graph.build(150);
  const saving = graph.save(path);
  graph.add(
    Uint32Array.from(sequence(40), (i) => 9_000 + i),
    queries,
  );
  graph.remove(Uint32Array.from(sequence(1_400).filter((ordinal) => graph.get(ordinal) && ordinal % 7 === 0)));
  const builtLater = graph.build(1_000);
  await Promise.all([building, saving, builtLater, graph.save(path.replace("graph", "later"))]);
  const expected = await loadGraph(copyPath, options);
  const loaded = await loadGraph(path, options);
  for (const search of [{ k: 10 }, { k: 2_000 }]) {
    const exact = { ...search, exact: true };
    const { ordinals, distances } = await loaded.search(queries, exact);
    const moment = await expected.search(queries, exact);
    assert.deepEqual({ ordinals, distances }, { ordinals: moment.ordinals, distances: moment.distances });
  }
  assert.equal(loaded.get(9_000), undefined);
  loaded.add(Uint32Array.of(9_000), queries.subarray(0, dimension));
  expected.dispose();
  loaded.dispose();
});

test("A file of another dimension, metric or m is refused", async (t) => {
  const { graph, directory } = await mixed(t);
  const path = join(directory, "graph");
  await graph.save(path);
  for (const other of [{ dimension: 7 }, { metric: "euclidean" as const }, { m: 5 }]) {
    await assert.rejects(loadGraph(path, { ...options, ...other }), coded("CORRUPTION"));
  }
});

test("Every damaged byte and every truncation is found", async (t) => {
  const { graph, directory } = await mixed(t);
  const path = join(directory, "graph");
  await graph.save(path);
  const good = readFileSync(path);
  const offsets = [
    ...sequence(headerBytes),
    ...sequence(60).map((i) => headerBytes + Math.floor((i * (good.length - headerBytes)) / 60)),
    ...sequence(4).map((i) => good.length - 1 - i),
  ];
  for (const offset of offsets) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const bytes = Buffer.from(good);
      bytes[offset] = (bytes[offset] as number) ^ mask;
      writeFileSync(path, bytes);
      await assert.rejects(loadGraph(path, options), coded("CORRUPTION"), `byte ${offset} ^ ${mask}`);
    }
  }
  for (const length of [0, 1, 63, 64, 67, 68, upperOffset, good.length - 4, good.length - 1]) {
    writeFileSync(path, good.subarray(0, length));
    await assert.rejects(loadGraph(path, options), coded("CORRUPTION"), `length ${length}`);
  }
  writeFileSync(path, Buffer.concat([good, Buffer.alloc(4)]));
  await assert.rejects(loadGraph(path, options), coded("CORRUPTION"));
  writeFileSync(path, good);
  (await loadGraph(path, options)).dispose();
});

test("Wild contents under a right checksum are found or harmless", async (t) => {
  const { graph, queries, directory } = await mixed(t);
  const path = join(directory, "graph");
  await graph.save(path);
  const good = readFileSync(path);
  const upperLists = Number(good.readBigUInt64LE(48));
  const nodesOffset = upperOffset + upperLists * (1 + m) * 4;
  const tailOffset = nodesOffset + nodes * nodeBytes;
  const tailRows = good.readUInt32LE(36);
  const live = sequence(nodes).find((i) => !(((good[deletedOffset + (i >> 3)] as number) >> (i & 7)) & 1)) as number;
  const liveOffset = nodesOffset + live * nodeBytes;
  const write = async (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(good);
    change(bytes);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4);
    writeFileSync(path, bytes);
  };
  const wild: Record<string, (bytes: Buffer) => void> = {
    "link beyond the nodes": (bytes) => bytes.writeUInt32LE(nodes, nodesOffset + 4),
    "link far beyond the nodes": (bytes) => bytes.writeUInt32LE(0xfffffff0, nodesOffset + 4),
    "link to itself": (bytes) => bytes.writeUInt32LE(0, nodesOffset + 4),
    "too many links": (bytes) => bytes.writeUInt32LE(2 * m + 1, nodesOffset),
    "far too many links": (bytes) => bytes.writeUInt32LE(0xffff, nodesOffset),
    "a mark of hnswlib's": (bytes) => bytes.writeUInt32LE(0x10001, nodesOffset),
    "too many links above": (bytes) => bytes.writeUInt32LE(m + 1, upperOffset),
    "a level without its list": (bytes) => bytes.writeUInt8(200, headerBytes),
    "another highest level": (bytes) => bytes.writeInt32LE(60, 40),
    "no highest level": (bytes) => bytes.writeInt32LE(-1, 40),
    "entry point beyond the nodes": (bytes) => bytes.writeUInt32LE(nodes, 44),
    "an ordinal above 32 bits": (bytes) => bytes.writeUInt32LE(1, liveOffset + nodeBytes - 4),
    "the ordinal nowhere": (bytes) => bytes.writeUInt32LE(0xffffffff, liveOffset + nodeBytes - 8),
    "a value that is not finite": (bytes) => bytes.writeUInt32LE(0x7fc00000, liveOffset + 4 + 2 * m * 4),
    "the same ordinal twice in the tail": (bytes) => bytes.copyWithin(tailOffset, tailOffset + 4, tailOffset + 8),
    "an ordinal in graph and tail": (bytes) =>
      bytes.copyWithin(tailOffset, liveOffset + nodeBytes - 8, liveOffset + nodeBytes - 4),
    "a tail value that is not finite": (bytes) => bytes.writeUInt32LE(0x7f800000, tailOffset + tailRows * 4),
    "more nodes than there are": (bytes) => bytes.writeUInt32LE(0x7fffffff, 32),
    "more tail rows than there are": (bytes) => bytes.writeUInt32LE(0xffffffff, 36),
    "more upper lists than there are": (bytes) => bytes.writeBigUInt64LE(2n ** 63n, 48),
  };
  for (const [name, change] of Object.entries(wild)) {
    await write(change);
    await assert.rejects(loadGraph(path, options), coded("CORRUPTION"), name);
  }

  const rounds = effort / 20;
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let loads = 0;
  for (let round = 0; round < rounds; round++) {
    await write((bytes) => {
      for (let i = random.below(4); i >= 0; i--) {
        bytes.writeUInt32LE(
          random.pick([0, 1, nodes - 1, nodes, random.below(2 ** 32)]),
          4 * random.below(bytes.length / 4),
        );
      }
    });
    try {
      const loaded = await loadGraph(path, options);
      loads++;
      await loaded.search(queries, { k: 50 });
      await loaded.build(1_000);
      loaded.dispose();
    } catch (error) {
      assert.ok(coded("CORRUPTION")(error as GraphError), String(error));
    }
  }
  t.diagnostic(`${loads} of ${rounds} were harmless`);
});

test("A path that cannot be read or written is an IO_ERROR and leaves nothing behind", async (t) => {
  const { graph, directory } = await mixed(t);
  await assert.rejects(loadGraph(join(directory, "missing"), options), coded("IO_ERROR"));
  await assert.rejects(graph.save(join(directory, "missing", "graph")), coded("IO_ERROR"));
  await assert.rejects(loadGraph(directory, options), coded("CORRUPTION"));
  const folder = join(directory, "folder");
  mkdirSync(folder);
  await assert.rejects(graph.save(folder), coded("IO_ERROR"));
  assert.deepEqual(readdirSync(directory), ["folder"]);
  assert.ok(statSync(folder).isDirectory());
});
