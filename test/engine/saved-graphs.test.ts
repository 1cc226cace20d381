import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { crc32 } from "node:zlib";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { openSavedGraphs } from "../../src/engine/embedded/set/saved-graphs.ts";
import type {
  DistanceMetric,
  Engine,
  Index,
  Metadata,
  Query,
  SparseData,
  VectorInput,
} from "../../src/engine/engine.ts";
import { exactSearch, recall } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 12;
const VECTORS = 6_000;
const DAMAGES = rounds("SAVED_GRAPH_DAMAGES", { quick: 60, full: 400 });
const index = { bucket: "b", index: "i" };

interface Stored {
  data: Float32Array | undefined;
  sparse: SparseData | undefined;
  metadata: Metadata;
}

/** What a namespace must hold: knows nothing of ordinals, graphs and files. */
type Model = Map<string, Stored>;

class Place {
  readonly path = temporaryDirectory();
  readonly complaints: string[] = [];
  readonly #metric: DistanceMetric;
  #engine: Engine | undefined;

  constructor(t: TestContext, metric: DistanceMetric) {
    this.#metric = metric;
    t.after(() => this.#engine?.close({ withinMs: 0 }));
  }

  get engine(): Engine {
    assert.ok(this.#engine);
    return this.#engine;
  }

  get graphs(): string {
    const graphs = join(this.path, "graphs");
    const [family] = existsSync(graphs) ? readdirSync(graphs) : [];
    return join(graphs, family ?? "none");
  }

  get files(): string[] {
    return existsSync(this.graphs) ? readdirSync(this.graphs).sort() : [];
  }

  /** The one file of this kind. */
  file(kind: ".keys" | ".graph"): string {
    const [file, ...others] = this.files.filter((each) => each.endsWith(kind));
    assert.ok(file !== undefined && others.length === 0, `${this.files}`);
    return file;
  }

  async open(): Promise<Engine> {
    this.#engine = await openEmbeddedEngine({
      path: this.path,
      onBackgroundError: (message) => void this.complaints.push(message),
    });
    return this.#engine;
  }

  async create(changes: Partial<Index> = {}): Promise<Engine> {
    const engine = await this.open();
    await engine.createBucket({ name: "b", createdAt: 1, tags: {} });
    await engine.createIndex({
      ...index,
      createdAt: 1,
      dimension: DIMENSION,
      distanceMetric: this.#metric,
      nonFilterableMetadataKeys: [],
      m: 8,
      efConstruction: 60,
      deletionProtection: false,
      tags: {},
      ...changes,
    });
    return engine;
  }

  /** `saves`: whether the end saves graphs. */
  async close({ saves }: { saves: boolean }): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    await engine?.close(saves ? {} : { withinMs: 0 });
  }

  async restart({ saves }: { saves: boolean }): Promise<Engine> {
    await this.close({ saves });
    return this.open();
  }
}

function clustered(random: Random): Float32Array {
  const vector = random.vector(DIMENSION);
  vector[random.below(DIMENSION)] = 4;
  return vector;
}

function vectorOf(random: Random, metric: DistanceMetric, round: number): Stored {
  const hasSparse = metric === "dot_product" && random.next() < 0.3;
  const sparse = hasSparse
    ? { indices: Uint32Array.of(1 + random.below(5), 10 + random.below(5)), values: Float32Array.of(1, random.next()) }
    : undefined;
  const data = hasSparse && random.next() < 0.3 ? undefined : clustered(random);
  return { data, sparse, metadata: { round, part: random.below(7) } };
}

async function put(engine: Engine, namespace: string, model: Model, vectors: Map<string, Stored>): Promise<void> {
  const all = [...vectors].map(([key, { data, sparse, metadata }]): VectorInput => {
    return { key, metadata, ...(data && { data }), ...(sparse && { sparse }) };
  });
  for (let at = 0; at < all.length; at += 1_000) {
    await engine.putVectors({ ...index, namespace }, all.slice(at, at + 1_000));
  }
  for (const [key, stored] of vectors) model.set(key, stored);
}

async function fill(engine: Engine, namespace: string, model: Model, random: Random, metric: DistanceMetric) {
  const vectors = Array.from({ length: VECTORS }, (_, i) => [`k${i}`, vectorOf(random, metric, 0)] as const);
  await put(engine, namespace, model, new Map(vectors));
  await isReady(engine);
}

async function isReady(engine: Engine): Promise<void> {
  await until(async () => (await engine.indexStats(index)).state === "ready");
}

async function ask(engine: Engine, namespace: string, query: Pick<Query, "target" | "search"> & Partial<Query>) {
  const projection = { data: true, metadata: true };
  const answer = await engine.queryVectors(
    { ...index, namespace },
    { topK: 10, filter: undefined, projection, ...query },
  );
  return answer.vectors;
}

/** Every way to read answers what the model says. */
async function assertEqual(engine: Engine, namespace: string, model: Model, random: Random, metric: DistanceMetric) {
  const partition = { ...index, namespace };
  assert.equal((await engine.getNamespace(partition)).vectorCount, model.size);
  const dense = new Map([...model].flatMap(([key, { data }]) => (data ? [[key, data] as const] : [])));
  let found = 0;
  const queries = 20;
  for (let i = 0; i < queries; i++) {
    const data = clustered(random);
    const expected = exactSearch(metric, dense, data, 10);
    const exact = await ask(engine, namespace, { target: { kind: "vector", data }, search: { kind: "exact" } });
    assert.deepEqual(
      exact.map(({ key }) => key),
      expected.map(({ key }) => key),
    );
    const near = await ask(engine, namespace, {
      target: { kind: "vector", data },
      search: { kind: "ef_search", efSearch: 100 },
    });
    for (const { key, data: held, metadata } of near) {
      const stored = model.get(key);
      assert.ok(stored, `${key} was deleted`);
      assert.deepEqual(held, stored.data);
      assert.deepEqual(metadata, stored.metadata);
    }
    found += recall(expected, near) / queries;
  }
  assert.ok(found >= 0.9, `recall ${found}`);
  const part = random.below(7);
  const filter = { kind: "in", key: "part", values: [part] } as const;
  const target = { kind: "vector", data: clustered(random) } as const;
  const filtered = await ask(engine, namespace, { target, search: { kind: "exact" }, filter });
  const eligible = new Map([...dense].filter(([key]) => model.get(key)?.metadata.part === part));
  assert.deepEqual(
    filtered.map(({ key }) => key),
    exactSearch(metric, eligible, target.data, 10).map(({ key }) => key),
  );
}

/** Writes of every kind, too few for the end to save the graph again: what a start has to take from the store. */
async function change(
  engine: Engine,
  namespace: string,
  model: Model,
  random: Random,
  metric: DistanceMetric,
  round: number,
) {
  const partition = { ...index, namespace };
  const keys = [...model.keys()];
  const some = (count: number) => new Set(Array.from({ length: count }, () => random.pick(keys)));
  const fresh = Array.from({ length: 40 }, (_, i) => `new-${round}-${i}`);
  const puts = [...some(60), ...fresh].map((key) => [key, vectorOf(random, metric, round)] as const);
  await put(engine, namespace, model, new Map(puts));
  const deleted = [...some(60)];
  await engine.deleteVectors(partition, { kind: "keys", keys: deleted });
  for (const key of deleted) model.delete(key);
  const again = deleted.slice(0, 20).map((key) => [key, vectorOf(random, metric, round)] as const);
  await put(engine, namespace, model, new Map(again));
  const updated = [...some(60)].filter((key) => model.has(key));
  await engine.updateVectors(
    partition,
    { kind: "keys", updates: updated.map((key) => ({ key, setMetadata: { part: 3, round } })) },
    { dryRun: false, assertMetadata: () => {} },
  );
  for (const key of updated) {
    const stored = model.get(key) as Stored;
    model.set(key, { ...stored, metadata: { ...stored.metadata, part: 3, round } });
  }
  if (metric !== "dot_product") return;
  const sparse = { indices: Uint32Array.of(2), values: Float32Array.of(random.next()) };
  const stripped = [...some(20)].map(
    (key) => [key, { data: undefined, sparse, metadata: { round, part: 1 } }] as const,
  );
  await put(engine, namespace, model, new Map(stripped));
}

for (const metric of ["cosine", "euclidean", "dot_product"] as const) {
  test(`${metric}: a start with a saved graph and later writes answers what is stored, and builds nothing anew`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const place = new Place(t, metric);
    const model: Model = new Map();
    let engine = await place.create();
    await fill(engine, "", model, random, metric);
    engine = await place.restart({ saves: true });
    assert.equal(place.files.length, 2);
    assert.equal((await engine.indexStats(index)).unindexedVectors, 0, "the graph was built anew");
    await assertEqual(engine, "", model, random, metric);

    const graph = place.file(".graph");
    for (let round = 1; round <= 3; round++) {
      await change(engine, "", model, random, metric, round);
      engine = await place.restart({ saves: false });
      const { unindexedVectors } = await engine.indexStats(index);
      assert.ok(unindexedVectors < VECTORS / 10, `${unindexedVectors} vectors are to be built anew`);
      assert.equal(place.file(".graph"), graph);
      await assertEqual(engine, "", model, random, metric);
    }
    await isReady(engine);
    await assertEqual(engine, "", model, random, metric);
    const more = Array.from({ length: VECTORS / 4 }, (_, i) => [`more-${i}`, vectorOf(random, metric, 9)] as const);
    await put(engine, "", model, new Map(more));
    await isReady(engine);
    engine = await place.restart({ saves: true });
    assert.equal(place.files.length, 2);
    assert.notEqual(place.file(".graph"), graph);
    assert.equal((await engine.indexStats(index)).unindexedVectors, 0);
    await assertEqual(engine, "", model, random, metric);
    assert.deepEqual(place.complaints, []);
  });
}

test("namespaces that are deleted, emptied and created again under the same name leave nothing behind", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const models = new Map<string, Model>(["", "a", "a b", "\u00e9/..", "gone"].map((name) => [name, new Map()]));
  let engine = await place.create();
  for (const [namespace, model] of models) await fill(engine, namespace, model, random, "cosine");
  engine = await place.restart({ saves: true });
  assert.equal(place.files.length, 2 * models.size);
  await engine.deleteNamespace({ ...index, namespace: "gone" });
  await until(() => place.files.length === 2 * models.size - 2);
  models.delete("gone");

  // As a crash would leave it: the files of the deleted one are back.
  const before = temporaryDirectory();
  cpSync(place.graphs, before, { recursive: true });
  for (const namespace of ["a", "a b"]) {
    await engine.deleteNamespace({ ...index, namespace });
    models.set(namespace, new Map());
  }
  await put(engine, "a", models.get("a") as Model, new Map([["k1", vectorOf(random, "cosine", 1)]]));
  await fill(engine, "a b", models.get("a b") as Model, random, "cosine");
  await engine.deleteVectors({ ...index, namespace: "" }, { kind: "all" });
  models.set("", new Map([["only", vectorOf(random, "cosine", 1)]]));
  await put(engine, "", models.get("") as Model, models.get("") as Model);
  await place.close({ saves: false });
  cpSync(before, place.graphs, { recursive: true });
  engine = await place.open();
  for (const [namespace, model] of models) await assertEqual(engine, namespace, model, random, "cosine");
  await isReady(engine);
  engine = await place.restart({ saves: true });
  for (const [namespace, model] of models) await assertEqual(engine, namespace, model, random, "cosine");
  assert.deepEqual(place.complaints, []);

  await engine.deleteIndex(index);
  assert.equal(existsSync(join(place.path, "graphs", "none")), false);
  assert.deepEqual(readdirSync(join(place.path, "graphs")), []);
});

test("a save that was cut short leaves the one before in use, and its files go at the next start", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const model: Model = new Map();
  let engine = await place.create();
  await fill(engine, "", model, random, "cosine");
  await place.close({ saves: true });
  const saved = place.files;
  const [keys, graph] = [place.file(".keys"), place.file(".graph")];
  const hash = keys.slice(0, -".keys".length);
  // A graph without its keys, two files that never got their names, and what belongs to no index.
  cpSync(join(place.graphs, graph), join(place.graphs, `${hash}-later.graph`));
  writeFileSync(join(place.graphs, `${hash}-last.graph.tmp`), "half");
  writeFileSync(join(place.graphs, `${keys}.tmp`), readFileSync(join(place.graphs, keys)).subarray(0, 100));
  const other = join(place.path, "graphs", "index-of-old");
  mkdirSync(other);
  writeFileSync(join(other, graph), "");
  engine = await place.open();
  assert.deepEqual(place.files, saved);
  assert.equal(existsSync(other), false);
  assert.equal((await engine.indexStats(index)).unindexedVectors, 0);
  await assertEqual(engine, "", model, random, "cosine");
  assert.deepEqual(place.complaints, []);
});

test("a saved graph of writes that the store has lost is never used, not even once the store has come to its lsn", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "euclidean");
  const model: Model = new Map();
  let engine = await place.create();
  await fill(engine, "", model, random, "euclidean");
  await place.close({ saves: false });
  const store = temporaryDirectory();
  cpSync(place.path, store, { recursive: true });

  engine = await place.open();
  const lost: Model = new Map(model);
  const later = () =>
    new Map(Array.from({ length: 20 }, () => [`k${random.below(VECTORS)}`, vectorOf(random, "euclidean", 1)]));
  for (let i = 0; i < 10; i++) await put(engine, "", lost, later());
  await isReady(engine);
  await place.close({ saves: true });
  const graphs = temporaryDirectory();
  cpSync(join(place.path, "graphs"), graphs, { recursive: true });
  rmSync(place.path, { recursive: true });
  cpSync(store, place.path, { recursive: true });
  cpSync(graphs, join(place.path, "graphs"), { recursive: true });

  engine = await place.open();
  assert.deepEqual(place.files, []);
  assert.match(place.complaints.join(), /shows write \d+, the store's last is \d+/);
  await assertEqual(engine, "", model, random, "euclidean");
  for (let i = 0; i < 10; i++) await put(engine, "", model, later());
  engine = await place.restart({ saves: false });
  await assertEqual(engine, "", model, random, "euclidean");
});

test("other parameters for graphs, and files of another index, are no reason for wrong answers", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const model: Model = new Map();
  let engine = await place.create();
  await fill(engine, "", model, random, "cosine");
  await engine.updateIndex(index, { m: 12 });
  engine = await place.restart({ saves: true });
  assert.ok((await engine.indexStats(index)).unindexedVectors > 0);
  assert.match(place.complaints.join(), /other parameters/);
  await isReady(engine);
  await assertEqual(engine, "", model, random, "cosine");
  await place.close({ saves: true });

  const other = new Place(t, "cosine");
  const otherModel: Model = new Map();
  engine = await other.create({ m: 12 });
  await fill(engine, "", otherModel, random, "cosine");
  await change(engine, "", otherModel, random, "cosine", 1);
  await other.close({ saves: true });
  const { graphs } = other;
  rmSync(graphs, { recursive: true });
  cpSync(place.graphs, graphs, { recursive: true });
  engine = await other.open();
  await assertEqual(engine, "", otherModel, random, "cosine");
  assert.match(other.complaints.join(), /belongs to other vectors/);
});

test("an end without the time to save leaves what was saved before", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const model: Model = new Map();
  let engine = await place.create();
  await fill(engine, "", model, random, "cosine");
  for (const withinMs of [0, 1, 2, 4, 8, 16]) {
    await engine.close({ withinMs });
    engine = await place.open();
    await assertEqual(engine, "", model, random, "cosine");
    await isReady(engine);
  }
  assert.deepEqual(place.complaints, []);
});

test("damaged files are refused, whatever and wherever the damage", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const model: Model = new Map();
  const engine = await place.create();
  await fill(engine, "", model, random, "cosine");
  await change(engine, "", model, random, "cosine", 1);
  await isReady(engine);
  await place.close({ saves: true });
  const { graphs, files } = place;
  const whole = new Map(files.map((file) => [file, readFileSync(join(graphs, file))]));
  const family = graphs.slice(graphs.lastIndexOf("/") + 1);
  const settings = { dimension: DIMENSION, metric: "cosine", m: 8, efConstruction: 60, nonFilterableKeys: [] } as const;

  const load = async () => {
    const complaints: string[] = [];
    const options = { path: place.path, onUnusable: (message: string) => void complaints.push(message) };
    const saved = await openSavedGraphs(options, { columnFamilies: new Set([family]), lsn: Number.MAX_SAFE_INTEGER });
    const loaded = await saved(family).load("", settings, async () => {});
    loaded?.set.dispose();
    return { isUsed: loaded !== undefined, complaints };
  };
  assert.deepEqual(await load(), { isUsed: true, complaints: [] });
  for (let i = 0; i < DAMAGES; i++) {
    const file = random.pick(files);
    const bytes = Buffer.from(whole.get(file) as Buffer);
    const how = random.pick(["flip", "zero", "truncate", "extend", "delete"] as const);
    const at = random.pick([random.below(bytes.length), random.below(300), bytes.length - 1 - random.below(20)]);
    const damaged = damage(bytes, how, at, random);
    if (damaged?.equals(bytes)) continue;
    if (damaged) writeFileSync(join(graphs, file), damaged);
    else rmSync(join(graphs, file));
    const { isUsed, complaints } = await load();
    assert.equal(isUsed, false, `${how} at ${at} of ${file} was not noticed`);
    assert.ok(complaints.length === 1 || (how === "delete" && file.endsWith(".keys")), `${how} at ${at} of ${file}`);
    for (const [name, content] of whole) writeFileSync(join(graphs, name), content);
  }

  for (const file of files) {
    const bytes = Buffer.from(whole.get(file) as Buffer);
    writeFileSync(join(graphs, file), damage(bytes, "flip", bytes.length >> 1, random) as Buffer);
    const opened = await place.open();
    await assertEqual(opened, "", model, random, "cosine");
    assert.equal(place.complaints.splice(0).length, 1);
    await place.close({ saves: false });
    for (const [name, content] of whole) writeFileSync(join(graphs, name), content);
  }
});

test("a table of keys that contradicts the store is not used, though its checksum is right", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const place = new Place(t, "cosine");
  const model: Model = new Map();
  let engine = await place.create();
  await fill(engine, "", model, random, "cosine");
  await place.close({ saves: true });
  const path = join(place.graphs, place.file(".keys"));
  const whole = readFileSync(path);
  const header = 16 + whole.readUInt32LE(12) + 4;
  const versions = header + Math.ceil(VECTORS / 32) * 4;
  const keys = versions + VECTORS * 10;
  for (const at of [versions + 8 * 77 + 1, keys + 1, header]) {
    const bytes = Buffer.from(whole);
    // Still a key of ASCII, a version, a bitmap: only another one.
    bytes[at] = (bytes[at] as number) ^ 1;
    bytes.writeUInt32LE(crc32(bytes.subarray(header, -4)), bytes.length - 4);
    writeFileSync(path, bytes);
    engine = await place.open();
    await assertEqual(engine, "", model, random, "cosine");
    assert.equal(place.complaints.splice(0).length, 1, `byte ${at} of ${header}, ${versions}, ${keys}`);
    await isReady(engine);
    await place.close({ saves: true });
  }
});

function damage(bytes: Buffer, how: "flip" | "zero" | "truncate" | "extend" | "delete", at: number, random: Random) {
  const changed = Buffer.from(bytes);
  switch (how) {
    case "flip":
      changed[at] = (changed[at] as number) ^ (1 << random.below(8));
      return changed;
    case "zero":
      return changed.fill(0, at, Math.min(at + 4096, changed.length));
    case "truncate":
      return changed.subarray(0, at);
    case "extend":
      return Buffer.concat([changed, Buffer.alloc(1 + random.below(5_000))]);
    case "delete":
      return undefined;
  }
}
