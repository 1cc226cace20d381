import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric, type Vector } from "../../gen/quiver/v1/resources_pb.ts";
import { VectorService, type WatchVectorsResponse } from "../../gen/quiver/v1/vector_service_pb.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { createServices } from "../../src/rpc/services/all.ts";
import { createService } from "../../src/service/service.ts";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { openRpcHarness } from "../support/rpc-harness.ts";
import { type ServerProcess, startServer } from "../support/server.ts";

const IMPORT_COUNT = Number(process.env.QUIVER_TEST_IMPORT ?? 20_000);
const DIMENSION = 16;
const MESSAGE_VECTORS = 500;
/** What the server may take beside and for each vector: its data, key and metadata, its node in the graph. */
const RSS_BASE_BYTES = 600e6;
const RSS_BYTES_PER_VECTOR = 1_500;

const STREAMING: Readonly<Record<string, (url: string) => Transport>> = {
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
  "Connect over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
};

const where = { vectorBucketName: "b", indexName: "i" };

async function startWithIndex(
  t: TestContext,
): Promise<{ server: ServerProcess; clients: ReturnType<typeof createClients> }> {
  const server = await startServer(t);
  const clients = createClients((PROTOCOLS.gRPC as (url: string) => Transport)(server.url));
  await createIndex(clients, "i");
  return { server, clients };
}

async function createIndex({ buckets, indexes }: ReturnType<typeof createClients>, indexName: string): Promise<void> {
  await buckets.createVectorBucket({ vectorBucketName: "b" }).catch(() => {});
  await indexes.createIndex({
    vectorBucketName: "b",
    indexName,
    dimension: DIMENSION,
    dataType: DataType.FLOAT32,
    distanceMetric: DistanceMetric.EUCLIDEAN,
  });
}

function infoOf(error: unknown): { code: Code; reason: string | undefined; metadata: Record<string, string> } {
  assert.ok(error instanceof ConnectError, String(error));
  const info = error.findDetails(ErrorInfoSchema)[0];
  return { code: error.code, reason: info?.reason, metadata: info?.metadata ?? {} };
}

async function failureOf(action: () => Promise<unknown>) {
  return infoOf(
    await action().then(
      () => assert.fail("It did not fail"),
      (error: unknown) => error,
    ),
  );
}

/** Cancels a call when its loop is left, which a client of connect does not do by itself: the call would stay open. */
async function* cancelling<T>(call: (options: { signal: AbortSignal }) => AsyncIterable<T>): AsyncGenerator<T> {
  const end = new AbortController();
  try {
    yield* call({ signal: end.signal });
  } finally {
    end.abort();
  }
}

function rssOf(server: ServerProcess): number {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  return 1_024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

/** Everything that an export sends, and its lsn. */
async function exportAll(client: ReturnType<typeof createClients>["vectors"], request: object) {
  const vectors: Vector[] = [];
  const lsns = new Set<bigint>();
  let messages = 0;
  for await (const part of client.exportVectors({ ...where, returnData: true, returnMetadata: true, ...request })) {
    vectors.push(...part.vectors);
    lsns.add(part.lsn);
    messages++;
  }
  assert.equal(lsns.size, 1);
  return { vectors, lsn: [...lsns][0] as bigint, messages };
}

/** Bits of the floats, keys and metadata, in order; not the versions, which a copy has anew. */
function contents(vectors: readonly Vector[]) {
  return vectors.map(({ key, data, metadata }) => ({
    key,
    bits: Buffer.from(Float32Array.from(data?.float32 ?? []).buffer).toString("hex"),
    metadata: JSON.stringify(metadata),
  }));
}

for (const [protocol, connect] of Object.entries(STREAMING)) {
  test(`an import of ${IMPORT_COUNT} vectors over ${protocol} stores all but the wrong ones, in bounded memory`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const { server, clients } = await startWithIndex(t);
    const { vectors } = createClients(connect(server.url));
    const refused: number[] = [];
    let rss = 0;
    async function* messages() {
      for (let from = 0; from < IMPORT_COUNT; from += MESSAGE_VECTORS) {
        const count = Math.min(MESSAGE_VECTORS, IMPORT_COUNT - from);
        const batch = Array.from({ length: count }, (_, i) => {
          const float32 = Array.from(random.vector(DIMENSION));
          if (random.next() < 0.001) {
            refused.push(from + i);
            if (random.next() < 0.5) float32.pop();
            else float32[3] = Number.NaN;
          }
          return { key: `key-${from + i}`, data: { float32 }, metadata: { part: from, even: i % 2 === 0 } };
        });
        yield from === 0 ? { ...where, vectors: batch } : { vectors: batch };
        rss = Math.max(rss, rssOf(server));
      }
    }
    const startedAt = performance.now();
    const answer = await vectors.importVectors(messages());
    const seconds = (performance.now() - startedAt) / 1_000;
    t.diagnostic(`${Math.round(IMPORT_COUNT / seconds)} vectors/s, RSS at most ${Math.round(rss / 1e6)} MB`);
    assert.equal(answer.failedCount, BigInt(refused.length));
    assert.equal(answer.putCount, BigInt(IMPORT_COUNT - refused.length));
    assert.deepEqual(
      answer.errors.map(({ position }) => Number(position)),
      refused.slice(0, 1_000),
    );
    for (const { position, key, status } of answer.errors) {
      assert.equal(key, `key-${position}`);
      assert.equal(status?.code, Code.InvalidArgument);
      assert.match(status?.message ?? "", new RegExp(`^vectors\\[${position}\\]\\.data\\.float32`));
      assert.equal(status?.details.length, 2);
    }
    const stats = await clients.indexes.getIndexStats(where);
    assert.equal(stats.vectorCount, answer.putCount);
    assert.ok(rss < RSS_BASE_BYTES + RSS_BYTES_PER_VECTOR * IMPORT_COUNT, `RSS is ${rss}`);
    const exported = await exportAll(clients.vectors, { returnData: false, returnMetadata: false });
    const isRefused = new Set(refused);
    const expected = Array.from({ length: IMPORT_COUNT }, (_, i) => i).filter((i) => !isRefused.has(i));
    assert.deepEqual(
      exported.vectors.map(({ key }) => key),
      expected.map((i) => `key-${i}`).sort(),
    );
    assert.equal(exported.lsn, answer.lsn);
  });
}

test("what an export sends an import stores again bit by bit, in another namespace and on another server", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { clients } = await startWithIndex(t);
  const other = await startWithIndex(t);
  const metadata = [
    {},
    { a: 1 },
    { text: "ünïcode \u0000", list: ["a", "b"] },
    { n: 0.1, yes: true },
    { numbers: [1, 2.5] },
  ];
  for (let batch = 0; batch < 10; batch++) {
    const vectors = Array.from({ length: 300 }, (_, i) => ({
      key: `${random.below(1e9).toString(36)}/${batch}/${i}${i % 7 === 0 ? "é😀" : ""}`,
      data: {
        float32: Array.from(random.vector(DIMENSION), (value) => Math.fround(value * 10 ** (random.below(60) - 30))),
      },
      metadata: random.pick(metadata),
    }));
    await clients.vectors.putVectors({ ...where, vectors });
  }
  const original = await exportAll(clients.vectors, {});
  assert.equal(original.vectors.length, 3_000);
  for (const [target, namespace] of [
    [clients, "copy"],
    [other.clients, ""],
  ] as const) {
    async function* copy() {
      yield { ...where, namespace };
      for await (const { vectors } of clients.vectors.exportVectors({
        ...where,
        returnData: true,
        returnMetadata: true,
      })) {
        for (let i = 0; i < vectors.length; i += 1_000) {
          const batch = vectors.slice(i, i + 1_000);
          yield {
            vectors: batch.map(({ key, data, metadata }) => ({
              key,
              ...(data && { data }),
              ...(metadata && { metadata }),
            })),
          };
        }
      }
    }
    const answer = await target.vectors.importVectors(copy());
    assert.equal(answer.putCount, 3_000n);
    const copied = await exportAll(target.vectors, { namespace });
    assert.deepEqual(contents(copied.vectors), contents(original.vectors));
  }
});

test("an export comes in parts, as of one lsn, and goes on after a key", async (t) => {
  const { clients } = await startWithIndex(t);
  const doc = "x".repeat(1_900);
  for (let batch = 0; batch < 5; batch++) {
    const vectors = Array.from({ length: 500 }, (_, i) => ({
      key: `k${String(batch * 500 + i).padStart(5, "0")}`,
      data: { float32: Array.from({ length: DIMENSION }, () => batch + i) },
      metadata: { doc },
    }));
    await clients.vectors.putVectors({ ...where, vectors });
  }
  const whole = await exportAll(clients.vectors, {});
  assert.ok(whole.messages >= 4, `${whole.messages} messages`);
  assert.equal(whole.vectors.length, 2_500);

  const received: Vector[] = [];
  for (let calls = 0; received.length < 2_500; calls++) {
    assert.ok(calls < 100);
    const afterKey = received.at(-1)?.key ?? "";
    const request = { ...where, returnData: true, returnMetadata: true, afterKey };
    for await (const part of cancelling((options) => clients.vectors.exportVectors(request, options))) {
      received.push(...part.vectors);
      break;
    }
  }
  assert.deepEqual(contents(received), contents(whole.vectors));

  const export_ = clients.vectors.exportVectors({ ...where, returnMetadata: true })[Symbol.asyncIterator]();
  const first = await export_.next();
  await clients.vectors.putVectors({
    ...where,
    vectors: [{ key: "k99999", data: { float32: whole.vectors[1]?.data?.float32 ?? [] } }],
  });
  const keys: string[] = first.value.vectors.map(({ key }: Vector) => key);
  for (let next = await export_.next(); !next.done; next = await export_.next()) {
    assert.equal(next.value.lsn, first.value.lsn);
    keys.push(...next.value.vectors.map(({ key }: Vector) => key));
  }
  assert.deepEqual(
    keys,
    whole.vectors.map(({ key }) => key),
  );
  const prefixed = await exportAll(clients.vectors, { prefix: "k0000", afterKey: "k00007" });
  assert.deepEqual(
    prefixed.vectors.map(({ key }) => key),
    ["k00008", "k00009"],
  );
  assert.equal((await exportAll(clients.vectors, { prefix: "none" })).messages, 1);
});

test("a watcher that comes back 100 times beside writers misses nothing and doubles nothing", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const { clients } = await startWithIndex(t);
  const client = clients.vectors;
  const history: { lsn: bigint; key: string; value: number | undefined }[] = [];
  let stopped = false;
  const write = async (writer: number) => {
    const key = () => `w${writer}k${random.below(30)}`;
    while (!stopped) {
      const keys = [...new Set([key(), key(), key()])];
      if (random.next() < 0.3) {
        const present = keys.filter((each) => history.findLast((change) => change.key === each)?.value !== undefined);
        const { lsn } = await client.deleteVectors({ ...where, keys });
        for (const each of present) history.push({ lsn, key: each, value: undefined });
      } else {
        const puts = keys.map((each) => ({ key: each, value: random.below(1_000) }));
        const vectors = puts.map(({ key, value }) => ({ key, data: { float32: Array(DIMENSION).fill(value) } }));
        const { lsn } = await client.putVectors({ ...where, vectors });
        for (const put of puts) history.push({ lsn, ...put });
      }
    }
  };
  const { lsn: start } = await client.getVectors({ ...where, keys: ["none"] });
  const seen: typeof history = [];
  let from = start + 1n;
  /** Reads until the mark that `isLast` says; what comes after the last mark does not count. */
  const watchFrom = async (isLast: (mark: bigint, marks: number) => boolean) => {
    const pending: typeof history = [];
    let marks = 0;
    let cut = false;
    const request = { ...where, fromLsn: from, returnData: true };
    for await (const { lsn, change } of cancelling((options) => client.watchVectors(request, options))) {
      const { change: which } = change ?? {};
      if (which?.case === "put") {
        assert.equal(which.value.version, lsn);
        pending.push({ lsn, key: which.value.key, value: which.value.data?.float32[0] });
      } else if (which?.case === "deletedKey") {
        pending.push({ lsn, key: which.value, value: undefined });
      } else {
        seen.push(...pending.splice(0));
        from = lsn + 1n;
        cut = isLast(lsn, marks++);
      }
      if (cut) break;
    }
  };
  // From here on memory has every change: none is left out because a later one replaced it.
  await watchFrom(() => true);
  const writers = [0, 1, 2].map(write);
  for (let round = 0; round < 100; round++) {
    const marks = random.below(8);
    await watchFrom((_, count) => count >= marks);
  }
  stopped = true;
  await Promise.all(writers);
  const { lsn: end } = await client.getVectors({ ...where, keys: ["none"] });
  if (from <= end) await watchFrom((mark) => mark >= end);
  const inOrder = (changes: typeof history) =>
    changes.map(({ lsn, key, value }) => `${String(lsn).padStart(9, "0")} ${key} ${value}`).toSorted();
  t.diagnostic(`${history.length} changes`);
  assert.ok(history.length > 100);
  assert.deepEqual(inOrder(seen), inOrder(history));
  assert.deepEqual(
    seen.map(({ lsn }) => lsn),
    seen.map(({ lsn }) => lsn).toSorted((a, b) => Number(a - b)),
  );
});

test("a watch tells its position at once, updates as whole vectors, and nothing that was not asked for", async (t) => {
  const { clients } = await startWithIndex(t);
  const float32 = Array(DIMENSION).fill(2);
  const { lsn } = await clients.vectors.putVectors({
    ...where,
    vectors: [{ key: "a", data: { float32 }, metadata: { n: 1 } }],
  });
  const events = cancelling((options) => clients.vectors.watchVectors({ ...where, returnMetadata: true }, options));
  const next = async () => (await events.next()).value as WatchVectorsResponse;
  assert.deepEqual([(await next()).lsn], [lsn]);
  const updated = await clients.vectors.updateVectors({ ...where, updates: [{ key: "a", setMetadata: { m: "x" } }] });
  const event = await next();
  assert.equal(event.lsn, updated.lsn);
  const put = event.change?.change;
  assert.ok(put?.case === "put");
  assert.deepEqual(put.value.metadata, { n: 1, m: "x" });
  assert.equal(put.value.data, undefined);
  await events.return(undefined);
});

test("a position that is not kept, or not reached, is out of range", async (t) => {
  const { clients } = await startWithIndex(t);
  const { lsn } = await clients.vectors.getVectors({ ...where, keys: ["a"] });
  for (const fromLsn of [0n, lsn + 2n, 2n ** 64n - 1n]) {
    const watch = clients.vectors.watchVectors({ ...where, fromLsn });
    const failure = await failureOf(() => watch[Symbol.asyncIterator]().next());
    assert.deepEqual([failure.code, failure.reason], [Code.OutOfRange, "LSN_OUT_OF_RANGE"]);
    assert.equal(failure.metadata.newest, `${lsn + 1n}`);
  }
});

test("a watch that fell behind says where it was", async (t) => {
  const metadata = { resume_from_lsn: "12", oldest: "40" };
  async function* events() {
    yield { lsn: 11 };
    throw new QuiverError("WATCH_BEHIND", "The watch fell behind", { metadata });
  }
  const engine = {
    getIndex: async () => ({ bucket: "b", index: "i", nonFilterableMetadataKeys: [] }),
    watchVectors: async () => events(),
  };
  const scope = { region: "r", account: "000000000000" };
  const service = createService(engine as unknown as Engine, {
    opensWithoutKeys: true,
    scope,
    onBackgroundError: () => {},
  });
  const harness = await openRpcHarness(t, { services: createServices(service) });
  const transport = harness.transport({ name: "", protocol: "grpc", httpVersion: "2", json: false });
  const watch = createClient(VectorService, transport).watchVectors(where)[Symbol.asyncIterator]();
  assert.equal((await watch.next()).value.lsn, 11n);
  const failure = await failureOf(() => watch.next());
  assert.deepEqual(failure, { code: Code.ResourceExhausted, reason: "WATCH_BEHIND", metadata });
});

test("an import may take longer than a request, as long as its messages come", async (t) => {
  const scope = { region: "r", account: "000000000000" };
  const engine = { lsn: 1, getIndex: async () => ({ bucket: "b", index: "i", nonFilterableMetadataKeys: [] }) };
  const service = createService(engine as unknown as Engine, {
    opensWithoutKeys: true,
    scope,
    onBackgroundError: () => {},
  });
  const harness = await openRpcHarness(t, {
    services: createServices(service),
    limits: { headersTimeoutMs: 1_000, requestTimeoutMs: 1_000 },
  });
  const transport = harness.transport({ name: "", protocol: "grpc", httpVersion: "2", json: false });
  const client = createClient(VectorService, transport);
  async function* messages(pauseMs: number, count: number) {
    yield where;
    for (let i = 0; i < count; i++) {
      await setTimeout(pauseMs);
      yield {};
    }
  }
  assert.equal((await client.importVectors(messages(100, 20))).lsn, 1n);
  await assert.rejects(client.importVectors(messages(5_000, 1)));
});

test("a shutdown ends every stream with SHUTTING_DOWN", async (t) => {
  const { server, clients } = await startWithIndex(t);
  const watch = clients.vectors.watchVectors(where)[Symbol.asyncIterator]();
  await watch.next();
  const stalled = Promise.withResolvers<void>();
  async function* messages() {
    yield { ...where, vectors: [{ key: "a", data: { float32: Array(DIMENSION).fill(1) } }] };
    await stalled.promise;
  }
  const watching = failureOf(async () => {
    while (!(await watch.next()).done);
  });
  const importing = failureOf(() => clients.vectors.importVectors(messages()));
  // The import's first message is stored before the server ends.
  for (;;) {
    const { vectors } = await clients.vectors.getVectors({ ...where, keys: ["a"] });
    if (vectors.length === 1) break;
  }
  const startedAt = performance.now();
  const stopping = server.stop();
  assert.equal((await watching).reason, "SHUTTING_DOWN");
  const failure = await importing;
  assert.deepEqual([failure.reason, failure.metadata.put_count], ["SHUTTING_DOWN", "1"]);
  stalled.resolve();
  assert.equal(await stopping, 0);
  assert.ok(performance.now() - startedAt < 9_000, "The drain waited for a stream");
});
