import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { fromBinary, fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Quiver } from "../../clients/typescript/index.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { serverOfFile } from "../support/server.ts";
import { index, ROWS, sparse } from "./bad-input-rows.ts";

const server = serverOfFile(async () => {
  const quiver = new Quiver({ url: server.url });
  await quiver.bucket("b").create();
  const cosine = quiver.bucket("b").index("cosine");
  await cosine.create({ dimension: 2, distanceMetric: "cosine" });
  await cosine.put([
    { key: "old", data: [1, 2], metadata: { a: 1 } },
    { key: "long", data: [1, 2], metadata: { a: "x".repeat(1_000) } },
  ]);
  await quiver.vectors.putVectors({
    ...index,
    vectors: [{ key: "remembered", data: { float32: [1, 2] } }],
    idempotencyKey: "used",
  });
  await quiver.bucket("b").index("wide").create({ dimension: 20_000, distanceMetric: "euclidean" });
  await quiver.bucket("b").index("dot").create({ dimension: 2, distanceMetric: "dot_product" });
  await quiver.vectors.putVectors({
    ...index,
    indexName: "dot",
    vectors: [
      { key: "both", data: { float32: [1, 2] }, sparse: sparse(1) },
      { key: "sparse", sparse: sparse(1) },
    ],
  });
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
  const all = { returnData: true, returnMetadata: true };
  const { lsn, vectors } = await quiver.vectors.listVectors({ ...index, ...all });
  const dot = await quiver.vectors.listVectors({ ...index, ...all, indexName: "dot" });
  return { buckets, indexes: indexes.map(({ indexName }) => indexName), lsn, vectors, dot: dot.vectors };
}
