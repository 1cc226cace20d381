import assert from "node:assert/strict";
import { test } from "node:test";
import type { Metadata, VectorInput } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import { decodePart, JobPart, type JobVector } from "../../src/service/jobs/job-parts.ts";
import { Random } from "../support/random.ts";

const KEYS = ["k", "ü\u{10ffff}", "a\0b", "__proto__", "x".repeat(1_024)];
const METADATA: readonly Metadata[] = [
  {},
  { n: 0.1, b: false, s: "ü\u{1f3f9}", l: ["a", ""], deep: { a: [null, { b: 1 }] } },
  JSON.parse('{"__proto__":"x","constructor":1,"":2}') as Metadata,
];
/** Patterns that arithmetic would lose: NaNs with a payload, -0, denormals, infinities. */
const BITS = [0x7fc12345, 0xffc00001, 0x80000000, 0x00000001, 0x7f800000, 0x3f800000];

test("the vectors of a part come back as they were, bit for bit", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  for (let round = 0; round < 200; round++) {
    const vectors = randomVectors(random, random.below(8));
    const decoded = decodePart(encode(vectors));
    assert.equal(decoded.length, vectors.length);
    for (const [i, { position, vector }] of decoded.entries()) {
      const sent = vectors[i] as JobVector;
      assert.equal(position, sent.position);
      assert.deepEqual(Object.keys(vector).toSorted(), Object.keys(sent.vector).toSorted());
      assert.deepEqual(bitsOf(vector), bitsOf(sent.vector));
      assert.equal(JSON.stringify(vector.metadata), JSON.stringify(sent.vector.metadata));
    }
  }
});

test("a part with any byte changed, missing or added is refused as damaged", (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const part = encode(randomVectors(random, 3));
  const refused = (bytes: Uint8Array) =>
    assert.throws(
      () => decodePart(bytes),
      (error) => error instanceof QuiverError && error.reason === "CORRUPTION",
    );
  for (let round = 0; round < 500; round++) {
    const damaged = Uint8Array.from(part);
    const at = random.below(part.length);
    damaged[at] = (damaged[at] as number) ^ (1 + random.below(255));
    refused(damaged);
    refused(part.subarray(0, at));
  }
  refused(Buffer.concat([part, Buffer.of(0)]));
});

function encode(vectors: readonly JobVector[]): Uint8Array {
  const part = new JobPart();
  for (const vector of vectors) part.add(vector);
  assert.equal(part.count, vectors.length);
  return part.encode();
}

function randomVectors(random: Random, count: number): JobVector[] {
  const floats = (length: number) => new Float32Array(Uint32Array.from({ length }, () => random.pick(BITS)).buffer);
  const indices = (length: number) => Uint32Array.from({ length }, () => random.below(2 ** 32));
  return Array.from({ length: count }, () => {
    const count = random.below(5);
    const vector: VectorInput = {
      key: random.pick(KEYS),
      metadata: random.pick(METADATA),
      ...(random.below(2) && { data: floats(random.below(40)) }),
      ...(random.below(2) && { sparse: { indices: indices(count), values: floats(count) } }),
      ...(random.below(2) && { ifVersion: random.below(2) * random.below(2 ** 53) }),
    };
    return { position: random.below(2 ** 32), vector };
  });
}

/** All but the metadata, with floats as bytes: NaN equals no NaN of another payload. */
function bitsOf({ key, data, sparse, ifVersion }: VectorInput) {
  const bytes = (array: Float32Array | Uint32Array | undefined) =>
    array && Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");
  return { key, data: bytes(data), indices: bytes(sparse?.indices), values: bytes(sparse?.values), ifVersion };
}
