import assert from "node:assert/strict";
import { before, after as onEnd, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const DIMENSION = 32;
const COUNT = 8_000;
const index = { vectorBucketName: "recall", indexName: "gaussian" };
const small = { vectorBucketName: "recall", indexName: "small" };

const random = new Random();
const ends: (() => void)[] = [];
let server: ServerProcess;

before(async () => {
  server = await ServerProcess.start(temporaryDirectory());
  const { buckets, indexes, vectors } = open("gRPC");
  await buckets.createVectorBucket({ vectorBucketName: "recall" });
  const settings = { dataType: DataType.FLOAT32, dimension: DIMENSION, distanceMetric: DistanceMetric.EUCLIDEAN };
  for (const each of [index, small]) await indexes.createIndex({ ...each, ...settings });
  for (let from = 0; from < COUNT; from += 1_000) {
    const some = Array.from({ length: 1_000 }, (_, i) => ({
      key: `k${from + i}`,
      data: { float32: [...random.vector(DIMENSION)] },
      metadata: { half: (from + i) % 2 },
    }));
    await vectors.putVectors({ ...index, vectors: some });
  }
});

onEnd(async () => {
  await server?.kill();
  for (const end of ends) end();
});

function open(protocol: string): Clients {
  return createClients((PROTOCOLS[protocol] as (url: string) => Parameters<typeof createClients>[0])(server.url));
}

for (const protocol of Object.keys(PROTOCOLS)) {
  test(`recall is measured over ${protocol}, of stored vectors, of queries, and with a filter`, async (t) => {
    t.diagnostic(`seed ${random.seed}`);
    const { indexes } = open(protocol);
    await until(async () => (await indexes.getIndexStats(index)).recall !== undefined);
    const { recall: last } = await indexes.getIndexStats(index);
    assert.ok(last && last.recall > 0.9 && last.topK === 10 && last.efSearch >= 10 && last.queryCount > 0n);
    assert.ok(last.confidenceLow <= last.recall && last.recall <= last.confidenceHigh);
    assert.ok(Number(last.measureTime?.seconds) > 0);

    const weak = { mode: { case: "efSearch", value: 10 } } as const;
    const strong = { mode: { case: "efSearch", value: 300 } } as const;
    const little = await indexes.measureRecall({ ...index, topK: 10, search: weak });
    assert.equal(little.queryCount, 100n);
    assert.equal(little.efSearch, 10);
    assert.ok(little.recall < 0.9, `recall ${little.recall}`);
    assert.ok(little.confidenceLow < little.recall && little.recall < little.confidenceHigh);
    assert.ok(little.meanComparedGraph < 1_500 && little.meanComparedExact === COUNT);
    const much = await indexes.measureRecall({ ...index, topK: 10, sampleSize: 50, search: strong });
    assert.equal(much.queryCount, 50n);
    assert.ok(much.recall > 0.98 && much.recall > little.confidenceHigh, `recall ${much.recall}`);
    assert.ok(much.meanComparedGraph > little.meanComparedGraph);

    const queries = Array.from({ length: 30 }, () => ({ float32: [...random.vector(DIMENSION)] }));
    const asked = await indexes.measureRecall({ ...index, topK: 5, queries, filter: { half: 1 } });
    assert.equal(asked.queryCount, 30n);
    assert.ok(asked.recall >= 0.95, `recall ${asked.recall}`);
    assert.equal(asked.meanComparedExact, COUNT / 2);
    const none = await indexes.measureRecall({ ...index, topK: 5, queries, filter: { half: 2 } });
    assert.equal(none.recall, 1);
    const empty = await indexes.measureRecall({ ...small, topK: 5 });
    assert.deepEqual([empty.recall, empty.queryCount, empty.confidenceLow, empty.confidenceHigh], [1, 0n, 1, 1]);
  });
}

test("measurements that make no sense are refused with the field", async () => {
  const { indexes } = open("gRPC");
  const query = { float32: new Array<number>(DIMENSION).fill(1) };
  const wrong: [request: Parameters<Clients["indexes"]["measureRecall"]>[0], field: string][] = [
    [{ ...index }, "top_k"],
    [{ ...index, topK: 10_001 }, "top_k"],
    [{ ...index, topK: 1, sampleSize: 1_001 }, "sample_size"],
    [{ ...index, topK: 1, sampleSize: 1, queries: [query] }, "sample_size"],
    [{ ...index, topK: 1, queries: [query, { float32: [1] }] }, "queries[1].float32"],
    [{ ...index, topK: 1, filter: { $nor: [] } }, "filter"],
    [{ ...index, topK: 1, search: { mode: { case: "exact", value: true } } }, "search.exact"],
    [{ ...index, topK: 1, search: { mode: { case: "recallTarget", value: 1.5 } } }, "search.recall_target"],
  ];
  for (const [request, field] of wrong) {
    const error = await indexes.measureRecall(request).then(
      () => undefined,
      (failure: unknown) => ConnectError.from(failure),
    );
    assert.equal(error?.code, Code.InvalidArgument, field);
    assert.ok(error.rawMessage.startsWith(field), error.rawMessage);
  }
  const missing = indexes.measureRecall({ ...index, namespace: "nowhere", topK: 1 });
  await assert.rejects(missing, (error) => ConnectError.from(error).code === Code.NotFound);
});

test("a measurement ends when the caller's deadline passes, and the server answers others at once", async () => {
  const { indexes } = open("gRPC");
  const exact = {
    ...index,
    topK: 1_000,
    sampleSize: 1_000,
    search: { mode: { case: "efSearch", value: 1_000 } },
  } as const;
  const error = await indexes.measureRecall(exact, { timeoutMs: 20 }).then(
    () => undefined,
    (failure: unknown) => ConnectError.from(failure),
  );
  assert.equal(error?.code, Code.DeadlineExceeded);
  assert.equal((await indexes.getIndexStats(index)).vectorCount, BigInt(COUNT));
});

test("a measurement does not hold back the server's end", async () => {
  const { indexes } = open("gRPC");
  const most = {
    ...index,
    topK: 1_000,
    sampleSize: 1_000,
    search: { mode: { case: "efSearch", value: 1_000 } },
  } as const;
  const measuring = indexes.measureRecall(most).then(
    () => undefined,
    (failure: unknown) => ConnectError.from(failure),
  );
  await indexes.getIndexStats(index);
  assert.equal(await server.stop(), 0);
  assert.equal((await measuring)?.code, Code.Unavailable);
});
