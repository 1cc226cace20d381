import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import { MemoryGuard } from "../../src/engine/embedded/memory/memory-guard.ts";
import { type MemoryProbe, ProcessMemory } from "../../src/engine/embedded/memory/process-memory.ts";
import type { Engine, Index } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const MIB = 1024 * 1024;
const LIMIT = 1000 * MIB;

/** A process that holds what the test says. */
class Pretended implements MemoryProbe {
  live = 0;
  garbage = 0;
  heapUsed = 0;
  reclaims = 0;

  resident(): number {
    return this.live + this.garbage;
  }

  heap() {
    return { used: this.heapUsed, limit: LIMIT };
  }

  async reclaim(): Promise<void> {
    this.reclaims++;
    this.garbage = 0;
  }
}

function memoryFull(error: unknown): boolean {
  return error instanceof QuiverError && error.reason === "MEMORY_FULL" && error.retryAfterMs !== undefined;
}

suite("the guard", { timeout: 60_000 }, () => {
  function guardOf(t: { after(end: () => void): void }) {
    const pretended = new Pretended();
    const problems: (QuiverError | undefined)[] = [];
    const guard = new MemoryGuard(new ProcessMemory(LIMIT, pretended), (problem) => void problems.push(problem));
    t.after(() => guard.close());
    return { guard, pretended, problems };
  }

  test("adds what writes under way will take to what the process holds", (t) => {
    const { guard, pretended, problems } = guardOf(t);
    pretended.live = 500 * MIB;
    const release = guard.admit(50 * MIB);
    assert.throws(() => guard.admit(60 * MIB), memoryFull);
    assert.deepEqual(problems, [], "a write that is too large for the rest does not stop smaller ones");
    guard.admit(20 * MIB)();
    release();
    release();
    guard.admit(50 * MIB);
  });

  test("refuses from the high mark to the low one, and tells both", async (t) => {
    const { guard, pretended, problems } = guardOf(t);
    pretended.live = 810 * MIB;
    guard.admit(1)();
    await guard.process.reclaim();
    assert.throws(
      () => guard.admit(1),
      (error) => {
        assert.ok(memoryFull(error));
        const { metadata } = error as QuiverError;
        assert.deepEqual([metadata.limit, metadata.used], [`${LIMIT}`, `${810 * MIB}`]);
        return true;
      },
    );
    assert.equal(problems.length, 1);
    pretended.live = 760 * MIB;
    guard.process.look();
    assert.throws(() => guard.admit(1), memoryFull);
    pretended.live = 740 * MIB;
    await until(() => problems.length === 2);
    assert.equal(problems[1], undefined);
    guard.admit(1)();
  });

  test("collects garbage before a write is refused for it", async (t) => {
    const { guard, pretended } = guardOf(t);
    pretended.live = 500 * MIB;
    pretended.garbage = 390 * MIB;
    assert.throws(() => guard.admit(10 * MIB), memoryFull);
    await guard.makeRoom(10 * MIB);
    assert.ok(pretended.reclaims > 0);
    guard.admit(10 * MIB)();
    const { reclaims } = pretended;
    await guard.makeRoom(10 * MIB);
    assert.equal(pretended.reclaims, reclaims, "nothing is collected while there is room");
  });

  test("collects rarely when there is little to collect", async (t) => {
    const { guard, pretended } = guardOf(t);
    pretended.live = 880 * MIB;
    await guard.makeRoom(10 * MIB);
    await guard.makeRoom(10 * MIB);
    assert.equal(pretended.reclaims, 1);
    pretended.garbage = 60 * MIB;
    guard.process.look();
    await guard.process.reclaim();
    assert.equal(pretended.reclaims, 2, "a lot of garbage is collected at once");
  });

  test("minds the heap of JavaScript, whose limit ends the process", (t) => {
    const { guard, pretended } = guardOf(t);
    pretended.heapUsed = 950 * MIB;
    assert.throws(() => guard.admit(1), /JavaScript/);
  });

  test("leaves work in the background for later beyond its mark", (t) => {
    const { guard, pretended } = guardOf(t);
    pretended.live = 600 * MIB;
    assert.equal(guard.hasRoomFor(300 * MIB), true);
    assert.equal(guard.hasRoomFor(400 * MIB), false);
  });

  test("lets loads wait for each other, and refuses the one that does not fit after all others", async (t) => {
    const { guard, pretended } = guardOf(t);
    const first = await guard.holdForLoad(500 * MIB);
    let isSecondRefused = false;
    const second = guard.holdForLoad(400 * MIB).catch((error: unknown) => {
      isSecondRefused = memoryFull(error);
    });
    await new Promise(setImmediate);
    assert.equal(isSecondRefused, false);
    pretended.live = 600 * MIB;
    guard.process.look();
    first();
    await second;
    assert.equal(isSecondRefused, true);
    const third = await guard.holdForLoad(100 * MIB);
    third();
  });
});

suite("the engine", { timeout: 60_000 }, () => {
  const BUCKET = { name: "bucket", createdAt: 1, tags: {} };
  const VECTORS = 2_000;

  function indexOf(index: string): Index {
    const fixed = { createdAt: 1, dimension: 64, distanceMetric: "euclidean", nonFilterableMetadataKeys: [] } as const;
    return { ...fixed, bucket: "bucket", index, m: 16, efConstruction: 200, deletionProtection: false, tags: {} };
  }

  function partitionOf(index: string) {
    return { bucket: "bucket", index, namespace: "" };
  }

  async function open(t: { after(end: () => unknown): void }, path: string, memory?: ProcessMemory): Promise<Engine> {
    const engine = await openEmbeddedEngine({ path, ...(memory && { memory }), onBackgroundError: () => {} });
    let isClosed = false;
    const close = engine.close.bind(engine);
    engine.close = async (options) => {
      if (!isClosed) await close(options);
      isClosed = true;
    };
    t.after(() => engine.close());
    return engine;
  }

  async function fill(engine: Engine, index: string): Promise<void> {
    await engine.createIndex(indexOf(index));
    const vectors = Array.from({ length: VECTORS }, (_, i) => {
      return { key: `k${i}`, data: new Float32Array(64).fill(i), metadata: { n: i } };
    });
    await engine.putVectors(partitionOf(index), vectors);
  }

  test("refuses what grows it, and nothing else, while memory is full", async (t) => {
    const pretended = new Pretended();
    const memory = new ProcessMemory(LIMIT, pretended);
    const engine = await open(t, temporaryDirectory(), memory);
    await engine.createBucket(BUCKET);
    await fill(engine, "index");
    const use = engine.memory;
    assert.ok(use.vectors >= VECTORS * 64 * 4 && use.keys > VECTORS && use.metadata > 0 && use.store > 0);
    assert.equal(use.limit, LIMIT);

    pretended.live = 900 * MIB;
    const put = () =>
      engine.putVectors(partitionOf("index"), [{ key: "new", data: new Float32Array(64), metadata: {} }]);
    await memory.reclaim();
    await assert.rejects(put(), memoryFull);
    assert.equal(engine.health.state, "read_only");
    assert.deepEqual(
      engine.health.problems.map(({ reason }) => reason),
      ["MEMORY_FULL"],
    );
    await assert.rejects(engine.createIndex(indexOf("other")), memoryFull);
    const projection = { data: false, metadata: true };
    const found = await engine.getVectors(partitionOf("index"), ["k7", "new"], projection);
    assert.deepEqual(
      found.vectors.map(({ key, metadata }) => [key, metadata]),
      [["k7", { n: 7 }]],
    );
    const { deletedCount } = await engine.deleteVectors(partitionOf("index"), { kind: "keys", keys: ["k8"] });
    assert.equal(deletedCount, 1);

    pretended.live = 100 * MIB;
    await until(() => engine.health.state === "healthy");
    await put();
    assert.equal((await engine.getVectors(partitionOf("index"), ["new"], projection)).vectors.length, 1);
  });

  test("starts with an index that does not fit, says so, and serves the others", async (t) => {
    const path = temporaryDirectory();
    const before = await open(t, path);
    await before.createBucket(BUCKET);
    await fill(before, "large");
    await before.createIndex(indexOf("empty"));
    await before.close();

    const pretended = new Pretended();
    pretended.live = LIMIT * 0.95 - 64 * 1024;
    const engine = await open(t, path, new ProcessMemory(LIMIT, pretended));
    const stateOf = (name: string) => engine.indexStates().find(({ index }) => index === name)?.state;
    await until(() => stateOf("large") === "failed" && stateOf("empty") === "ready");
    assert.equal(engine.health.state, "failed");
    assert.ok(memoryFull(engine.health.problems.find(({ metadata }) => metadata.requested !== undefined)));
    await assert.rejects(engine.getVectors(partitionOf("large"), ["k1"], { data: false, metadata: false }), memoryFull);
    assert.equal((await engine.indexStats({ bucket: "bucket", index: "empty" })).vectorCount, 0);
    await engine.deleteIndex({ bucket: "bucket", index: "large" });
    assert.equal(stateOf("large"), undefined);
  });
});
