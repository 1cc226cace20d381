import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescMessage, JsonObject, MessageShape } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric, OnDuplicate } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { serverOfFile } from "../support/server.ts";

const server = serverOfFile();

for (const [protocol, connect] of Object.entries(PROTOCOLS)) {
  const bucket = protocol.toLowerCase().replaceAll(" ", "-");
  const open = async (indexName: string, distanceMetric: DistanceMetric = DistanceMetric.DOT_PRODUCT) => {
    const clients = createClients(connect(server.url));
    await clients.buckets.createVectorBucket({ vectorBucketName: bucket }).catch(assertTaken);
    const index = { vectorBucketName: bucket, indexName };
    await clients.indexes.createIndex({ ...index, dataType: DataType.FLOAT32, dimension: 2, distanceMetric });
    return { index, ...clients };
  };

  test(`a put stores all of a vector over ${protocol}`, async () => {
    const { index, vectors } = await open("put");
    const full = { key: "full", data: data(1, 2), sparse: sparse({ 0: 0.1, 4294967295: -2 }), metadata: { a: [1] } };
    const put = await vectors.putVectors({ ...index, vectors: [full, { key: "sparse", sparse: sparse({ 7: 1 }) }] });
    assert.equal(put.putCount, 2n);
    const all = { ...index, returnData: true, returnMetadata: true };
    const { vectors: stored, lsn } = await vectors.getVectors({ ...all, keys: ["sparse", "none", "full", "sparse"] });
    assert.equal(lsn, put.lsn);
    assert.deepEqual(plain(stored), [
      { key: "sparse", sparse: { indices: [7], values: [1] }, metadata: {}, version: put.lsn },
      {
        key: "full",
        data: [1, 2],
        sparse: { indices: [0, 4_294_967_295], values: [Math.fround(0.1), -2] },
        metadata: { a: [1] },
        version: put.lsn,
      },
    ]);
    const bare = await vectors.getVectors({ ...index, keys: ["full"] });
    assert.deepEqual(plain(bare.vectors), [{ key: "full", version: put.lsn }]);
  });

  test(`of a repeated key the last vector wins, its version too, over ${protocol}`, async () => {
    const { index, vectors } = await open("last-wins");
    const twice = [
      { key: "a", data: data(1, 1), ifVersion: 99n },
      { key: "b", data: data(1, 1) },
      { key: "a", data: data(2, 2), ifVersion: 0n },
    ];
    const { putCount } = await vectors.putVectors({
      ...index,
      vectors: twice,
      onDuplicate: OnDuplicate.LAST_WINS,
    });
    assert.equal(putCount, 2n);
    const { vectors: stored } = await vectors.getVectors({ ...index, keys: ["a"], returnData: true });
    assert.deepEqual(stored[0]?.data?.float32, [2, 2]);
  });

  test(`a put or update with if_version goes over that version alone over ${protocol}`, async () => {
    const { index, vectors } = await open("if-version");
    const put = (x: number, ifVersion: bigint) =>
      vectors.putVectors({ ...index, vectors: [{ key: "a", data: data(x, 1), ifVersion }] });
    const { lsn: first } = await put(1, 0n);
    await assert.rejects(put(2, 0n), isRefused("VERSION_MISMATCH"));
    const { lsn: second } = await put(3, first);
    await assert.rejects(put(4, first), isRefused("VERSION_MISMATCH"));
    const update = (ifVersion: bigint) =>
      vectors.updateVectors({ ...index, updates: [{ key: "a", setMetadata: { n: 1 }, ifVersion }] });
    await assert.rejects(update(first), isRefused("VERSION_MISMATCH"));
    const { lsn: third } = await update(second);
    const { vectors: stored } = await vectors.getVectors({
      ...index,
      keys: ["a"],
      returnData: true,
      returnMetadata: true,
    });
    assert.deepEqual(plain(stored), [{ key: "a", data: [3, 1], metadata: { n: 1 }, version: third }]);
  });

  test(`a write that is repeated with its idempotency key answers the same over ${protocol}`, async () => {
    const { index, vectors } = await open("idempotent");
    const put = (x: number, metadata: JsonObject) =>
      vectors.putVectors({ ...index, vectors: [{ key: "a", data: data(x, 1), metadata }], idempotencyKey: "put" });
    const first = await put(1, { a: 1, b: 2 });
    const other = await vectors.putVectors({ ...index, vectors: [{ key: "a", data: data(5, 5) }] });
    assert.deepEqual(await put(1, { b: 2, a: 1 }), first);
    await assert.rejects(put(2, { a: 1, b: 2 }), isRefused("IDEMPOTENCY_KEY_REUSED"));
    const read = await vectors.getVectors({ ...index, keys: ["a"], returnData: true });
    assert.deepEqual([read.vectors[0]?.data?.float32, read.lsn], [[5, 5], other.lsn]);

    const update = () =>
      vectors.updateVectors({ ...index, updates: [{ key: "a", setMetadata: { n: 1 } }], idempotencyKey: "update" });
    const updated = await update();
    const deleted = await vectors.deleteVectors({ ...index, keys: ["a", "b"], idempotencyKey: "delete" });
    assert.deepEqual([deleted.deletedCount, deleted.notFoundCount], [1n, 1n]);
    assert.deepEqual(await update(), updated);
    const again = await vectors.deleteVectors({ ...index, keys: ["a", "b"], idempotencyKey: "delete" });
    assert.deepEqual(again, deleted);
  });

  test(`an update changes what it names and nothing else over ${protocol}`, async () => {
    const { index, vectors } = await open("update");
    const metadata = { keep: "k", change: 1, remove: true };
    const vector = { data: data(1, 2), sparse: sparse({ 1: 1 }), metadata };
    const { lsn } = await vectors.putVectors({
      ...index,
      vectors: ["data", "metadata", "none", "sparse"].map((key) => ({ key, ...vector })),
    });
    const update = await vectors.updateVectors({
      ...index,
      updates: [
        { key: "data", data: data(3, 4) },
        { key: "metadata", setMetadata: { change: ["x"], remove: null, absent: null, add: 2 } },
        { key: "absent", data: data(1, 1) },
        { key: "sparse", sparse: sparse({}) },
      ],
    });
    assert.deepEqual([update.matchedCount, update.updatedCount], [3n, 3n]);
    const before = { data: [1, 2], sparse: { indices: [1], values: [1] }, metadata };
    const list = await vectors.listVectors({ ...index, returnData: true, returnMetadata: true });
    assert.deepEqual(plain(list.vectors), [
      { ...before, key: "data", data: [3, 4], version: update.lsn },
      { ...before, key: "metadata", metadata: { keep: "k", change: ["x"], add: 2 }, version: update.lsn },
      { ...before, key: "none", version: lsn },
      { key: "sparse", data: [1, 2], metadata, version: update.lsn },
    ]);
  });

  test(`updates and deletes by filter reach what matches over ${protocol}`, async () => {
    const { index, vectors } = await open("by-filter");
    const all = Array.from({ length: 50 }, (_, i) => ({ key: `${10 + i}`, data: data(i, 1), metadata: { n: i } }));
    const { lsn } = await vectors.putVectors({ ...index, vectors: all });
    const update = { ...index, filter: { n: { $gte: 40 } }, setMetadata: { n: null, high: true } };

    const dry = await vectors.updateVectors({ ...update, dryRun: true, idempotencyKey: "k" });
    assert.deepEqual([dry.matchedCount, dry.updatedCount, dry.lsn], [10n, 0n, lsn]);
    const wet = await vectors.updateVectors({ ...update, idempotencyKey: "k" });
    assert.deepEqual([wet.matchedCount, wet.updatedCount], [10n, 10n]);
    const high = await vectors.listVectors({ ...index, filter: { high: true }, returnMetadata: true });
    assert.deepEqual(
      plain(high.vectors),
      all.slice(40).map(({ key }) => ({ key, metadata: { high: true }, version: wet.lsn })),
    );

    const deleted = await vectors.deleteVectors({ ...index, filter: { n: { $lt: 15 } } });
    assert.deepEqual([deleted.deletedCount, deleted.notFoundCount], [15n, 0n]);
    const left = await vectors.listVectors(index);
    assert.deepEqual(keysOf(left), keysOf({ vectors: all.slice(15) }));
    const rest = await vectors.deleteVectors({ ...index, all: true });
    assert.equal(rest.deletedCount, 35n);
    assert.deepEqual((await vectors.listVectors(index)).vectors, []);
  });

  test(`a filtered list in pages and segments holds each match once over ${protocol}`, async () => {
    const { index, vectors } = await open("list");
    const all = Array.from({ length: 400 }, (_, i) => ({ key: `${1_000 + i}`, data: data(i, 1), metadata: { n: i } }));
    await vectors.putVectors({ ...index, vectors: all });
    const filter = { $or: [{ n: { $in: [3, 4, 5, 390] } }, { n: { $gt: 200, $lt: 240 } }] };
    const wanted = all.filter((_, i) => [3, 4, 5, 390].includes(i) || (i > 200 && i < 240)).map(({ key }) => key);
    const list = async (extra: object) => {
      const keys: string[] = [];
      for (let nextToken = "", more = true; more; more = nextToken !== "") {
        const page = await vectors.listVectors({ ...index, filter, maxResults: 7, nextToken, ...extra });
        assert.ok(page.vectors.length <= 7);
        keys.push(...keysOf(page));
        nextToken = page.nextToken;
      }
      return keys;
    };
    assert.deepEqual(await list({}), wanted);
    assert.deepEqual(await list({ prefix: "13" }), ["1390"]);
    const segments = await Promise.all([0, 1, 2].map((segmentIndex) => list({ segmentCount: 3, segmentIndex })));
    assert.deepEqual(segments.flat().toSorted(), wanted);

    const { nextToken } = await vectors.listVectors({ ...index, filter, maxResults: 7 });
    const orders = { $or: [{ n: { $in: [3, 4, 5, 390] } }, { n: { $lt: 240, $gt: 200 } }] };
    assert.ok((await vectors.listVectors({ ...index, filter: orders, maxResults: 1, nextToken })).vectors.length > 0);
    for (const change of [{ filter: { n: 3 } }, { filter: undefined }, { prefix: "1" }, { returnData: true }]) {
      await assert.rejects(
        vectors.listVectors({ ...index, filter, maxResults: 7, nextToken, ...change }),
        isInvalid("PAGE_TOKEN_INVALID", "next_token"),
      );
    }
  });

  test(`a query of a batch fails by itself, with its path, over ${protocol}`, async () => {
    const { index, vectors } = await open("batch", DistanceMetric.EUCLIDEAN);
    await vectors.putVectors({
      ...index,
      vectors: ["a", "b", "c"].map((key, i) => ({ key, data: data(i, 0), metadata: { i } })),
    });
    const queryVector = data(0, 0);
    const answer = await vectors.batchQueryVectors({
      ...index,
      queries: [
        { queryVector, topK: 2, returnDistance: true },
        { queryVector: data(1), topK: 1 },
        { queryKey: "b", topK: 1_000, returnMetadata: true },
        { queryKey: "none", topK: 1 },
        { queryVector, topK: 1_001 },
        { queryVector, topK: 1, filter: {} },
        { queryVector, topK: 1, filter: { i: 2 }, search: { mode: { case: "exact", value: true } } },
        { topK: 1 },
      ],
    });
    assert.equal(answer.distanceMetric, DistanceMetric.EUCLIDEAN);
    const results = answer.results.map(({ vectors, error }) =>
      error ? [error.code, ...detailsOf(error.details)] : vectors.map(({ key, distance }) => [key, distance]),
    );
    assert.deepEqual(results, [
      [
        ["a", 0],
        ["b", 1],
      ],
      [Code.InvalidArgument, "DIMENSION_MISMATCH", "queries[1].query_vector.float32"],
      [
        ["a", undefined],
        ["c", undefined],
      ],
      [Code.NotFound, "VECTOR_NOT_FOUND", undefined],
      [Code.InvalidArgument, "INVALID_FIELD", "queries[4].top_k"],
      [Code.InvalidArgument, "FILTER_INVALID", "queries[5].filter"],
      [["c", undefined]],
      [Code.InvalidArgument, "INVALID_FIELD", "queries[7].query_vector"],
    ]);
    assert.deepEqual(
      answer.results[2]?.vectors.map(({ metadata }) => metadata),
      [{ i: 0 }, { i: 2 }],
    );
    assert.deepEqual(
      answer.results.map(({ plan }) => plan?.exact),
      [true, undefined, true, undefined, undefined, undefined, true, undefined],
    );
  });
}

function assertTaken(error: unknown): void {
  assert.ok(error instanceof ConnectError && error.code === Code.AlreadyExists, `${error}`);
}

function isRefused(reason: string) {
  return (error: unknown) =>
    error instanceof ConnectError &&
    error.code === Code.FailedPrecondition &&
    error.findDetails(ErrorInfoSchema)[0]?.reason === reason;
}

function isInvalid(reason: string, field: string) {
  return (error: unknown) =>
    error instanceof ConnectError &&
    error.findDetails(ErrorInfoSchema)[0]?.reason === reason &&
    error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field === field;
}

/** The reason, and the field at fault if there is one. */
function detailsOf(details: readonly Any[]): [string | undefined, string | undefined] {
  const unpack = <Desc extends DescMessage>(desc: Desc): MessageShape<Desc> | undefined =>
    details.map((each) => anyUnpack(each, desc)).find((each) => each !== undefined);
  return [unpack(ErrorInfoSchema)?.reason, unpack(BadRequestSchema)?.fieldViolations[0]?.field];
}

function data(...float32: number[]) {
  return { float32 };
}

/** By position. */
function sparse(values: Readonly<Record<number, number>>) {
  return { indices: Object.keys(values).map(Number), values: Object.values(values) };
}

function keysOf({ vectors }: { vectors: readonly { key: string }[] }): string[] {
  return vectors.map(({ key }) => key);
}

type Stored = Awaited<ReturnType<Clients["vectors"]["getVectors"]>>["vectors"][number];

/** Vectors without what makes them messages. */
function plain(vectors: readonly Stored[]): object[] {
  return vectors.map(({ key, data, sparse, metadata, version }) => ({
    key,
    ...(data && { data: data.float32 }),
    ...(sparse && { sparse: { indices: sparse.indices, values: sparse.values } }),
    ...(metadata && { metadata }),
    version,
  }));
}
