import assert from "node:assert/strict";
import { test } from "node:test";
import { type Reservation, SERVER, Usage } from "../../src/engine/embedded/usage.ts";
import { QuiverError } from "../../src/errors.ts";
import { Random } from "../support/random.ts";

interface Limits {
  readonly vectors: number;
  readonly bytes: number;
}

const NONE: Limits = { vectors: 0, bytes: 0 };

function index(name: string, limits: Limits, parent?: Usage): Usage {
  return new Usage({ subject: { type: "index", name }, limits, parent });
}

test("what would pass a limit is refused whole, and says how much there is, may be and was asked for", () => {
  const usage = index("b/i", { vectors: 10, bytes: 100 });
  usage.reserve(7, 60).settle(7, 60);
  assert.throws(() => usage.reserve(4, 1), {
    reason: "ITEM_LIMIT",
    message: 'Cannot store 4 more vectors: index "b/i" has 7 of at most 10; delete vectors or raise the quota',
    metadata: { current: "7", max: "10", requested_new: "4", unit: "vectors" },
    resource: { type: "index", name: "b/i" },
  });
  assert.throws(() => usage.reserve(1, 41), {
    reason: "ITEM_LIMIT",
    metadata: { current: "60", max: "100", requested_new: "41", unit: "bytes" },
  });
  assert.deepEqual([usage.vectors, usage.bytes], [7, 60]);
  usage.reserve(3, 40).settle(3, 40);
  assert.throws(() => usage.assertRoom(1, 0), { reason: "ITEM_LIMIT" });
});

test("what does not grow is never refused, not even beyond a limit that was lowered", () => {
  const usage = index("b/i", { vectors: 10, bytes: 100 });
  usage.add(20, 500);
  usage.reserve(0, 0).settle(0, 0);
  usage.reserve(0, -50).settle(0, -50);
  assert.deepEqual([usage.vectors, usage.bytes], [20, 450]);
  assert.throws(() => usage.reserve(0, 1), { reason: "ITEM_LIMIT" });
});

test("room that is reserved is taken, and given back by a write that fails or stores less", () => {
  const usage = index("b/i", { vectors: 10, bytes: 0 });
  const failing = usage.reserve(6, 0);
  assert.throws(() => usage.reserve(5, 0), {
    metadata: { current: "6", max: "10", requested_new: "5", unit: "vectors" },
  });
  failing.cancel();
  failing.settle(6, 0);
  const shrinking = usage.reserve(10, 0);
  shrinking.settle(4, 0);
  shrinking.cancel();
  assert.equal(usage.vectors, 4);
  usage.reserve(6, 0).settle(6, 0);
});

test("a limit of the bucket or the server refuses, too, and nothing stays reserved below", () => {
  const server = new Usage({ subject: SERVER, limits: { vectors: 12, bytes: 0 } });
  const bucket = new Usage({
    subject: { type: "vector bucket", name: "b" },
    limits: { vectors: 8, bytes: 0 },
    parent: server,
  });
  const [one, two] = [index("b/1", { vectors: 5, bytes: 0 }, bucket), index("b/2", NONE, bucket)];
  const elsewhere = index("c/1", NONE, server);
  one.add(3, 0);
  assert.throws(() => two.reserve(6, 0), { resource: { type: "vector bucket", name: "b" } });
  two.reserve(5, 0).settle(5, 0);
  assert.throws(() => elsewhere.reserve(5, 0), { resource: SERVER });
  elsewhere.reserve(4, 0).settle(4, 0);
  two.close();
  assert.deepEqual([server.vectors, bucket.vectors], [7, 3]);
  one.reserve(2, 0).settle(2, 0);
});

test("a write that ends after its index was deleted counts nowhere", () => {
  const server = new Usage({ subject: SERVER, limits: { vectors: 3, bytes: 0 } });
  const deleted = index("b/i", NONE, server);
  deleted.add(1, 5);
  const late = deleted.reserve(2, 0);
  deleted.close();
  late.settle(2, 0);
  deleted.add(-1, 0);
  assert.deepEqual([server.vectors, server.bytes], [0, 0]);
  server.reserve(3, 0).settle(3, 0);
});

test("a write under a limit waits until all that the limit is about is counted, others do not", async () => {
  const server = new Usage({ subject: SERVER, limits: { vectors: 3, bytes: 0 } });
  const [loading, loaded] = [index("b/1", NONE, server), index("b/2", NONE, server)];
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  loading.countUntil(first.promise);
  loading.countUntil(second.promise);
  let waited = false;
  const counted = loaded.counted().then(() => {
    waited = true;
  });
  first.reject(new Error("cannot be read"));
  const unlimited = index("c/1", NONE);
  unlimited.countUntil(new Promise(() => {}));
  await unlimited.counted();
  assert.equal(waited, false);
  second.resolve();
  await counted;
  assert.equal(waited, true);
});

test("after random writes every level holds what a plain model says, and never more than its limit", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const limits = {
    server: { vectors: 60, bytes: 0 },
    bucket: { vectors: 0, bytes: 300 },
    index: { vectors: 25, bytes: 0 },
  };
  const server = new Usage({ subject: SERVER, limits: limits.server });
  const buckets = ["a", "b"].map((name) => {
    const usage = new Usage({ subject: { type: "vector bucket", name }, limits: limits.bucket, parent: server });
    return {
      usage,
      indexes: [0, 1].map((i) => ({ usage: index(`${name}/${i}`, limits.index, usage), name: `${name}/${i}` })),
    };
  });
  const indexes = buckets.flatMap((bucket) => bucket.indexes.map((each) => ({ ...each, bucket })));
  // The model: what is stored, and each write under way, in plain lists that are summed anew every time.
  interface Entry extends Limits {
    readonly index: string;
    readonly bucket: string;
  }
  const stored: Entry[] = [];
  const open = new Map<Reservation, Entry>();
  const sum = (entries: readonly Entry[], of: "vectors" | "bytes", where: (entry: Entry) => boolean) =>
    entries.filter(where).reduce((total, entry) => total + entry[of], 0);
  let refused = 0;
  for (let step = 0; step < 20_000; step++) {
    const { usage, name, bucket } = random.pick(indexes);
    const wanted = { index: name, bucket: name[0] ?? "", vectors: random.below(6), bytes: random.below(40) };
    const action = random.below(5);
    if (action < 2) {
      const all = [...stored, ...open.values()];
      const fits = (of: "vectors" | "bytes", max: number, where: (entry: Entry) => boolean) =>
        max === 0 || wanted[of] === 0 || sum(all, of, where) + wanted[of] <= max;
      const expected =
        fits("vectors", limits.index.vectors, (entry) => entry.index === name) &&
        fits("bytes", limits.bucket.bytes, (entry) => entry.bucket === wanted.bucket) &&
        fits("vectors", limits.server.vectors, () => true);
      try {
        open.set(usage.reserve(wanted.vectors, wanted.bytes), wanted);
        assert.ok(expected, `step ${step}: reserved beyond a limit`);
      } catch (error) {
        assert.ok(error instanceof QuiverError && error.reason === "ITEM_LIMIT", String(error));
        assert.ok(!expected, `step ${step}: refused though it fits: ${error.message}`);
        refused++;
      }
    } else if (action < 4 && open.size > 0) {
      const [reservation, entry] = random.pick([...open]);
      open.delete(reservation);
      if (random.below(3) === 0) reservation.cancel();
      else {
        reservation.settle(entry.vectors, entry.bytes);
        stored.push(entry);
      }
    } else if (stored.length > 0) {
      const [entry] = stored.splice(random.below(stored.length), 1);
      assert.ok(entry);
      indexes.find((each) => each.name === entry.index)?.usage.add(-entry.vectors, -entry.bytes);
    }
    assert.equal(
      usage.vectors,
      sum(stored, "vectors", (entry) => entry.index === name),
    );
    assert.equal(
      bucket.usage.bytes,
      sum(stored, "bytes", (entry) => entry.bucket === name[0]),
    );
    assert.equal(
      server.vectors,
      sum(stored, "vectors", () => true),
    );
    assert.ok(usage.vectors <= 25 && bucket.usage.bytes <= 300 && server.vectors <= 60);
  }
  assert.ok(refused > 100, `only ${refused} were refused`);
});
