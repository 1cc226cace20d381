import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { PutVectorsRequestSchema } from "../../gen/quiver/v1/vector_service_pb.ts";
import { LIMITS } from "../../src/service/limits.ts";
import { callUnary, createClients, PROTOCOLS } from "../support/protocols.ts";
import { serverOfFile } from "../support/server.ts";
import { CONTRACT, INDEXES, type LimitRow, ROWS } from "./limit-rows.ts";

/** Limits whose tests are below the rows: they bound answers, or need more than one request in JSON. */
const ANSWERS = ["listPageDefault", "listPageBytesMax", "queryPageMax", "requestBytesMax"];

/** Limits of what is kept between the pages of a query, and of the queries of a batch: vectors.test.ts tests them. */
const OF_QUERIES = [
  "openAnswersMax",
  "openAnswerIdleMs",
  "openAnswerReadMs",
  "openAnswerLifeMs",
  "batchTopKMax",
  "batchAnswerBytesMax",
];

/** Limits of what waits and what is kept: jobs.test.ts, here and in test/unit, tests them. */
const OF_JOBS = [
  "jobsUnfinishedMax",
  "jobsUnfinishedBytesMax",
  "jobsKeptHours",
  "jobsKeptMax",
  "jobsKeptBytesMax",
  "jobErrorsMax",
  "jobWatchesMax",
];

/** Limits of access keys, of which the first one closes a server: test/unit/access-keys.test.ts tests them. */
const OF_ACCESS_KEYS = ["accessKeysMax", "accessScopesMax", "accessKeyOverlapSecondsMax"];

/** Limits of imports, exports and watches: test/unit/import.test.ts and health.test.ts test them. */
const OF_STREAMS = ["streamsMax", "importErrorsMax", "healthWatchesMax"];

const index = { vectorBucketName: "b", indexName: "cosine" };
const PAGED_COUNT = 1_201;

const server = serverOfFile(async () => {
  const transport = (PROTOCOLS.gRPC as (url: string) => Transport)(server.url);
  await callUnary(transport, "CreateVectorBucket", { vectorBucketName: "b" });
  for (const each of INDEXES) await callUnary(transport, "CreateIndex", each);
  const { vectors } = createClients(transport);
  const paged = { ...index, namespace: "paged" };
  const keys = Array.from({ length: PAGED_COUNT }, (_, i) => `${i}`);
  for (let i = 0; i < PAGED_COUNT; i += 600) {
    const batch = keys.slice(i, i + 600);
    await vectors.putVectors({ ...paged, vectors: batch.map((key) => ({ key, data: { float32: [1, Number(key)] } })) });
  }
  const long = Array.from({ length: 60 }, (_, i) => ({
    key: `${i}`.padStart(2, "0"),
    data: { float32: [1, 1] },
    metadata: { doc: "x".repeat(40_000) },
  }));
  await vectors.putVectors({ ...index, namespace: "long", vectors: long });
});

test("every limit of the code is one of the contract, and at least one row tests it", () => {
  assert.deepEqual({ ...LIMITS }, { ...CONTRACT });
  const elsewhere = [ANSWERS, OF_QUERIES, OF_JOBS, OF_ACCESS_KEYS, OF_STREAMS].flat();
  const tested = new Set([...ROWS.map(({ limit }) => limit), ...elsewhere]);
  for (const limit of Object.keys(LIMITS)) assert.ok(tested.has(limit), `Nothing tests ${limit}: add a row`);
});

for (const [protocol, connect] of Object.entries(PROTOCOLS)) {
  test(`the limits hold over ${protocol}`, async (t) => {
    const transport = connect(server.url);
    for (const row of ROWS) {
      const name = `${row.limit}: ${row.method}${row.what === undefined ? "" : ` ${row.what}`}`;
      await t.test(name, () => assertLimit(transport, row));
    }
  });

  test(`a page of a list ends after 500, 1,000 or as asked, and after 1 MiB over ${protocol}`, async () => {
    const { vectors } = createClients(connect(server.url));
    const paged = { ...index, namespace: "paged" };
    for (const [maxResults, count] of [
      [0, 500],
      [1, 1],
      [1_000, 1_000],
    ] as const) {
      const page = await vectors.listVectors({ ...paged, maxResults });
      assert.equal(page.vectors.length, count);
      assert.notEqual(page.nextToken, "");
    }
    const page = await vectors.listVectors({ ...index, namespace: "long", returnMetadata: true });
    const bytes = page.vectors.reduce((sum, { metadata }) => sum + JSON.stringify(metadata).length, 0);
    assert.ok(bytes >= CONTRACT.listPageBytesMax - 41_000 && bytes < CONTRACT.listPageBytesMax + 41_000, `${bytes}`);
    assert.notEqual(page.nextToken, "");
    const rest = await vectors.listVectors({
      ...index,
      namespace: "long",
      returnMetadata: true,
      nextToken: page.nextToken,
    });
    const keys = [...page.vectors, ...rest.vectors].map(({ key }) => key);
    assert.deepEqual(
      keys,
      Array.from({ length: keys.length }, (_, i) => `${i}`.padStart(2, "0")),
    );
  });

  test(`an answer of a query has at most 1,000 results over ${protocol}`, async () => {
    const { vectors } = createClients(connect(server.url));
    const query = { ...index, namespace: "paged", queryVector: { float32: [1, 0] }, topK: 10_000 };
    const page = await vectors.queryVectors(query);
    assert.equal(page.vectors.length, CONTRACT.queryPageMax);
    const rest = await vectors.queryVectors({ ...query, nextToken: page.nextToken });
    assert.deepEqual([rest.vectors.length, rest.nextToken], [PAGED_COUNT - CONTRACT.queryPageMax, ""]);
  });

  if (protocol === "Connect with JSON") continue;
  test(`a request of 20 MiB is taken and one of 1 byte more is not over ${protocol}`, async () => {
    const { vectors } = createClients(connect(server.url));
    await vectors.putVectors(requestOf(CONTRACT.requestBytesMax));
    const error = await refusalOf(vectors.putVectors(requestOf(CONTRACT.requestBytesMax + 1)));
    assert.equal(Code[error.code], Code[Code.ResourceExhausted]);
    assert.equal(error.findDetails(ErrorInfoSchema)[0]?.reason, "REQUEST_TOO_LARGE");
  });
}

async function assertLimit(transport: Transport, row: LimitRow): Promise<void> {
  for (const n of row.accepted) {
    await callUnary(transport, row.method, row.request(n)).catch((error: ConnectError) => {
      assert.fail(`${n} is refused: ${error.message}`);
    });
  }
  for (const n of row.refused) {
    const error = await refusalOf(callUnary(transport, row.method, row.request(n)), `${n}`);
    const fields = error.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
    const seen = { code: Code[error.code], reason: error.findDetails(ErrorInfoSchema)[0]?.reason };
    const expected = { code: Code[Code.InvalidArgument], reason: row.reason ?? "INVALID_FIELD" };
    assert.deepEqual(seen, expected, `${n}: ${error.message}`);
    const field = fields[0]?.field ?? "";
    if (typeof row.field === "string") assert.equal(field, row.field, `${n}: ${error.message}`);
    else assert.match(field, row.field, `${n}: ${error.message}`);
  }
}

async function refusalOf(call: Promise<unknown>, what = "It"): Promise<ConnectError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ConnectError, `${what} was accepted`);
  return error;
}

/** A put of exactly so many bytes as protobuf: metadata fills what the vectors leave. */
function requestOf(bytes: number) {
  const lengths: number[] = Array.from({ length: 600 }, () => 34_000);
  const build = () => {
    const vectors = lengths.map((length, i) => ({
      key: `${i}`,
      data: { float32: [1, 1] },
      metadata: { doc: "x".repeat(length) },
    }));
    return create(PutVectorsRequestSchema, { ...index, namespace: "full", vectors });
  };
  // Lengths that stay within three bytes of varint: a character more is a byte more.
  let missing = bytes - toBinary(PutVectorsRequestSchema, build()).length;
  for (const [i, length] of lengths.entries()) {
    const more = Math.max(-15_000, Math.min(6_000, missing));
    lengths[i] = length + more;
    missing -= more;
  }
  const request = build();
  assert.equal(toBinary(PutVectorsRequestSchema, request).length, bytes);
  return request;
}
