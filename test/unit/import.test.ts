import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Engine, Index, PartitionRef, VectorInput } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import type { ImportPart } from "../../src/service/import-run.ts";
import { LIMITS } from "../../src/service/limits.ts";
import { Rates } from "../../src/service/rates.ts";
import { Streams } from "../../src/service/streams.ts";
import { EVERYBODY, openAuthorizer } from "../support/everybody.ts";

const INDEX: Index = {
  bucket: "b",
  index: "i",
  createdAt: 1,
  dimension: 1,
  distanceMetric: "euclidean",
  nonFilterableMetadataKeys: [],
  m: 16,
  efConstruction: 200,
  deletionProtection: false,
  tags: {},
};

const WHERE = { vectorBucketName: "b", indexName: "i", indexArn: "", namespace: "n" };
const NOWHERE = { vectorBucketName: "", indexName: "", indexArn: "", namespace: "" };
const NEVER = new AbortController().signal;

/** An engine that stores keys and values in a Map; `onPut` may refuse a put. */
function createStub(onPut: (vectors: readonly VectorInput[], puts: number) => void | Promise<void> = () => {}) {
  const stored = new Map<string, number>();
  const stub = { stored, puts: 0, underWay: 0, mostUnderWay: 0, createdAt: 1, refs: [] as PartitionRef[] };
  const engine = {
    lsn: 7,
    getIndex: async () => ({ ...INDEX, createdAt: stub.createdAt }),
    async putVectors(ref: PartitionRef, vectors: readonly VectorInput[]) {
      stub.refs.push(ref);
      stub.mostUnderWay = Math.max(stub.mostUnderWay, ++stub.underWay);
      try {
        await onPut(vectors, ++stub.puts);
        for (const { key, data } of vectors) stored.set(key, data?.[0] ?? Number.NaN);
        return { lsn: 100 + stub.puts };
      } finally {
        stub.underWay--;
      }
    },
  };
  const scope = { region: "r", account: "000000000000" };
  const port = engine as unknown as Engine;
  const streams = new Streams({ engine: port, authorizer: openAuthorizer(port), scope, rates: new Rates() });
  return { stub, streams };
}

function vector(key: string, value: number, ifVersion?: number): VectorInput {
  return { key, data: Float32Array.of(value), metadata: {}, ...(ifVersion !== undefined && { ifVersion }) };
}

async function* partsOf(
  messages: readonly (readonly VectorInput[])[],
  onDuplicate?: "error" | "last_wins",
): AsyncGenerator<ImportPart> {
  for (const [i, vectors] of messages.entries()) {
    yield { ...(i === 0 ? WHERE : NOWHERE), vectors, onDuplicate: i === 0 ? onDuplicate : undefined, bytes: 1 };
  }
}

async function failureOf(promise: Promise<unknown>): Promise<QuiverError> {
  const error = await promise.then(
    () => assert.fail("It did not fail"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof QuiverError);
  return error;
}

test("every valid vector is stored, and every other one counted and listed by its position in the stream", async () => {
  const { stub, streams } = createStub();
  const messages = [
    [vector("a", 1), vector("", 2), vector("c", 3)],
    [],
    [vector("d", Number.NaN), vector("e", 5), { ...vector("f", 6), data: Float32Array.of(1, 2) }],
  ];
  const result = await streams.import(EVERYBODY, partsOf(messages), NEVER);
  assert.deepEqual(
    [...stub.stored],
    [
      ["a", 1],
      ["c", 3],
      ["e", 5],
    ],
  );
  assert.deepEqual(
    result.refusals.map(({ position, key, error }) => [position, key, error.reason, error.violations[0]?.field]),
    [
      [1, "", "INVALID_FIELD", "vectors[1].key"],
      [3, "d", "NON_FINITE_VALUE", "vectors[3].data.float32[0]"],
      [5, "f", "DIMENSION_MISMATCH", "vectors[5].data.float32"],
    ],
  );
  assert.deepEqual([result.putCount, result.failedCount, result.lsn], [3, 3, 102]);
  assert.deepEqual(stub.refs[0], { bucket: "b", index: "i", namespace: "n" });
});

test("messages are stored one after the other, and an import of none answers the last lsn", async () => {
  const { stub, streams } = createStub(() => setImmediate());
  const messages = Array.from({ length: 50 }, (_, i) => [vector("same", i)]);
  await streams.import(EVERYBODY, partsOf(messages), NEVER);
  assert.equal(stub.stored.get("same"), 49);
  assert.equal(stub.mostUnderWay, 1);
  assert.deepEqual(await streams.import(EVERYBODY, partsOf([[]]), NEVER), {
    lsn: 7,
    putCount: 0,
    failedCount: 0,
    refusals: [],
  });
});

test("the next message is asked for while one is stored, unless all imports together store too much", async () => {
  for (const [bytes, mayOverlap] of [
    [1_000, true],
    [200 * 1024 * 1024, false],
  ] as const) {
    const { stub, streams } = createStub(async () => {
      for (let turn = 0; turn < 3; turn++) await setImmediate();
    });
    let overlapped = false;
    async function* parts(): AsyncGenerator<ImportPart> {
      for (let i = 0; i < 10; i++) {
        await setImmediate();
        overlapped ||= stub.underWay > 0;
        yield { ...(i === 0 ? WHERE : NOWHERE), vectors: [vector("a", i)], onDuplicate: undefined, bytes };
      }
    }
    await streams.import(EVERYBODY, parts(), NEVER);
    assert.equal(overlapped, mayOverlap);
    assert.equal(stub.stored.get("a"), 9);
  }
});

test("a key that stands twice in one message is refused, or wins", async () => {
  const twice = [
    [vector("k", 1), vector("k", 2), vector("k", 3)],
    [vector("k", 4), vector("l", 1)],
  ];
  const refusing = createStub();
  const refused = await refusing.streams.import(EVERYBODY, partsOf(twice), NEVER);
  assert.deepEqual(
    refused.refusals.map(({ position, error }) => [position, error.reason]),
    [
      [1, "DUPLICATE_KEY"],
      [2, "DUPLICATE_KEY"],
    ],
  );
  assert.deepEqual(
    [...refusing.stub.stored],
    [
      ["k", 4],
      ["l", 1],
    ],
  );
  const winning = createStub();
  const first = await winning.streams.import(EVERYBODY, partsOf(twice.slice(0, 1), "last_wins"), NEVER);
  assert.deepEqual([first.putCount, first.failedCount], [1, 0]);
  assert.equal(winning.stub.stored.get("k"), 3);
});

test("a vector for another version is refused alone", async () => {
  const { stub, streams } = createStub((vectors) => {
    const wrong = vectors.find(({ ifVersion }) => ifVersion === 9);
    if (wrong) throw new QuiverError("VERSION_MISMATCH", "Wrong version", { metadata: { key: wrong.key } });
  });
  const messages = [[vector("a", 1, 9), vector("", 0), vector("b", 2, 0), vector("c", 3, 9)]];
  const result = await streams.import(EVERYBODY, partsOf(messages), NEVER);
  assert.deepEqual([...stub.stored.keys()], ["b"]);
  assert.deepEqual(
    result.refusals.map(({ position, error }) => [position, error.reason]),
    [
      [0, "VERSION_MISMATCH"],
      [1, "INVALID_FIELD"],
      [3, "VERSION_MISMATCH"],
    ],
  );
});

test("a backlog is waited out, until the stream ends", async () => {
  const backlog = () => new QuiverError("INGEST_BACKLOG", "Busy", { retryAfterMs: 1 });
  const { stub, streams } = createStub((_, puts) => {
    if (puts < 4) throw backlog();
  });
  assert.equal((await streams.import(EVERYBODY, partsOf([[vector("a", 1)]]), NEVER)).putCount, 1);
  assert.equal(stub.puts, 4);

  const end = new AbortController();
  const stuck = createStub((_, puts) => {
    if (puts === 3) end.abort();
    throw backlog();
  });
  const error = await failureOf(stuck.streams.import(EVERYBODY, partsOf([[vector("a", 1)]]), end.signal));
  assert.equal(error.reason, "INGEST_BACKLOG");
  assert.equal(stuck.stub.puts, 3);
});

test("an import does not go into an index that was created again while it waited", async () => {
  const { stub, streams } = createStub(() => {
    stub.createdAt = 2;
    throw new QuiverError("INGEST_BACKLOG", "Busy", { retryAfterMs: 1 });
  });
  const error = await failureOf(streams.import(EVERYBODY, partsOf([[vector("a", 1)]]), NEVER));
  assert.equal(error.reason, "INDEX_NOT_FOUND");
  assert.equal(stub.puts, 1);
});

test("what fails the whole import says how much was stored before", async () => {
  const { stub, streams } = createStub((_, puts) => {
    if (puts === 3) throw new QuiverError("ITEM_LIMIT", "Full", { metadata: { max: "4" } });
  });
  const messages = [0, 1, 2, 3, 4].map((i) => [vector(`a${i}`, 1), vector(`b${i}`, 2), vector("", 0)]);
  const error = await failureOf(streams.import(EVERYBODY, partsOf(messages), NEVER));
  assert.equal(error.reason, "ITEM_LIMIT");
  assert.deepEqual(error.metadata, { max: "4", put_count: "4", failed_count: "2" });
  assert.match(error.message, /^Full; before, 4 vectors of the stream were stored and 2 refused$/);
  assert.equal(stub.puts, 3);
});

test("the first message says where, the others only what", async () => {
  const { streams } = createStub();
  const run = (parts: readonly ImportPart[]) =>
    streams.import(
      EVERYBODY,
      (async function* () {
        yield* parts;
      })(),
      NEVER,
    );
  const first: ImportPart = { ...WHERE, vectors: [vector("a", 1)], onDuplicate: undefined, bytes: 1 };
  const second: ImportPart = { ...NOWHERE, vectors: [], onDuplicate: undefined, bytes: 1 };
  const wrong: [readonly ImportPart[], string][] = [
    [[], "vector_bucket_name"],
    [[second], "index_name"],
    [[first, { ...second, vectorBucketName: "b" }], "vector_bucket_name"],
    [[first, { ...second, indexName: "i" }], "index_name"],
    [[first, { ...second, indexArn: "i" }], "index_arn"],
    [[first, { ...second, namespace: "n" }], "namespace"],
    [[first, { ...second, onDuplicate: "error" }], "on_duplicate"],
    [[{ ...first, vectors: Array.from({ length: 1_001 }, (_, i) => vector(`${i}`, 1)) }], "vectors"],
  ];
  for (const [parts, field] of wrong) {
    const error = await failureOf(run(parts));
    assert.equal(error.reason, "INVALID_FIELD");
    assert.equal(error.violations[0]?.field, field);
  }
});

test("an index that was created again under the name is another one", async () => {
  const { stub, streams } = createStub();
  async function* parts(): AsyncGenerator<ImportPart> {
    yield { ...WHERE, vectors: [vector("a", 1)], onDuplicate: undefined, bytes: 1 };
    stub.createdAt = 2;
    yield { ...NOWHERE, vectors: [vector("b", 1)], onDuplicate: undefined, bytes: 1 };
  }
  assert.equal((await failureOf(streams.import(EVERYBODY, parts(), NEVER))).reason, "INDEX_NOT_FOUND");
});

test("the first 1,000 refused vectors are listed and all are counted", async () => {
  const { streams } = createStub();
  const messages = Array.from({ length: 3 }, () => Array.from({ length: 700 }, () => vector("", 0)));
  const { refusals, failedCount } = await streams.import(EVERYBODY, partsOf(messages), NEVER);
  assert.equal(failedCount, 2_100);
  assert.deepEqual(
    refusals.map(({ position }) => position),
    Array.from({ length: 1_000 }, (_, i) => i),
  );
});

test("too many streams at a time are refused, and an end makes room", async () => {
  const { streams } = createStub();
  const release = Promise.withResolvers<void>();
  async function* waiting(): AsyncGenerator<ImportPart> {
    await release.promise;
    yield* partsOf([[]]);
  }
  const open = Array.from({ length: LIMITS.streamsMax }, () => streams.import(EVERYBODY, waiting(), NEVER));
  const error = await failureOf(streams.import(EVERYBODY, waiting(), NEVER));
  assert.equal(error.reason, "TOO_MANY_STREAMS");
  assert.deepEqual([error.metadata.max, error.metadata.current], ["256", "256"]);
  release.resolve();
  await Promise.all(open);
  await streams.import(EVERYBODY, partsOf([[]]), NEVER);
});
