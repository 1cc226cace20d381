import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { PutVectorsRequestSchema, VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { ChunkBuffer } from "../../src/rpc/chunk-buffer.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { openRpcHarness, type RawResponse, type RpcHarness, sendHttp1 } from "../support/rpc-harness.ts";

/** Far more than any of these requests needs, and far less than quadratic time takes. */
const timeout = 60_000;
const FIELDS_MAX = 211_000;
const NUMBERS_MAX = 5_242_880;
const TOO_MANY_FIELDS = /"Request message has more than 211000 fields/;
const TOO_MANY_NUMBERS = /"Request message has more than 5242880 numbers/;

const vectors = defineService(VectorService, {
  putVectors: (request) => ({ putCount: BigInt(request.vectors.length) }),
  queryVectors: () => ({}),
});

function sendJson({ url }: RpcHarness, method: string, text: string | Buffer): Promise<RawResponse> {
  const headers = { "content-type": "application/json", "content-encoding": "gzip" };
  return sendHttp1(url, { path: `/${VectorService.typeName}/${method}`, headers, body: gzipSync(text, { level: 1 }) });
}

function sendProto({ url }: RpcHarness, method: string, body: Uint8Array): Promise<RawResponse> {
  const headers = { "content-type": "application/proto" };
  return sendHttp1(url, { path: `/${VectorService.typeName}/${method}`, headers, body });
}

function assertRefused(response: RawResponse, status: number, message: RegExp): void {
  assert.match(response.body.toString(), message);
  assert.equal(response.status, status);
}

suite("in JSON", { timeout }, () => {
  test("lists of numbers that never end are read once, not once each", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const spaces = " ".repeat(50_000_000);
    const list = '"float32":[';
    for (const body of [
      `{"queryVector":{${`${list}},`.repeat(60_000)}${spaces}]`,
      `{"queryVector":{${`${list}],`.repeat(60_000)}${spaces}`,
    ]) {
      const response = await sendJson(harness, "QueryVectors", body);
      assert.equal(response.status, 400);
    }
    const open = `{"queryVector":{${`${list}{"queryVector":{`.repeat(60_000)}${spaces}]`;
    assert.equal((await sendJson(harness, "QueryVectors", open)).status, 400);
  });

  test("a bracket that closes nothing is refused with its place", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    for (const [body, place] of [
      ["]", 0],
      ['{"a":[}', 6],
      ['{"a":1]', 6],
      ["{}}", 2],
    ] as const) {
      const response = await sendJson(harness, "PutVectors", body);
      assertRefused(response, 400, new RegExp(`at byte ${place} closes nothing`));
      assert.match(response.body.toString(), /invalid_argument/);
    }
  });

  test("strings of escaped quotes are read once", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const body = `{"vectorBucketName":"${'\\"'.repeat(1_000_000)}\\\\","indexName":"${"\\\\".repeat(1_000_000)}"}`;
    assert.deepEqual(JSON.parse((await sendJson(harness, "PutVectors", body)).body.toString()), {});
  });

  test("more numbers than a binary message can hold are refused, in one list or in many", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const query = (numbers: number) => `{"queryVector":{"float32":[1${",1".repeat(numbers - 1)}]}}`;
    assert.equal((await sendJson(harness, "QueryVectors", query(NUMBERS_MAX))).status, 200);
    const one = await sendJson(harness, "QueryVectors", query(NUMBERS_MAX + 1));
    assertRefused(one, 429, TOO_MANY_NUMBERS);
    const vector = `{"data":{"float32":[1${",1".repeat(9_999)}]}}`;
    const many = await sendJson(harness, "PutVectors", `{"vectors":[${Array(600).fill(vector).join()}]}`);
    assertRefused(many, 429, TOO_MANY_NUMBERS);
  });
});

suite("in binary", { timeout }, () => {
  const request = PutVectorsRequestSchema.field;
  const data = (bytes: Uint8Array) => {
    const vector = new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(bytes).finish();
    return new BinaryWriter().tag(request.vectors.number, WireType.LengthDelimited).bytes(vector).finish();
  };
  const repeat = (bytes: readonly number[], count: number) => Buffer.alloc(bytes.length * count, Buffer.from(bytes));

  test("groups are refused, known or not, closed or not", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    for (const body of [
      data(repeat([0x0b, 0x0c], 1_000_000)),
      data(Buffer.concat([Buffer.from([0x13]), repeat([0x08, 1], 1_000_000), Buffer.from([0x14])])),
      Buffer.from([0xa3, 0x06]),
      Buffer.from([0xa4, 0x06]),
    ]) {
      assertRefused(await sendProto(harness, "PutVectors", body), 400, /"Request has a group/);
    }
  });

  test("numbers count as fields where they are not packed, and empty lists do too", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    for (const element of [
      [0x0d, 0, 0, 128, 63],
      [0x08, 1],
      [0x0a, 0],
    ]) {
      const few = await sendProto(harness, "PutVectors", data(repeat(element, 3)));
      if (element[0] !== 0x08) assert.equal(few.status, 200);
      assertRefused(await sendProto(harness, "PutVectors", data(repeat(element, FIELDS_MAX))), 429, TOO_MANY_FIELDS);
    }
  });

  test("packed numbers of one byte are bounded like all numbers", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const sparse = (count: number) => {
      const indices = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(Buffer.alloc(count, 1)).finish();
      const vector = new BinaryWriter().tag(3, WireType.LengthDelimited).bytes(indices).finish();
      return new BinaryWriter().tag(request.vectors.number, WireType.LengthDelimited).bytes(vector).finish();
    };
    assert.equal((await sendProto(harness, "PutVectors", sparse(1_000_000))).status, 200);
    assertRefused(await sendProto(harness, "PutVectors", sparse(NUMBERS_MAX + 1)), 429, TOO_MANY_NUMBERS);
  });
});

test("the largest put passes in both formats: 1,000 vectors with 50 metadata keys each", { timeout }, async (t) => {
  const harness = await openRpcHarness(t, { services: [vectors] });
  const metadata: JsonObject = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key${i}`, i]));
  const batch = Array.from({ length: 1_000 }, (_, i) => ({
    key: `${i}`,
    data: { float32: [1, 2, 3] },
    sparse: { indices: [1, 2], values: [1, 2] },
    metadata,
    version: 1n,
    ifVersion: 1n,
  }));
  const put = create(PutVectorsRequestSchema, {
    vectorBucketName: "b",
    indexName: "i",
    namespace: "n",
    vectors: batch,
  });
  const binary = await sendProto(harness, "PutVectors", toBinary(PutVectorsRequestSchema, put));
  assert.equal(binary.status, 200, binary.body.toString());
  const text = JSON.stringify({ vectors: batch.map((vector) => ({ ...vector, version: "1", ifVersion: "1" })) });
  assert.deepEqual(JSON.parse((await sendJson(harness, "PutVectors", text)).body.toString()), { putCount: "1000" });
});

test("chunks of one byte are gathered in few blocks, and large ones are kept between them", () => {
  const buffer = new ChunkBuffer();
  const small = Array.from({ length: 500_000 }, (_, i) => Buffer.of(i % 251));
  for (const chunk of small) buffer.push(chunk);
  assert.ok(buffer.blockCount < 40, `${buffer.blockCount} blocks`);
  const large = Buffer.alloc(100_000, 7);
  buffer.push(large);
  buffer.push(Buffer.of(1, 2));
  const expected = Buffer.concat([...small, large, Buffer.of(1, 2)]);
  assert.equal(buffer.length, expected.length);
  assert.ok(buffer.take().equals(expected));
  assert.deepEqual([buffer.length, buffer.blockCount, buffer.take().length], [0, 0, 0]);
});
