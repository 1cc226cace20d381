import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type ServiceError, status } from "@grpc/grpc-js";
import { ErrorInfoSchema } from "../../../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../../gen/google/rpc/status_pb.ts";
import { DistanceMetric } from "../../../gen/quiver/v1/resources_pb.ts";
import { createClients } from "../../support/protocols.ts";
import { createIndex } from "../../support/resources.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { encodeRequest, GrpcClient } from "./grpc-client.ts";

async function open(t: TestContext): Promise<GrpcClient> {
  const url = await startCompatServer(t);
  const native = createClients(createGrpcTransport({ baseUrl: url }));
  await createIndex(native, "default", "docs", { distanceMetric: DistanceMetric.DOT_PRODUCT });
  const client = new GrpcClient(url);
  t.after(() => client.close());
  await client.call("Upsert", { vectors: [{ id: "k", values: [1, 2] }] });
  return client;
}

/** The code of an error and the reason in its details, which must agree with its message; undefined: there was none. */
async function failureOf(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call;
    return undefined;
  } catch (thrown) {
    const { code, details, metadata } = thrown as ServiceError;
    const [bytes] = metadata.get("grpc-status-details-bin");
    const told = fromBinary(StatusSchema, Buffer.from(bytes as Buffer));
    assert.deepEqual([told.code, told.message], [code, details]);
    const [info] = told.details.flatMap((detail) => anyUnpack(detail, ErrorInfoSchema) ?? []);
    return `${status[code]} ${info?.reason}`;
  }
}

const one = (vector: object) => ["Upsert", { vectors: [{ id: "k", values: [1, 2], ...vector }] }] as const;
const query = (request: object) => ["Query", { topK: 1, vector: [1, 2], ...request }] as const;
const sparse = (value: number) => ({ indices: [1], values: [value] });
const many = (count: number) => Array.from({ length: count }, (_, i) => `${i}`);

const FAILURES: Readonly<Record<string, readonly [method: string, request: object, failure: string | undefined]>> = {
  "not a number": [...one({ values: [Number.NaN, 1] }), "INVALID_ARGUMENT NON_FINITE_VALUE"],
  infinity: [...one({ values: [1, Number.POSITIVE_INFINITY] }), "INVALID_ARGUMENT NON_FINITE_VALUE"],
  "a sparse value not a number": [...one({ sparseValues: sparse(Number.NaN) }), "INVALID_ARGUMENT NON_FINITE_VALUE"],
  "metadata not a number": [...one({ metadata: { n: Number.NaN } }), "INVALID_ARGUMENT METADATA_INVALID"],
  "a filter not a number": [...query({ filter: { n: Number.NaN } }), "INVALID_ARGUMENT FILTER_INVALID"],
  "a query not a number": [...query({ vector: [Number.NaN, 1] }), "INVALID_ARGUMENT NON_FINITE_VALUE"],
  "a sparse query not a number": [
    ...query({ sparseVector: sparse(Number.NEGATIVE_INFINITY) }),
    "INVALID_ARGUMENT NON_FINITE_VALUE",
  ],
  "an update not a number": ["Update", { id: "k", values: [Number.NaN, 1] }, "INVALID_ARGUMENT NON_FINITE_VALUE"],
  "another dimension": [...one({ values: [1] }), "INVALID_ARGUMENT DIMENSION_MISMATCH"],
  "null as metadata": [...one({ metadata: { n: null } }), "INVALID_ARGUMENT METADATA_INVALID"],
  "nested metadata": [...one({ metadata: { n: { o: 1 } } }), "INVALID_ARGUMENT METADATA_INVALID"],
  "a filter that is none": [...query({ filter: { n: { $near: 1 } } }), "INVALID_ARGUMENT FILTER_INVALID"],
  "no topK": ["Query", { vector: [1, 2] }, "INVALID_ARGUMENT INVALID_FIELD"],
  "nothing to look for": ["Query", { topK: 1 }, "INVALID_ARGUMENT INVALID_FIELD"],
  "no vectors": ["Upsert", {}, "INVALID_ARGUMENT INVALID_FIELD"],
  "stats by filter": ["DescribeIndexStats", { filter: { n: 1 } }, "INVALID_ARGUMENT INVALID_FIELD"],
  "a page token that is none": ["List", { paginationToken: "x" }, "INVALID_ARGUMENT PAGE_TOKEN_INVALID"],
  "an unknown namespace": ["DescribeNamespace", { namespace: "nope" }, "NOT_FOUND NAMESPACE_NOT_FOUND"],
  "999 ids": ["Fetch", { ids: many(999) }, undefined],
  "1,000 ids": ["Fetch", { ids: many(1_000) }, undefined],
  "1,001 ids": ["Fetch", { ids: many(1_001) }, "INVALID_ARGUMENT INVALID_FIELD"],
  "an id of 512": [...one({ id: "i".repeat(512) }), undefined],
  "an id of 513": [...one({ id: "i".repeat(513) }), "INVALID_ARGUMENT INVALID_FIELD"],
  "topK of 10,000": [...query({ topK: 10_000 }), undefined],
  "topK of 10,001": [...query({ topK: 10_001 }), "INVALID_ARGUMENT INVALID_FIELD"],
};

test("what is wrong is told by google.rpc.Status with a reason", async (t) => {
  const client = await open(t);
  const failures: Record<string, string | undefined> = {};
  for (const [what, [method, request]] of Object.entries(FAILURES)) {
    failures[what] = await failureOf(client.call(method, { ...request }));
  }
  assert.deepEqual(
    failures,
    Object.fromEntries(Object.entries(FAILURES).map(([what, [, , failure]]) => [what, failure])),
  );
});

test("a method that Pinecone has not is UNIMPLEMENTED", async (t) => {
  const client = await open(t);
  assert.equal(await failureOf(client.send("/VectorService/Search", Buffer.alloc(0))), "UNIMPLEMENTED NOT_IMPLEMENTED");
});

test("a request may have 2 MiB", async (t) => {
  const client = await open(t);
  const message = encodeRequest("/VectorService/Upsert", { vectors: [{ id: "k", values: [1, 2] }] });
  const max = 2 * 1024 * 1024;
  for (const length of [max - 1, max, max + 1]) {
    // A field that nobody knows, with the number 15, so long that its length takes four bytes.
    const rest = length - message.length - 5;
    const size = Buffer.of((rest & 127) | 128, ((rest >> 7) & 127) | 128, ((rest >> 14) & 127) | 128, rest >> 21);
    const padded = Buffer.concat([message, Buffer.of((15 << 3) | 2), size, Buffer.alloc(rest)]);
    assert.equal(padded.length, length);
    const failure = await failureOf(client.send("/VectorService/Upsert", padded));
    assert.equal(failure, length <= max ? undefined : "RESOURCE_EXHAUSTED REQUEST_TOO_LARGE", `${length}`);
  }
});
