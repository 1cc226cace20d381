import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ListVectorBucketsRequestSchema } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { type SparseVector, SparseVectorSchema, VectorDataSchema } from "../../gen/quiver/v1/resources_pb.ts";
import {
  BatchQueryVectorsRequestSchema,
  BatchQueryVectorsResponseSchema,
  GetVectorsResponseSchema,
  type PutVectorsRequest,
  PutVectorsRequestSchema,
  QueryVectorsResponseSchema,
} from "../../gen/quiver/v1/vector_service_pb.ts";
import { createFloatWriter, floatsIn, withoutFloats } from "../../src/rpc/float-bytes.ts";
import { Random } from "../support/random.ts";

const VALUES = VectorDataSchema.field.float32;
const ODD_FLOATS = [0, -0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** -149];

function randomFloats(random: Random, max = 40): Float32Array {
  return Float32Array.from({ length: random.below(max) }, () =>
    random.below(4) === 0 ? random.pick(ODD_FLOATS) : random.next() * 2 - 1,
  );
}

/** As a client may write it: in one packed part, in several, or float by float. */
function encodeFloats(random: Random, field: number, floats: Float32Array, writer = new BinaryWriter()): BinaryWriter {
  for (let at = 0; at < floats.length; ) {
    if (random.below(3) === 0) {
      writer.tag(field, WireType.Bit32).float(floats[at++] as number);
      continue;
    }
    const end = random.below(2) === 0 ? floats.length : at + random.below(floats.length - at + 1);
    writer.tag(field, WireType.LengthDelimited).fork();
    for (; at < end; at++) writer.float(floats[at] as number);
    writer.join();
  }
  return writer;
}

test("floats are read as protobuf-es reads them, in whatever parts they come", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const twin = withoutFloats(SparseVectorSchema);
  for (let i = 0; i < 2_000; i++) {
    const floats = randomFloats(random);
    const writer = new BinaryWriter().tag(1, WireType.Varint).uint32(random.below(1_000));
    const bytes = encodeFloats(random, 2, floats, writer).tag(1, WireType.Varint).uint32(7).finish();
    const expected = fromBinary(SparseVectorSchema, bytes);
    const message = fromBinary(twin, bytes) as SparseVector;
    assert.deepEqual(message.indices, expected.indices);
    const read = floatsIn(message, SparseVectorSchema.field.values);
    assert.deepEqual(read, Float32Array.from(expected.values));
    assert.deepEqual(new Uint8Array(read.buffer), new Uint8Array(floats.buffer), "bit by bit");
    assert.deepEqual(floatsIn(expected, SparseVectorSchema.field.values), read, "of the type with floats");
  }
});

test("what is no list of floats is the client's fault", () => {
  const twin = withoutFloats(VectorDataSchema);
  const broken = [
    new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(new Uint8Array(5)),
    new BinaryWriter().tag(1, WireType.Varint).uint32(3),
    new BinaryWriter().tag(1, WireType.Bit64).double(3),
    new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(new Uint8Array(4)).tag(1, WireType.Varint).uint32(3),
  ];
  for (const writer of broken) {
    const message = fromBinary(twin, writer.finish());
    assert.throws(() => floatsIn(message, VALUES), { reason: "MALFORMED_REQUEST" });
  }
});

test("a request is read as before but for its floats, at every depth", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const twin = withoutFloats(PutVectorsRequestSchema);
  for (let i = 0; i < 200; i++) {
    const vectors = Array.from({ length: random.below(5) }, (_, at) => ({
      key: `${at}`,
      ...(random.below(2) === 0 && { data: { float32: [...randomFloats(random)] } }),
      ...(random.below(2) === 0 && { sparse: { indices: [1, 2, 300], values: [...randomFloats(random)] } }),
      ...(random.below(2) === 0 && { metadata: { list: [1, "two", null, { deep: true }], ["__proto__"]: 1 } }),
      ...(random.below(2) === 0 && { ifVersion: BigInt(random.below(9)) }),
    }));
    const expected = create(PutVectorsRequestSchema, {
      vectorBucketName: "b",
      indexName: "i",
      vectors,
      namespace: "n",
    });
    const read = fromBinary(twin, toBinary(PutVectorsRequestSchema, expected)) as PutVectorsRequest;
    for (const [at, vector] of read.vectors.entries()) {
      const { data, sparse } = vector;
      if (data) Object.assign(data, { float32: [...floatsIn(data, VALUES)], $unknown: undefined });
      if (sparse) {
        const values = [...floatsIn(sparse, SparseVectorSchema.field.values)];
        Object.assign(sparse, { values, $unknown: undefined });
      }
      assert.deepEqual(Object.keys(vector).sort(), Object.keys(expected.vectors[at] ?? {}).sort());
    }
    assert.deepEqual(toBinary(PutVectorsRequestSchema, read), toBinary(PutVectorsRequestSchema, expected));
  }
});

test("a type without lists of floats is read as itself", () => {
  assert.equal(withoutFloats(ListVectorBucketsRequestSchema), ListVectorBucketsRequestSchema);
  assert.equal(createFloatWriter(ListVectorBucketsRequestSchema), undefined);
  assert.notEqual(withoutFloats(BatchQueryVectorsRequestSchema), BatchQueryVectorsRequestSchema);
});

test("answers with their floats as bytes are read as those with numbers", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const vector = (floats: (values: Float32Array) => ArrayLike<number>, values: Float32Array) => ({
    key: "k",
    version: 7n,
    ...(values.length % 3 > 0 && { data: { float32: floats(values) } }),
    ...(values.length % 2 > 0 && { sparse: { indices: [3, 2 ** 31], values: floats(values) } }),
    ...(values.length % 5 > 0 && { metadata: { text: "é", list: [null, 1] } }),
  });
  for (let i = 0; i < 300; i++) {
    const lists = Array.from({ length: random.below(5) }, () => randomFloats(random));
    const vectors = (floats: (values: Float32Array) => ArrayLike<number>) =>
      lists.map((values) => vector(floats, values));
    const asIs = (values: Float32Array) => values;
    // A view that is not aligned in its memory, and not all of it.
    const asView = (values: Float32Array) => new Float32Array([9, ...values, 9]).subarray(1, -1);
    const asNumbers = (values: Float32Array) => [...values];
    for (const form of [asIs, asView, asNumbers]) {
      assertWrittenAlike(
        GetVectorsResponseSchema,
        { vectors: vectors(form), lsn: 3n },
        { vectors: vectors(asNumbers), lsn: 3n },
      );
      const results = (given: typeof asIs | typeof asNumbers) => ({ results: [{ vectors: vectors(given) }, {}] });
      assertWrittenAlike(BatchQueryVectorsResponseSchema, results(form as typeof asIs), results(asNumbers));
    }
  }
  assertWrittenAlike(QueryVectorsResponseSchema, {}, {});
});

function assertWrittenAlike(
  desc: DescMessage,
  fields: Record<string, unknown>,
  numbers: Record<string, unknown>,
): void {
  const written = toBinary(desc, create(desc, createFloatWriter(desc)?.(fields) ?? fields) as Message);
  // Bytes may differ in the order of fields, which says nothing.
  assert.deepEqual(fromBinary(desc, written), fromBinary(desc, toBinary(desc, create(desc, numbers))));
  assert.equal(new BinaryReader(written).len, written.length);
}
