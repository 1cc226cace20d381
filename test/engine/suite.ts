import assert from "node:assert/strict";
import { test } from "node:test";
import type { DistanceMetric, Engine, Index, Metadata, Query, Selection } from "../../src/engine/engine.ts";
import type { Reason } from "../../src/errors.ts";
import { exactSearch, recall } from "../support/exact-search.ts";
import { Random } from "../support/random.ts";
import { until } from "../support/until.ts";

/** An engine under test that can be closed and opened again over the same data. */
export interface EngineUnderTest {
  readonly engine: Engine;
  restart(): Promise<void>;
}

export type OpenEngine = (t: { after(f: () => Promise<void>): void }) => Promise<EngineUnderTest>;

/** What every engine must do; each implementation runs it. */
export function engineSuite(name: string, open: OpenEngine): void {
  test(`${name}: buckets and indexes are created once, listed in order, and kept over a restart`, async (t) => {
    const under = await open(t);
    for (const bucket of ["b", "a", "c"]) await createBucket(under.engine, bucket);
    await rejectsWith("BUCKET_EXISTS", createBucket(under.engine, "a"));
    await rejectsWith("BUCKET_NOT_FOUND", under.engine.createIndex(index("none", "i", {})));
    for (const i of ["y", "x"]) await under.engine.createIndex(index("a", i, { dimension: 3 }));
    await rejectsWith("INDEX_EXISTS", under.engine.createIndex(index("a", "x", {})));
    await rejectsWith("BUCKET_NOT_EMPTY", under.engine.deleteBucket("a"));
    await under.restart();
    const { engine } = under;
    const first = await engine.listBuckets({ prefix: "", after: undefined, maxResults: 2 });
    assert.deepEqual([first.items.map((bucket) => bucket.name), first.more], [["a", "b"], true]);
    const second = await engine.listBuckets({ prefix: "", after: "b", maxResults: 2 });
    assert.deepEqual([second.items.map((bucket) => bucket.name), second.more], [["c"], false]);
    const indexes = await engine.listIndexes("a", { prefix: "", after: undefined, maxResults: 9 });
    assert.deepEqual(
      indexes.items.map((item) => item.index),
      ["x", "y"],
    );
    assert.deepEqual(await engine.getIndex({ bucket: "a", index: "x" }), index("a", "x", { dimension: 3 }));
    await engine.deleteIndex({ bucket: "a", index: "x" });
    await rejectsWith("INDEX_NOT_FOUND", engine.getIndex({ bucket: "a", index: "x" }));
    await engine.deleteIndex({ bucket: "a", index: "y" });
    await engine.deleteBucket("a");
    await rejectsWith("BUCKET_NOT_FOUND", engine.getBucket("a"));
  });

  test(`${name}: the vectors of a bucket are counted by index, also right after a restart`, async (t) => {
    const under = await open(t);
    await rejectsWith("BUCKET_NOT_FOUND", under.engine.vectorCounts("b"));
    for (const bucket of ["a", "b"]) await createBucket(under.engine, bucket);
    for (const i of ["x", "y"]) await under.engine.createIndex(index("b", i, { dimension: 2 }));
    await under.engine.putVectors(partition("b", "x"), [vector("k", [1, 1]), vector("l", [1, 2])]);
    await under.engine.putVectors({ ...partition("b", "x"), namespace: "n" }, [vector("k", [1, 1])]);
    await under.engine.putVectors(partition("b", "x"), [vector("k", [2, 1])]);
    assert.deepEqual(Object.fromEntries(await under.engine.vectorCounts("b")), { x: 3, y: 0 });
    await under.restart();
    assert.deepEqual(Object.fromEntries(await under.engine.vectorCounts("b")), { x: 3, y: 0 });
    await under.engine.deleteIndex({ bucket: "b", index: "x" });
    assert.deepEqual(Object.fromEntries(await under.engine.vectorCounts("b")), { y: 0 });
    assert.deepEqual(Object.fromEntries(await under.engine.vectorCounts("a")), {});
  });

  test(`${name}: a protected index is not deleted`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { deletionProtection: true }));
    await rejectsWith("DELETION_PROTECTED", engine.deleteIndex({ bucket: "b", index: "i" }));
  });

  test(`${name}: an index that is deleted and created again is empty`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    for (let round = 0; round < 3; round++) {
      await engine.createIndex(index("b", "i", { dimension: 2 }));
      assert.equal((await engine.indexStats({ bucket: "b", index: "i" })).vectorCount, 0);
      await engine.putVectors(partition("b", "i"), [vector("k", [round + 1, 1])]);
      await engine.deleteIndex({ bucket: "b", index: "i" });
    }
  });

  test(`${name}: vectors come back bit for bit, also over a restart`, async (t) => {
    const under = await open(t);
    await createBucket(under.engine, "b");
    await under.engine.createIndex(index("b", "i", { dimension: 4, distanceMetric: "dot_product" }));
    const odd = [vector("denormal", [1e-45, -0, 3.4028234663852886e38, 0.1], { n: 0.1, t: [1, 2], s: "ü\u{1f3f9}" })];
    const proto = JSON.parse('{"__proto__":"x","constructor":true,"":1,"a.b":"c"}') as Metadata;
    odd.push(
      vector("k/\u{10ffff} \n", [1, 2, 3, 4], proto),
      vector("\ufffd", [0, 0, 0, 0]),
      vector("ab", [1, 0, 0, 0]),
    );
    await under.engine.putVectors(partition("b", "i"), odd);
    for (const again of [false, true]) {
      if (again) await under.restart();
      const keys = ["ab", "absent", ...odd.map(({ key }) => key).slice(0, 3)];
      const { vectors } = await under.engine.getVectors(partition("b", "i"), keys, { data: true, metadata: true });
      assert.deepEqual(
        vectors.map(({ key }) => key),
        keys.filter((key) => key !== "absent"),
      );
      for (const got of vectors) {
        const put = odd.find(({ key }) => key === got.key);
        assert.deepEqual(
          Buffer.from(new Float32Array(got.data ?? []).buffer),
          Buffer.from(put?.data.buffer as ArrayBuffer),
        );
        assert.equal(JSON.stringify(got.metadata), JSON.stringify(put?.metadata));
      }
      const listed = await under.engine.listVectors(partition("b", "i"), listAll);
      const sorted = odd.map(({ key }) => key).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(
        listed.items.map(({ key }) => key),
        sorted,
      );
    }
  });

  test(`${name}: namespaces do not see each other, and come back after a restart`, async (t) => {
    const under = await open(t);
    await createBucket(under.engine, "b");
    await under.engine.createIndex(index("b", "i", { dimension: 2 }));
    await under.engine.putVectors(partition("b", "i", "one"), [vector("k", [1, 0])]);
    await under.engine.putVectors(partition("b", "i", "on"), [vector("k", [0, 1]), vector("e", [1, 1])]);
    await under.engine.deleteVectors(partition("b", "i", "on"), byKeys("k", "e"));
    await rejectsWith("NAMESPACE_NOT_FOUND", under.engine.getVectors(partition("b", "i", "none"), ["k"], nothing));
    await under.restart();
    const list = async (namespace: string) =>
      (await under.engine.listVectors(partition("b", "i", namespace), listAll)).items.map(({ key }) => key);
    assert.deepEqual([await list(""), await list("one"), await list("on")], [[], ["k"], []]);
  });

  test(`${name}: pages and segments of a list show every key once, while others are written`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 1, distanceMetric: "euclidean" }));
    const keys = Array.from({ length: 3000 }, (_, i) => `${random.pick(["a", "ab", "b", "ü"])}-${i}`);
    for (let i = 0; i < keys.length; i += 500) {
      await engine.putVectors(
        partition("b", "i"),
        keys.slice(i, i + 500).map((key) => vector(key, [1])),
      );
    }
    for (const prefix of ["", "a", "ab", "ü", "c"]) {
      for (const count of [0, 1, 5]) {
        const seen: string[] = [];
        for (let segment = 0; segment < Math.max(1, count); segment++) {
          let after: string | undefined;
          for (let more = true; more; ) {
            const page = await engine.listVectors(partition("b", "i"), {
              ...listAll,
              prefix,
              after,
              maxResults: 1 + random.below(400),
              segment: count === 0 ? undefined : { index: segment, count },
            });
            assert.ok(page.items.length > 0 || !page.more);
            seen.push(...page.items.map(({ key }) => key).filter((key) => !key.includes("other")));
            after = page.items.at(-1)?.key;
            more = page.more;
            await engine.putVectors(partition("b", "i"), [vector(`${random.pick(["a", "b"])}-other`, [2])]);
          }
        }
        const expected = keys.filter((key) => key.startsWith(prefix));
        assert.deepEqual(seen.sort(), expected.sort(), `prefix "${prefix}", ${count} segments`);
      }
    }
    const small = await engine.listVectors(partition("b", "i"), { ...listAll, maxBytes: 20 });
    assert.ok(small.items.length < 10 && small.more);
  });

  for (const distanceMetric of ["cosine", "euclidean", "dot_product"] as const) {
    test(`${name}: exact ${distanceMetric} queries equal the definition after random writes and a restart`, async (t) => {
      const random = new Random();
      t.diagnostic(`seed ${random.seed}`);
      const under = await open(t);
      await createBucket(under.engine, "b");
      await under.engine.createIndex(index("b", "i", { dimension: 7, distanceMetric }));
      const model = new Map<string, Float32Array>();
      for (let round = 0; round < 12; round++) {
        const written = new Set(Array.from({ length: 60 }, () => `k${random.below(300)}`));
        if (round % 3 === 2) {
          const answer = await under.engine.deleteVectors(partition("b", "i"), byKeys(...written));
          const existing = [...written].filter((key) => model.delete(key)).length;
          assert.deepEqual([answer.deletedCount, answer.notFoundCount], [existing, written.size - existing]);
        } else {
          const vectors = [...written].map((key) => ({ key, data: random.vector(7), metadata: { key } }));
          const { lsn } = await under.engine.putVectors(partition("b", "i"), vectors);
          assert.ok(under.engine.lsn >= lsn);
          for (const { key, data } of vectors) model.set(key, data);
        }
        if (round === 6) await under.restart();
        const data = random.vector(7);
        const topK = 1 + random.below(400);
        const answer = await under.engine.queryVectors(partition("b", "i"), exactly(data, topK));
        assertSameAnswer(answer.vectors, exactSearch(distanceMetric, model, data, topK));
        assert.deepEqual(answer.plan, { strategy: "exact", compared: model.size, exact: true });
        for (const { key, metadata } of answer.vectors) assert.deepEqual({ ...metadata }, { key });
        const { vectorCount } = await under.engine.indexStats({ bucket: "b", index: "i" });
        assert.equal(vectorCount, model.size);
      }
    });
  }

  test(`${name}: vectors at the same distance are ordered by key, also where top_k cuts`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 2, distanceMetric: "euclidean" }));
    const keys = Array.from({ length: 300 }, (_, i) => `k${299 - i}`);
    await engine.putVectors(
      partition("b", "i"),
      keys.map((key) => vector(key, [1, 1])),
    );
    const { vectors } = await engine.queryVectors(partition("b", "i"), exactly(Float32Array.of(1, 1), 5));
    assert.deepEqual(
      vectors.map(({ key }) => key),
      keys.sort().slice(0, 5),
    );
  });

  test(`${name}: graph queries reach the recall, see the unindexed tail and never a deleted vector`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 16 }));
    const centers = Array.from({ length: 40 }, () => random.vector(16));
    const clustered = () => {
      const center = random.pick(centers);
      return random.vector(16).map((x, i) => (center[i] as number) + 0.4 * x);
    };
    const model = new Map<string, Float32Array>();
    const put = async (count: number) => {
      const vectors = Array.from({ length: count }, () => ({ key: `k${random.below(30_000)}`, data: clustered() }));
      const distinct = [...new Map(vectors.map((each) => [each.key, each])).values()];
      for (const { key, data } of distinct) model.set(key, data);
      await engine.putVectors(
        partition("b", "i"),
        distinct.map((each) => ({ ...each, metadata: {} })),
      );
      return distinct;
    };
    for (let i = 0; i < 14; i++) await put(1000);
    let recalls = 0;
    let byGraph = 0;
    let newestFound = 0;
    await until(async () => (await engine.indexStats({ bucket: "b", index: "i" })).state === "ready");
    for (let round = 0; round < 100; round++) {
      const [newest] = await put(20);
      assert.ok(newest);
      const near = { ...exactly(newest.data, 1), search: { kind: "recall_target", recallTarget: 0.95 } } as const;
      const [nearest] = (await engine.queryVectors(partition("b", "i"), near)).vectors;
      if (nearest?.key === newest.key) newestFound++;
      const removed = [...model.keys()].slice(round, round + 10);
      await engine.deleteVectors(partition("b", "i"), byKeys(...removed));
      for (const key of removed) model.delete(key);
      const data = clustered();
      const query: Query = { ...exactly(data, 10), search: { kind: "recall_target", recallTarget: 0.95 } };
      const { vectors, plan } = await engine.queryVectors(partition("b", "i"), query);
      if (plan.strategy === "graph") byGraph++;
      assert.equal(vectors.length, 10);
      for (const { key } of vectors) assert.ok(model.has(key), `"${key}" was deleted`);
      recalls += recall(exactSearch("cosine", model, data, 10), vectors);
    }
    assert.ok(recalls / 100 >= 0.95, `recall ${recalls / 100}`);
    assert.ok(byGraph > 50, `${byGraph} of 100 queries walked the graph`);
    assert.ok(newestFound >= 95, `${newestFound} of 100 vectors were found as soon as they were stored`);
  });

  test(`${name}: a query by key finds what lies on all sides of its vector`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 2, distanceMetric: "euclidean" }));
    for (let from = 0; from < 10_000; from += 1000) {
      const vectors = Array.from({ length: 1000 }, (_, i) => vector(`v${from + i}`, [1, from + i]));
      await engine.putVectors(partition("b", "i"), vectors);
    }
    await until(async () => (await engine.indexStats({ bucket: "b", index: "i" })).state === "ready");
    const near = (key: number) => [1, 2, 3, 4, 5].flatMap((by) => [`v${key - by}`, `v${key + by}`]).sort();
    for (const key of [5_000, 1_234, 8_765]) {
      const query = { ...exactly(Float32Array.of(), 10), target: { kind: "key", key: `v${key}` } } as const;
      for (const search of [query.search, { kind: "ef_search", efSearch: 50 }] as const) {
        const { vectors, plan } = await engine.queryVectors(partition("b", "i"), { ...query, search });
        assert.equal(plan.strategy, search.kind === "exact" ? "exact" : "graph");
        assert.deepEqual(vectors.map((each) => each.key).sort(), near(key));
      }
    }
  });

  test(`${name}: queries beside overwrites always find the key that is overwritten`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 2, distanceMetric: "euclidean" }));
    await engine.putVectors(partition("b", "i"), [vector("hot", [1, 1], { round: 0 })]);
    let writing = true;
    const writer = (async () => {
      for (let round = 1; round <= 200; round++) {
        await engine.putVectors(partition("b", "i"), [vector("hot", [1 + round / 1000, 1], { round })]);
      }
      writing = false;
    })();
    let queries = 0;
    for (; writing || queries === 0; queries++) {
      const { vectors } = await engine.queryVectors(partition("b", "i"), exactly(Float32Array.of(1, 1), 3));
      assert.deepEqual(
        vectors.map(({ key }) => key),
        ["hot"],
      );
      const [hot] = vectors;
      // Distance and metadata belong to the same write.
      assert.ok(Math.abs((hot?.distance ?? 9) - Number(hot?.metadata?.round) / 1000) < 1e-6);
    }
    await writer;
    t.diagnostic(`${queries} queries beside 200 overwrites`);
  });

  test(`${name}: deleting an index beside its puts and queries disturbs no other index`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "other", { dimension: 8 }));
    await engine.putVectors(partition("b", "other"), [{ key: "k", data: random.vector(8), metadata: {} }]);
    for (let round = 0; round < 5; round++) {
      await engine.createIndex(index("b", "i", { dimension: 8 }));
      const batch = (from: number) =>
        Array.from({ length: 1000 }, (_, i) => ({ key: `k${from + i}`, data: random.vector(8), metadata: {} }));
      for (let i = 0; i < 6; i++) await engine.putVectors(partition("b", "i"), batch(1000 * i));
      const calls: Promise<unknown>[] = [];
      for (let i = 0; i < 6; i++) {
        calls.push(engine.putVectors(partition("b", "i"), batch(6000 + 1000 * i)));
        calls.push(engine.queryVectors(partition("b", "i"), exactly(random.vector(8), 10)));
        calls.push(engine.deleteVectors(partition("b", "i"), byKeys("k1", "k2")));
        if (i === 3) calls.push(engine.deleteIndex({ bucket: "b", index: "i" }));
      }
      for (const result of await Promise.allSettled(calls)) {
        if (result.status === "rejected") assert.equal(result.reason.reason, "INDEX_NOT_FOUND", result.reason.message);
      }
      assert.equal(engine.health.state, "healthy");
    }
    await engine.putVectors(partition("b", "other"), [{ key: "l", data: random.vector(8), metadata: {} }]);
  });

  test(`${name}: closing finishes the writes under way and refuses later calls`, async (t) => {
    const under = await open(t);
    await createBucket(under.engine, "b");
    await under.engine.createIndex(index("b", "i", { dimension: 2 }));
    const { engine } = under;
    const writes = Array.from({ length: 20 }, (_, i) =>
      engine.putVectors(partition("b", "i"), [vector(`k${i}`, [i, 1])]).then(() => `k${i}`),
    );
    await writes[0];
    await under.restart();
    const settled = await Promise.allSettled(writes);
    const keys = settled.flatMap((write) => (write.status === "fulfilled" ? [write.value] : []));
    assert.ok(keys.length > 0);
    for (const write of settled) if (write.status === "rejected") assert.equal(write.reason.reason, "SHUTTING_DOWN");
    await rejectsWith("SHUTTING_DOWN", engine.getIndex({ bucket: "b", index: "i" }));
    const { vectors } = await under.engine.getVectors(partition("b", "i"), keys, nothing);
    assert.equal(vectors.length, keys.length);
  });

  test(`${name}: a read beside writes never shows a version above the lsn that it answers`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 1, distanceMetric: "euclidean" }));
    let writing = true;
    const writer = (async () => {
      for (let i = 0; i < 200; i++) await engine.putVectors(partition("b", "i"), [vector("k", [i])]);
      writing = false;
    })();
    while (writing) {
      const { vectors, lsn } = await engine.getVectors(partition("b", "i"), ["k"], nothing);
      for (const { version } of vectors) assert.ok(version <= lsn);
    }
    await writer;
  });

  test(`${name}: what overwrites, updates and deletes leave behind is reclaimable, and never less than nothing`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 2 }));
    const reclaimable = async () => (await engine.indexStats({ bucket: "b", index: "i" })).bytes.reclaimable;
    await engine.putVectors(partition("b", "i"), [vector("k", [1, 1])]);
    const setMetadata = { text: "x".repeat(1_000) };
    for (let i = 0; i < 3; i++) {
      const update = { kind: "keys", updates: [{ key: "k", setMetadata }] } as const;
      await engine.updateVectors(partition("b", "i"), update, { dryRun: false, assertMetadata: () => {} });
      assert.ok((await reclaimable()) >= 0);
    }
    await engine.deleteVectors(partition("b", "i"), byKeys("k"));
    assert.ok((await reclaimable()) >= 0);
  });

  test(`${name}: a list by filter beside writes shows each write whole`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 1, distanceMetric: "euclidean" }));
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
    const all = (state: number) => keys.map((key) => vector(key, [1], { state }));
    await engine.putVectors(partition("b", "i"), all(0));
    let writing = true;
    const writer = (async () => {
      for (let round = 1; round <= 150; round++) await engine.putVectors(partition("b", "i"), all(round % 2));
      writing = false;
    })();
    const seen = new Set<number>();
    const filter = { kind: "in", key: "state", values: [0] } as const;
    while (writing) seen.add((await engine.listVectors(partition("b", "i"), { ...listAll, filter })).items.length);
    await writer;
    assert.deepEqual([...seen].sort(), [0, 100]);
  });

  test(`${name}: concurrent writes of one key end as the one with the highest lsn says`, async (t) => {
    const under = await open(t);
    await createBucket(under.engine, "b");
    await under.engine.createIndex(index("b", "i", { dimension: 1, distanceMetric: "euclidean" }));
    const writes = await Promise.all(
      Array.from({ length: 50 }, async (_, i) =>
        i % 5 === 4
          ? { i, ...(await under.engine.deleteVectors(partition("b", "i"), byKeys("k"))), present: false }
          : { i, ...(await under.engine.putVectors(partition("b", "i"), [vector("k", [i])])), present: true },
      ),
    );
    assert.equal(new Set(writes.map(({ lsn }) => lsn)).size, 50);
    const last = writes.reduce((a, b) => (a.lsn > b.lsn ? a : b));
    for (const again of [false, true]) {
      if (again) await under.restart();
      const { vectors } = await under.engine.getVectors(partition("b", "i"), ["k"], { data: true, metadata: false });
      assert.deepEqual(
        vectors.map(({ data, version }) => [data?.[0], version]),
        last.present ? [[last.i, last.lsn]] : [],
      );
    }
  });

  test(`${name}: of writes side by side over one version one succeeds`, async (t) => {
    const { engine } = await open(t);
    await createBucket(engine, "b");
    await engine.createIndex(index("b", "i", { dimension: 1, distanceMetric: "euclidean" }));
    let version = 0;
    for (let round = 0; round < 5; round++) {
      const ifVersion = version;
      const writes = await Promise.allSettled(
        Array.from({ length: 10 }, (_, i) =>
          engine.putVectors(partition("b", "i"), [{ ...vector("k", [i]), ifVersion }]),
        ),
      );
      const [done, ...others] = writes.filter((write) => write.status === "fulfilled");
      assert.ok(done);
      assert.deepEqual(others, []);
      const reasons = writes.flatMap((write) => (write.status === "rejected" ? [write.reason.reason] : []));
      assert.deepEqual(reasons, Array(9).fill("VERSION_MISMATCH"));
      version = done.value.lsn;
    }
  });
}

const nothing = { data: false, metadata: false };

const listAll = {
  prefix: "",
  after: undefined,
  maxResults: 1000,
  maxBytes: 1 << 20,
  segment: undefined,
  projection: nothing,
};

function exactly(data: Float32Array, topK: number): Query {
  const target = { kind: "vector", data } as const;
  return { target, topK, search: { kind: "exact" }, projection: { data: false, metadata: true } };
}

function byKeys(...keys: string[]): Selection {
  return { kind: "keys", keys };
}

function index(bucket: string, name: string, options: Partial<Index> & { distanceMetric?: DistanceMetric }): Index {
  return {
    bucket,
    index: name,
    createdAt: 1,
    dimension: 2,
    distanceMetric: "cosine",
    nonFilterableMetadataKeys: [],
    m: 16,
    efConstruction: 200,
    deletionProtection: false,
    tags: {},
    ...options,
  };
}

function partition(bucket: string, name: string, namespace = "") {
  return { bucket, index: name, namespace };
}

function vector(key: string, values: readonly number[], metadata: Metadata = {}) {
  return { key, data: Float32Array.from(values), metadata };
}

async function createBucket(engine: Engine, name: string): Promise<void> {
  await engine.createBucket({ name, createdAt: 1, tags: {} });
}

async function rejectsWith(reason: Reason, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error: { reason?: string }) => error.reason === reason);
}

/** The same keys in the same order, but for neighbors whose distances differ by less than float32 can tell. */
function assertSameAnswer(
  found: readonly { key: string; distance: number }[],
  expected: readonly { key: string; distance: number }[],
): void {
  assert.equal(found.length, expected.length);
  for (const [i, { key, distance }] of found.entries()) {
    const want = expected[i] as { key: string; distance: number };
    assert.ok(Math.abs(distance - want.distance) < 1e-5, `distance ${i}: ${distance}, expected ${want.distance}`);
    if (key === want.key) continue;
    const same = expected.find((other) => other.key === key);
    assert.ok(same === undefined ? i === found.length - 1 : Math.abs(same.distance - want.distance) < 1e-5, `key ${i}`);
  }
}
