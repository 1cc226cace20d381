import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { QuotaFailureSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { DataType } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { createIndex, factsOf, failureOf } from "../support/resources.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const names = (vectorBucketName: string, indexName: string) => ({ vectorBucketName, indexName });
const vectorsOf = (keys: readonly string[], metadata = {}) =>
  keys.map((key) => ({ key, data: { float32: [1, 2] }, metadata }));
const keysFrom = (start: number, count: number) => Array.from({ length: count }, (_, i) => `k${start + i}`);

const grpc = PROTOCOLS.gRPC ?? assert.fail();

async function open(t: TestContext, ...args: string[]): Promise<Clients> {
  const { url } = await startServer(t, args);
  return createClients(grpc(url));
}

/** Calls one server in every protocol, each with a bucket of its own. */
async function inEveryProtocol(
  t: TestContext,
  args: readonly string[],
  run: (clients: Clients, bucket: string) => Promise<void>,
): Promise<void> {
  const { url } = await startServer(t, args);
  for (const [protocol, transport] of Object.entries(PROTOCOLS)) {
    await t.test(protocol, () => run(createClients(transport(url)), protocol.replaceAll(" ", "-")));
  }
}

async function countOf(clients: Clients, index: object): Promise<number> {
  return Number((await clients.indexes.getIndexStats(index)).vectorCount);
}

function subjectOf(error: ConnectError): string | undefined {
  return error.findDetails(QuotaFailureSchema)[0]?.violations[0]?.subject;
}

function retryMsOf(error: ConnectError): number {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  assert.ok(delay, `no RetryInfo: ${error.message}`);
  return Number(delay.seconds) * 1_000 + delay.nanos / 1e6;
}

test("a put that would pass the cap of an index is refused whole and says which", (t) =>
  inEveryProtocol(t, ["--max-vectors-per-index", "10"], async (clients, bucket) => {
    await createIndex(clients, bucket, "i");
    const index = names(bucket, "i");
    const put = (keys: readonly string[]) => clients.vectors.putVectors({ ...index, vectors: vectorsOf(keys) });
    await put(keysFrom(0, 8));
    const error = await failureOf(put([...keysFrom(6, 2), ...keysFrom(8, 3)]), Code.ResourceExhausted, "ITEM_LIMIT");
    assert.deepEqual(factsOf(error), { current: "8", max: "10", requested_new: "3", unit: "vectors" });
    assert.equal(subjectOf(error), `index:${bucket}/i`);
    assert.equal(await countOf(clients, index), 8);
    await put([...keysFrom(0, 8), ...keysFrom(8, 2)]);
    await put(keysFrom(0, 10));
    await failureOf(put(["new"]), Code.ResourceExhausted, "ITEM_LIMIT");
    await clients.vectors.deleteVectors({ ...index, keys: ["k3", "absent"] });
    await put(["new"]);
    await failureOf(put(["k3"]), Code.ResourceExhausted, "ITEM_LIMIT");
    assert.equal(await countOf(clients, index), 10);
  }));

test("one index too many in a bucket is refused", (t) =>
  inEveryProtocol(t, ["--max-indexes-per-bucket", "2"], async (clients, bucket) => {
    await createIndex(clients, bucket, "1");
    await createIndex(clients, bucket, "2");
    const error = await failureOf(createIndex(clients, bucket, "3"), Code.ResourceExhausted, "INDEX_LIMIT");
    assert.equal(subjectOf(error), `vector bucket:${bucket}`);
    assert.deepEqual(factsOf(error), { current: "2", max: "2", requested_new: "1", unit: "indexes" });
    await failureOf(createIndex(clients, bucket, "2"), Code.AlreadyExists, "INDEX_EXISTS");
    await clients.indexes.deleteIndex(names(bucket, "1"));
    await createIndex(clients, bucket, "3");
  }));

test("of indexes that are created side by side as many succeed as the server may have", async (t) => {
  const clients = await open(t, "--max-indexes-per-server", "3");
  const racing = await Promise.allSettled(keysFrom(0, 16).map((bucket) => createIndex(clients, bucket, "i")));
  assert.equal(racing.filter(({ status }) => status === "fulfilled").length, 3);
  const error = await failureOf(createIndex(clients, "b", "i"), Code.ResourceExhausted, "INDEX_LIMIT");
  assert.equal(subjectOf(error), "server:quiver");
});

test("more requests than a rate allows are refused with the time to wait, and pass after it", (t) =>
  inEveryProtocol(t, ["--requests-per-second-per-index", "5"], async (clients, bucket) => {
    const started = performance.now();
    await createIndex(clients, bucket, "i");
    const index = names(bucket, "i");
    const calls = await Promise.allSettled(Array.from({ length: 30 }, () => clients.indexes.getIndex(index)));
    const passed = calls.filter(({ status }) => status === "fulfilled").length;
    const allowed = 5 * (1 + (performance.now() - started) / 1_000);
    assert.ok(passed >= 1 && passed <= allowed, `${passed} of ${allowed} passed`);
    for (const call of calls) {
      if (call.status === "fulfilled") continue;
      const error = await failureOf(Promise.reject(call.reason), Code.ResourceExhausted, "RATE_LIMIT");
      assert.deepEqual(factsOf(error), { max: "5", per: "second", scope: "index", unit: "requests" });
      assert.equal(subjectOf(error), `index:${bucket}/i`);
      assert.ok(retryMsOf(error) > 0 && retryMsOf(error) <= 1_000, `${retryMsOf(error)} ms`);
    }
    // Others go on meanwhile.
    await clients.buckets.getVectorBucket({ vectorBucketName: bucket });
    await until(() =>
      clients.indexes.getIndex(index).then(
        () => true,
        () => false,
      ),
    );
  }));

test("32 puts at a time, in many indexes, pass no cap of index, bucket or server, and fill them up", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const caps = { index: 100, bucket: 170, server: 250 };
  const args = Object.entries(caps).flatMap(([level, cap]) => [`--max-vectors-per-${level}`, `${cap}`]);
  const clients = await open(t, ...args);
  const indexes = ["a", "b"].flatMap((bucket) => ["1", "2", "3"].map((index) => names(bucket, index)));
  for (const { vectorBucketName, indexName } of indexes) await createIndex(clients, vectorBucketName, indexName);
  const stored = new Map(indexes.map((index) => [index, new Set<string>()]));
  let refused = 0;
  let done = false;

  const assertCaps = async () => {
    const counts = await Promise.all(indexes.map((index) => countOf(clients, index)));
    for (const count of counts) assert.ok(count <= caps.index, `an index has ${count}`);
    const buckets = [counts.slice(0, 3), counts.slice(3)].map((part) => part.reduce((sum, count) => sum + count, 0));
    for (const count of buckets) assert.ok(count <= caps.bucket, `a bucket has ${count}`);
    assert.ok(buckets.reduce((sum, count) => sum + count, 0) <= caps.server, `the server has ${buckets}`);
  };
  const watching = (async () => {
    while (!done) await assertCaps();
  })();
  const writers = Array.from({ length: 32 }, async (_, writer) => {
    for (let i = 0; i < 25; i++) {
      const index = random.pick(indexes);
      const keys = keysFrom(0, 1 + random.below(9)).map((key) => `${writer}-${random.below(30)}-${key}`);
      const own = stored.get(index) ?? assert.fail();
      if (random.below(4) === 0) {
        await clients.vectors.deleteVectors({ ...index, keys });
        for (const key of keys) own.delete(key);
        continue;
      }
      try {
        await clients.vectors.putVectors({ ...index, vectors: vectorsOf(keys) });
        for (const key of keys) own.add(key);
      } catch (error) {
        await failureOf(Promise.reject(error), Code.ResourceExhausted, "ITEM_LIMIT");
        refused++;
      }
    }
  });
  await Promise.all(writers).finally(() => {
    done = true;
    return watching;
  });
  assert.ok(refused > 10, `only ${refused} were refused`);
  for (const [index, keys] of stored) assert.equal(await countOf(clients, index), keys.size);

  // One by one until nothing fits: then each cap that refuses is reached exactly.
  for (const index of indexes) {
    for (let i = 0; ; i++) {
      const call = clients.vectors.putVectors({ ...index, vectors: vectorsOf([`last-${i}`]) });
      const error = await call.then(
        () => undefined,
        (thrown: unknown) => ConnectError.from(thrown),
      );
      if (!error) continue;
      assert.equal(factsOf(error).current, factsOf(error).max);
      break;
    }
  }
  await assertCaps();
  const total = (await Promise.all(indexes.map((index) => countOf(clients, index)))).reduce((sum, n) => sum + n, 0);
  assert.equal(total, caps.server);
});

test("bytes are capped: overwriting counts what it grows by, deletes and deleted namespaces give back", async (t) => {
  const clients = await open(t, "--max-bytes-per-bucket", "20000");
  await createIndex(clients, "b", "i");
  await createIndex(clients, "b", "other");
  const index = names("b", "i");
  const put = (keys: readonly string[], text: string, namespace = "") =>
    clients.vectors.putVectors({ ...index, namespace, vectors: vectorsOf(keys, { text }) });
  const big = "x".repeat(1_500);
  await put(keysFrom(0, 5), big);
  await put(keysFrom(0, 5), big, "n");
  const error = await failureOf(put(keysFrom(5, 5), big), Code.ResourceExhausted, "ITEM_LIMIT");
  const { current, max, requested_new: more, unit } = factsOf(error);
  assert.deepEqual([subjectOf(error), max, unit], ["vector bucket:b", "20000", "bytes"]);
  assert.ok(Number(current) >= 15_000 && Number(current) <= 20_000, current);
  assert.ok(Number(more) >= 7_500 && Number(current) + Number(more) > 20_000, more);
  const elsewhere = { ...names("b", "other"), vectors: vectorsOf(keysFrom(0, 5), { text: big }) };
  await failureOf(clients.vectors.putVectors(elsewhere), Code.ResourceExhausted, "ITEM_LIMIT");
  for (let i = 0; i < 10; i++) await put(keysFrom(0, 5), big);
  await put(keysFrom(0, 5), "small");
  await put(keysFrom(5, 4), big);
  await failureOf(put(keysFrom(0, 5), big), Code.ResourceExhausted, "ITEM_LIMIT");
  await clients.namespaces.deleteNamespace({ ...index, namespace: "n" });
  await put(keysFrom(0, 5), big);
  await failureOf(clients.vectors.putVectors(elsewhere), Code.ResourceExhausted, "ITEM_LIMIT");
  await clients.indexes.deleteIndex(index);
  await clients.vectors.putVectors(elsewhere);
});

test("an update that grows what is stored beyond the cap is refused and changes nothing", async (t) => {
  const clients = await open(t, "--max-bytes-per-index", "3000");
  await createIndex(clients, "b", "i");
  const index = names("b", "i");
  await clients.vectors.putVectors({ ...index, vectors: vectorsOf(["a", "b"], { text: "x".repeat(1_000) }) });
  const update = (text: string) =>
    clients.vectors.updateVectors({ ...index, updates: ["a", "b"].map((key) => ({ key, setMetadata: { text } })) });
  await failureOf(update("y".repeat(1_600)), Code.ResourceExhausted, "ITEM_LIMIT");
  const { vectors } = await clients.vectors.getVectors({ ...index, keys: ["a", "b"], returnMetadata: true });
  assert.deepEqual(
    vectors.map(({ metadata }) => metadata?.text),
    ["x".repeat(1_000), "x".repeat(1_000)],
  );
  await update("z");
  await update("y".repeat(1_100));
});

test("what was stored before a restart counts, and a cap that was lowered refuses only what grows", async (t) => {
  const data = temporaryDirectory();
  let server = await ServerProcess.start(data);
  t.after(() => server.kill());
  let clients = createClients(grpc(server.url));
  await createIndex(clients, "b", "i");
  await createIndex(clients, "b", "empty");
  const index = names("b", "i");
  await clients.vectors.putVectors({ ...index, vectors: vectorsOf(keysFrom(0, 20)) });
  await clients.vectors.putVectors({ ...index, namespace: "n", vectors: vectorsOf(keysFrom(0, 20)) });
  await server.kill();
  server = await ServerProcess.start(data, ["--max-vectors-per-server", "30"]);
  clients = createClients(grpc(server.url));
  // Another index, which may be loaded before the one that is full.
  const call = clients.vectors.putVectors({ ...names("b", "empty"), vectors: vectorsOf(["a"]) });
  const error = await failureOf(call, Code.ResourceExhausted, "ITEM_LIMIT");
  assert.deepEqual(factsOf(error), { current: "40", max: "30", requested_new: "1", unit: "vectors" });
  await clients.vectors.putVectors({ ...index, vectors: vectorsOf(keysFrom(0, 20)) });
  await clients.vectors.deleteVectors({ ...index, keys: keysFrom(0, 10) });
  await failureOf(
    clients.vectors.putVectors({ ...index, vectors: vectorsOf(["a"]) }),
    Code.ResourceExhausted,
    "ITEM_LIMIT",
  );
  await clients.namespaces.deleteNamespace({ ...index, namespace: "n" });
  await clients.vectors.putVectors({ ...index, vectors: vectorsOf(keysFrom(100, 20)) });
  assert.equal(await countOf(clients, index), 30);
});

test("vectors written are counted by put, update and delete by key; a batch beyond a second's worth passes once", async (t) => {
  const clients = await open(t, "--vectors-per-second-per-bucket", "10");
  await createIndex(clients, "b", "i");
  const index = names("b", "i");
  const keys = keysFrom(0, 1_000);
  await clients.vectors.putVectors({ ...index, vectors: vectorsOf(keys) });
  for (const call of [
    () => clients.vectors.putVectors({ ...index, vectors: vectorsOf(["a"]) }),
    () => clients.vectors.deleteVectors({ ...index, keys: ["a"] }),
    () => clients.vectors.updateVectors({ ...index, updates: [{ key: "a", setMetadata: {} }] }),
  ]) {
    const error = await failureOf(call(), Code.ResourceExhausted, "RATE_LIMIT");
    assert.deepEqual(factsOf(error), { max: "10", per: "second", scope: "bucket", unit: "vectors" });
    assert.equal(subjectOf(error), "vector bucket:b");
    // 990 in debt at 10 a second.
    assert.ok(retryMsOf(error) > 60_000 && retryMsOf(error) <= 99_100, `${retryMsOf(error)} ms`);
  }
  // Reads write nothing, and neither does what is refused for another reason.
  assert.equal((await clients.vectors.getVectors({ ...index, keys: keys.slice(0, 500) })).vectors.length, 500);
  await failureOf(
    clients.vectors.putVectors({ ...index, vectors: [{ key: "", data: { float32: [1, 2] } }] }),
    Code.InvalidArgument,
    "INVALID_FIELD",
  );
  await createIndex(clients, "other", "i");
  await clients.vectors.putVectors({ ...names("other", "i"), vectors: vectorsOf(keys) });
});

test("a rate for the whole server counts every call but those of the administration", async (t) => {
  const { url } = await startServer(t, ["--requests-per-second", "1"]);
  const clients = createClients(grpc(url));
  const admin = createClient(AdminService, grpc(url));
  const calls = [
    () => clients.buckets.listVectorBuckets({}),
    () => clients.buckets.getVectorBucket({ vectorBucketName: "b" }),
    () => clients.buckets.createVectorBucket({ vectorBucketName: "b" }),
    () => clients.buckets.deleteVectorBucket({ vectorBucketName: "b" }),
    () => clients.indexes.createIndex({ ...names("b", "i"), dataType: DataType.FLOAT32, dimension: 2 }),
    () => clients.indexes.getIndex(names("b", "i")),
    () => clients.indexes.listIndexes({ vectorBucketName: "b" }),
    () => clients.indexes.updateIndex(names("b", "i")),
    () => clients.indexes.deleteIndex(names("b", "i")),
    () => clients.indexes.getIndexStats(names("b", "i")),
    () => clients.namespaces.createNamespace({ ...names("b", "i"), namespace: "n" }),
    () => clients.namespaces.getNamespace(names("b", "i")),
    () => clients.namespaces.listNamespaces(names("b", "i")),
    () => clients.namespaces.deleteNamespace(names("b", "i")),
    () => clients.tags.listTagsForResource({ resourceArn: "arn:aws:s3vectors:us-east-1:000000000000:bucket/b" }),
    () => clients.vectors.putVectors(names("b", "i")),
    () => clients.vectors.getVectors(names("b", "i")),
    () => clients.vectors.updateVectors(names("b", "i")),
    () => clients.vectors.deleteVectors(names("b", "i")),
    () => clients.vectors.listVectors(names("b", "i")),
    () => clients.vectors.queryVectors(names("b", "i")),
    () => clients.vectors.batchQueryVectors(names("b", "i")),
    () => clients.jobs.startUpload(names("b", "i")),
    () => clients.jobs.listJobs({}),
    () => clients.jobs.getJob({ jobId: "j" }),
  ];
  // Until each was refused for the rate: it is refused unless a second has passed since the last that was not.
  for (const [i, call] of calls.entries()) {
    let tries = 0;
    await until(async () => {
      assert.ok(++tries < 1_000, `call ${i} is never refused`);
      const error = await call().then(
        () => undefined,
        (thrown: unknown) => ConnectError.from(thrown),
      );
      return error !== undefined && subjectOf(error) === "server:quiver";
    });
    assert.ok((await admin.getServerInfo({})).serverInfo);
  }
});
