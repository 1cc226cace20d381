import assert from "node:assert/strict";
import { before, after as onEnd, test } from "node:test";
import { gzipSync } from "node:zlib";
import { fromBinary, fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Quiver } from "../../clients/typescript/index.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import type { Reason } from "../../src/errors.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

interface Row {
  readonly what: string;
  readonly method: string;
  readonly request: JsonValue;
  readonly code: Code;
  readonly reason: Reason;
  /** Path of the field at fault, for INVALID_ARGUMENT. */
  readonly field?: string;
}

const index = { vectorBucketName: "b", indexName: "cosine" };
const one = (values: JsonValue[], extra: object = {}) => [{ key: "new", data: { float32: values }, ...extra }];
const put = (vectors: JsonValue) => ({ method: "PutVectors", request: { ...index, vectors } });
const query = (extra: object) => ({
  method: "QueryVectors",
  request: { ...index, queryVector: { float32: [1, 2] }, topK: 1, ...extra },
});
const create = (extra: object) => ({
  method: "CreateIndex",
  request: {
    vectorBucketName: "b",
    indexName: "new",
    dataType: "DATA_TYPE_FLOAT32",
    dimension: 2,
    distanceMetric: "DISTANCE_METRIC_COSINE",
    ...extra,
  },
});
const invalid = (field: string, reason: Reason = "INVALID_FIELD") => ({ code: Code.InvalidArgument, reason, field });
const notFound = (reason: Reason) => ({ code: Code.NotFound, reason });
const notServed = (field: string) => ({ code: Code.Unimplemented, reason: "NOT_IMPLEMENTED" as const, field });
const metadata = (value: object) => put(one([1, 1], { metadata: value as JsonValue }));
const many = (count: number, of: (i: number) => JsonValue) => Array.from({ length: count }, (_, i) => of(i));

const ROWS: readonly Row[] = [
  { what: "too few values", ...put(one([1])), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "too many values", ...put(one([1, 2, 3])), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "no data", ...put([{ key: "new" }]), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "NaN", ...put(one([1, "NaN"])), ...invalid("vectors[0].data.float32[1]", "NON_FINITE_VALUE") },
  { what: "Infinity", ...put(one(["-Infinity", 1])), ...invalid("vectors[0].data.float32[0]", "NON_FINITE_VALUE") },
  { what: "a zero vector on cosine", ...put(one([0, 0])), ...invalid("vectors[0].data.float32", "ZERO_NORM") },
  {
    what: "a repeated key",
    ...put([...one([1, 1]), ...one([1, 2])]),
    ...invalid("vectors[1].key", "DUPLICATE_KEY"),
  },
  { what: "no vectors", ...put([]), ...invalid("vectors") },
  {
    what: "1,001 vectors",
    ...put(many(1001, (i) => ({ key: `${i}`, data: { float32: [1, 1] } }))),
    ...invalid("vectors"),
  },
  { what: "an empty key", ...put([{ key: "", data: { float32: [1, 1] } }]), ...invalid("vectors[0].key") },
  { what: "a long key", ...put([{ key: "ü".repeat(513), data: { float32: [1, 1] } }]), ...invalid("vectors[0].key") },
  { what: "a null", ...metadata({ a: null }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  { what: "a nested object", ...metadata({ a: { b: 1 } }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  { what: "a mixed list", ...metadata({ a: [1, "1"] }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  {
    what: "a mixed list under __proto__",
    ...metadata(JSON.parse('{"__proto__": [1, "1"]}')),
    ...invalid('vectors[0].metadata["__proto__"]', "METADATA_INVALID"),
  },
  {
    what: "long metadata",
    ...metadata({ a: "x".repeat(2036) }),
    ...invalid("vectors[0].metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "51 metadata keys",
    ...metadata(Object.fromEntries(many(51, (i) => [`${i}`, 1]) as [string, number][])),
    ...invalid("vectors[0].metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "sparse values",
    ...put(one([1, 1], { sparse: { indices: [1], values: [1] } })),
    ...notServed("vectors.sparse"),
  },
  {
    what: "a query of another dimension",
    ...query({ queryVector: { float32: [1] } }),
    ...invalid("query_vector.float32", "DIMENSION_MISMATCH"),
  },
  {
    what: "a zero query",
    ...query({ queryVector: { float32: [0, 0] } }),
    ...invalid("query_vector.float32", "ZERO_NORM"),
  },
  {
    what: "a NaN query",
    ...query({ queryVector: { float32: [0, "NaN"] } }),
    ...invalid("query_vector.float32[1]", "NON_FINITE_VALUE"),
  },
  { what: "top_k 0", ...query({ topK: 0 }), ...invalid("top_k") },
  { what: "top_k 10,001", ...query({ topK: 10_001 }), ...invalid("top_k") },
  { what: "top_k 1,001", ...query({ topK: 1001 }), ...notServed("top_k") },
  { what: "recall_target 0", ...query({ search: { recallTarget: 0 } }), ...invalid("search.recall_target") },
  { what: "recall_target NaN", ...query({ search: { recallTarget: "NaN" } }), ...invalid("search.recall_target") },
  { what: "ef_search 0", ...query({ search: { efSearch: 0 } }), ...invalid("search.ef_search") },
  { what: "a filter", ...query({ filter: { a: 1 } }), ...notServed("filter") },
  { what: "an unknown index", ...query({ indexName: "none" }), ...notFound("INDEX_NOT_FOUND") },
  { what: "an unknown bucket", ...query({ vectorBucketName: "none" }), ...notFound("BUCKET_NOT_FOUND") },
  { what: "an unknown namespace", ...query({ namespace: "none" }), ...notFound("NAMESPACE_NOT_FOUND") },
  { what: "a namespace with a slash", ...query({ namespace: "a/b" }), ...invalid("namespace") },
  { what: "no index name", ...query({ indexName: "" }), ...invalid("index_name") },
  { what: "name and ARN", ...query({ indexArn: "arn:x" }), ...invalid("index_arn") },
  {
    what: "a foreign ARN",
    ...query({ vectorBucketName: "", indexName: "", indexArn: "arn:x" }),
    ...invalid("index_arn"),
  },
  {
    what: "a page token of nobody",
    method: "ListVectors",
    request: { ...index, nextToken: "AAAA" },
    ...invalid("next_token", "PAGE_TOKEN_INVALID"),
  },
  {
    what: "a page of 1,001",
    method: "ListVectors",
    request: { ...index, maxResults: 1001 },
    ...invalid("max_results"),
  },
  { what: "17 segments", method: "ListVectors", request: { ...index, segmentCount: 17 }, ...invalid("segment_count") },
  {
    what: "segment 2 of 2",
    method: "ListVectors",
    request: { ...index, segmentCount: 2, segmentIndex: 2 },
    ...invalid("segment_index"),
  },
  { what: "no keys to get", method: "GetVectors", request: { ...index, keys: [] }, ...invalid("keys") },
  {
    what: "an empty key to delete",
    method: "DeleteVectors",
    request: { ...index, keys: ["a", ""] },
    ...invalid("keys[1]"),
  },
  { what: "dimension 0", ...create({ dimension: 0 }), ...invalid("dimension") },
  { what: "dimension 20,001", ...create({ dimension: 20_001 }), ...invalid("dimension") },
  { what: "no metric", ...create({ distanceMetric: 0 }), ...invalid("distance_metric") },
  { what: "an unknown metric", ...create({ distanceMetric: 9 }), ...invalid("distance_metric") },
  { what: "no data type", ...create({ dataType: 0 }), ...invalid("data_type") },
  { what: "m 1", ...create({ hnsw: { m: 1 } }), ...invalid("hnsw.m") },
  { what: "a name with a blank", ...create({ indexName: "a b" }), ...invalid("index_name") },
  { what: "a name of 64", ...create({ indexName: "a".repeat(64) }), ...invalid("index_name") },
  { what: "a taken index name", ...create({ indexName: "cosine" }), code: Code.AlreadyExists, reason: "INDEX_EXISTS" },
  {
    what: "a taken bucket name",
    method: "CreateVectorBucket",
    request: { vectorBucketName: "b" },
    code: Code.AlreadyExists,
    reason: "BUCKET_EXISTS",
  },
  {
    what: "a bucket with indexes",
    method: "DeleteVectorBucket",
    request: { vectorBucketName: "b" },
    code: Code.FailedPrecondition,
    reason: "BUCKET_NOT_EMPTY",
  },
  {
    what: "a long tag",
    method: "CreateVectorBucket",
    request: { vectorBucketName: "t", tags: { k: "v".repeat(257) } },
    ...invalid('tags["k"]'),
  },
];

let server: ServerProcess;
const ends: (() => void)[] = [];
const ending = { after: (end: () => void) => void ends.push(end) };

before(async () => {
  server = await ServerProcess.start(temporaryDirectory(ending));
  const quiver = new Quiver({ url: server.url });
  await quiver.bucket("b").create();
  const cosine = quiver.bucket("b").index("cosine");
  await cosine.create({ dimension: 2, distanceMetric: "cosine" });
  await cosine.put([{ key: "old", data: [1, 2], metadata: { a: 1 } }]);
});

onEnd(async () => {
  await server?.kill();
  for (const end of ends) end();
});

const TRANSPORTS: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect with JSON": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect with protobuf": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
};

for (const [protocol, connect] of Object.entries(TRANSPORTS)) {
  test(`bad input over ${protocol} gets its code, reason and field, and changes nothing`, async (t) => {
    const transport = connect(server.url);
    const state = await stateOf(server.url);
    for (const { what, method, request, code, reason, field } of ROWS) {
      await t.test(`${method} with ${what}`, async () => {
        const error = await refusalOf(transport, method, request);
        assert.equal(Code[error.code], Code[code], error.rawMessage);
        const [info] = error.findDetails(ErrorInfoSchema);
        assert.deepEqual([info?.reason, info?.domain], [reason, "quiver"]);
        const fields = error.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
        assert.equal(fields[0]?.field, field, error.rawMessage);
      });
    }
    assert.deepEqual(await stateOf(server.url), state);
  });
}

for (const [what, contentType, body, code, reason] of [
  ["protobuf that is none", "application/proto", Buffer.from([0xff, 0xff]), "invalid_argument", "MALFORMED_REQUEST"],
  ["JSON that is none", "application/json", Buffer.from('{"vectors": ['), "invalid_argument", "MALFORMED_REQUEST"],
  [
    "JSON with an unknown field",
    "application/json",
    Buffer.from('{"fliter": {}}'),
    "invalid_argument",
    "MALFORMED_REQUEST",
  ],
  ["JSON of another shape", "application/json", Buffer.from('{"vectors": 1}'), "invalid_argument", "MALFORMED_REQUEST"],
  ["a body of 21 MiB", "application/proto", Buffer.alloc(21 << 20), "resource_exhausted", "REQUEST_TOO_LARGE"],
] as const) {
  test(`${what} is refused with its reason`, async () => {
    const answer = await fetch(`${server.url}/quiver.v1.VectorService/PutVectors`, {
      method: "POST",
      headers: { "content-type": contentType, "connect-protocol-version": "1" },
      body,
    });
    const error = (await answer.json()) as { code: string; details: { type: string; value: string }[] };
    assert.equal(error.code, code);
    const info = error.details.find(({ type }) => type === ErrorInfoSchema.typeName);
    assert.equal(fromBinary(ErrorInfoSchema, Buffer.from(info?.value ?? "", "base64")).reason, reason);
  });
}

test("a compressed GET is refused: nothing would bound what it unzips to", async () => {
  const message = gzipSync("{}").toString("base64url");
  const query = `encoding=json&base64=1&compression=gzip&message=${message}&connect=v1`;
  const answer = await fetch(`${server.url}/quiver.v1.BucketService/ListVectorBuckets?${query}`);
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /MALFORMED_REQUEST|TUFMRk9STUVEX1JFUVVFU1Q/);
});

async function refusalOf(transport: Transport, method: string, request: JsonValue): Promise<ConnectError> {
  const service = [BucketService, IndexService, VectorService].find((each) =>
    each.methods.some(({ name }) => name === method),
  );
  const descriptor = service?.methods.find(({ name }) => name === method);
  if (!service || !descriptor) throw new Error(`No method ${method}`);
  const client = createClient(service, transport) as unknown as Record<string, (message: unknown) => Promise<unknown>>;
  const message = fromJson(descriptor.input, request);
  const error = await client[descriptor.localName]?.(message).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ConnectError, `${method} was accepted`);
  return error;
}

async function stateOf(url: string) {
  const quiver = new Quiver({ url });
  const buckets = (await quiver.buckets.listVectorBuckets({})).vectorBuckets.map(
    ({ vectorBucketName }) => vectorBucketName,
  );
  const { indexes } = await quiver.indexes.listIndexes({ vectorBucketName: "b" });
  const { lsn, vectors } = await quiver.vectors.listVectors({ ...index, returnData: true, returnMetadata: true });
  return { buckets, indexes: indexes.map(({ indexName }) => indexName), lsn, vectors };
}
