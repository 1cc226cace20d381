import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Partition } from "../../src/engine/embedded/partition.ts";
import { openSavedGraphs, type SavedGraphs } from "../../src/engine/embedded/set/saved-graphs.ts";
import { SetSaver, type SetSaverOptions } from "../../src/engine/embedded/set/set-saver.ts";
import type { VectorSetOptions } from "../../src/engine/embedded/set/vector-set.ts";
import { Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DIMENSION = 8;
const VECTORS = 6_000;
const settings: VectorSetOptions = {
  dimension: DIMENSION,
  metric: "euclidean",
  m: 8,
  efConstruction: 40,
  nonFilterableKeys: [],
};

class Place {
  readonly path = temporaryDirectory();
  readonly #t: TestContext;
  readonly #random: Random;
  lsn = 0;

  constructor(t: TestContext) {
    this.#t = t;
    this.#random = new Random();
    t.diagnostic(`seed ${this.#random.seed}`);
  }

  async saved(): Promise<SavedGraphs> {
    const onUnusable = (message: string, cause: unknown) => {
      throw new Error(message, { cause });
    };
    const families = { columnFamilies: new Set(["family"]), lsn: this.lsn };
    return (await openSavedGraphs({ path: this.path, onUnusable }, families))("family");
  }

  async partition(saved: SavedGraphs): Promise<Partition> {
    const partition = new Partition({
      namespace: "n",
      createdAt: 1,
      settings: () => settings,
      load: async () => {},
      saved,
    });
    this.#t.after(() => partition.dispose());
    return partition;
  }

  put(partition: Partition, keys: readonly string[]): void {
    this.lsn++;
    partition.put(
      keys.map((key) => ({
        key,
        version: this.lsn,
        data: this.#random.vector(DIMENSION),
        metadata: {},
        bytes: key.length + 4 * DIMENSION,
      })),
    );
  }

  delete(partition: Partition, keys: readonly string[]): void {
    this.lsn++;
    partition.delete(keys);
  }

  async fill(partition: Partition): Promise<void> {
    this.put(
      partition,
      Array.from({ length: VECTORS }, (_, i) => `k${i}`),
    );
    await partition.buildGraph(VECTORS);
  }

  pick(count: number): string[] {
    return [...new Set(Array.from({ length: count }, () => `k${this.#random.below(VECTORS)}`))];
  }
}

/** What a partition holds: each key with its version and its data. */
function contentOf({ set }: Partition): Map<string, { version: number; data: Float32Array | undefined }> {
  return new Map(
    [...set.keys()].map((key) => [
      key,
      { version: set.versionOf(key), data: set.dataOf(set.ordinalOf(key) as number) },
    ]),
  );
}

test("a saved graph and its keys show the state after one write, whatever is written and built while they are saved", async (t) => {
  const place = new Place(t);
  const saved = await place.saved();
  const partition = await place.partition(saved);
  await place.fill(partition);
  for (let round = 0; round < 4; round++) {
    let moment: { lsn: number; content: ReturnType<typeof contentOf> } | undefined;
    let done = false;
    const saving = partition
      .save(
        () => {
          moment = { lsn: place.lsn, content: contentOf(partition) };
          return place.lsn;
        },
        () => true,
      )
      .finally(() => {
        done = true;
      });
    const building: Promise<void>[] = [];
    while (!done) {
      place.put(partition, [...place.pick(20), `new-${place.lsn}`]);
      place.delete(partition, place.pick(10));
      if (building.length < 3) building.push(partition.buildGraph(100));
      await new Promise(setImmediate);
    }
    await Promise.all([saving, ...building]);
    assert.ok(moment);
    assert.ok(place.lsn > moment.lsn);
    const restored = await place.partition(await place.saved());
    await restored.restore(async () => {});
    assert.deepEqual(contentOf(restored), moment.content);
    const query = new Float32Array(DIMENSION);
    const exact = { k: moment.content.size, exact: true };
    const [answer] = await restored.set.search(query, exact, false);
    assert.deepEqual(new Set(answer?.found.map(({ key }) => key)), new Set(moment.content.keys()));
    restored.dispose();
  }
});

test("what was measured of a graph's recall is saved with it", async (t) => {
  const place = new Place(t);
  const saved = await place.saved();
  const partition = await place.partition(saved);
  await place.fill(partition);
  const before = partition.set.recall;
  before.notice();
  await before.idle();
  const efSearch = before.model.efFor(0.95, 10);
  assert.ok(before.latest);
  await partition.save(
    () => place.lsn,
    () => true,
  );
  const restored = await place.partition(await place.saved());
  await restored.restore(async () => {});
  const { recall } = restored.set;
  assert.equal(JSON.stringify(recall.model.measured), JSON.stringify(before.model.measured));
  assert.deepEqual(recall.latest, before.latest);
  assert.equal(recall.model.efFor(0.95, 10), efSearch);
  recall.notice();
  assert.equal(recall.isMeasuring, false, "it was measured already");
  assert.equal(before.isMeasuring, false);
});

test("graphs are saved when enough of them was built, one at a time, and not while the disk is full or the store read-only", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const place = new Place(t);
  const saved = await place.saved();
  const partition = await place.partition(saved);
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const store = { lsn: 0, readOnly: false, disk: { hasRoomFor: (_: number) => true } };
  const errors: unknown[] = [];
  const saver = new SetSaver({ store, onError: (error) => void errors.push(error) } satisfies SetSaverOptions);
  const elapse = async (seconds: number) => {
    // While its recall is measured, a graph is not saved.
    await partition.set.recall.idle();
    now += seconds * 1_000;
    t.mock.timers.tick(seconds * 1_000);
    await saver.ended();
  };
  const isSaved = () => partition.set.savedNodes;

  saver.notice(partition);
  await elapse(100);
  assert.equal(isSaved(), 0);
  await place.fill(partition);
  saver.notice(partition);
  await elapse(1);
  assert.equal(isSaved(), 0, "what comes in bulk is saved at its end");
  store.disk.hasRoomFor = () => false;
  await elapse(20);
  assert.equal(isSaved(), 0, "the disk is full");
  store.disk.hasRoomFor = () => true;
  store.readOnly = true;
  await elapse(70);
  assert.equal(isSaved(), 0, "the store is read-only");
  store.readOnly = false;
  saver.notice(partition);
  await elapse(70);
  assert.equal(isSaved(), VECTORS);

  place.put(partition, place.pick(100));
  await partition.buildGraph(VECTORS);
  saver.notice(partition);
  await elapse(1_000);
  assert.equal(isSaved(), VECTORS, "too little has changed");
  place.put(
    partition,
    Array.from({ length: 1_000 }, (_, i) => `more-${i}`),
  );
  saver.notice(partition);
  await elapse(1_000);
  assert.equal(isSaved(), VECTORS, "nothing of that is built");
  await partition.buildGraph(VECTORS);
  saver.notice(partition);
  await elapse(1_000);
  assert.equal(isSaved(), partition.set.nodes);
  assert.ok(isSaved() > VECTORS);

  partition.clear();
  saver.notice(partition);
  assert.equal(saved.has("n"), false, "an emptied namespace has no saved graph");
  assert.deepEqual(errors, []);
});

test("a save that fails is told, and tried again", async (t) => {
  const place = new Place(t);
  const saved = await place.saved();
  const partition = await place.partition(saved);
  await place.fill(partition);
  const store = { lsn: 0, readOnly: false, disk: { hasRoomFor: () => true } };
  const errors: unknown[] = [];
  const saver = new SetSaver({ store, onError: (error) => void errors.push(error) });
  t.mock.method(partition, "save", () => Promise.reject(new Error("the disk is gone")));
  await saver.close([partition], 1_000);
  assert.equal(errors.length, 1);
  assert.equal(partition.set.savedNodes, 0);
});
