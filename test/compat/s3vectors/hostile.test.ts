import assert from "node:assert/strict";
import { test } from "node:test";
import { Random } from "../../support/random.ts";
import { startCompatServer } from "../support/compat-server.ts";

const BUCKET = { vectorBucketName: "hostile" };
const INDEX = { ...BUCKET, indexName: "main" };
const CREATE_INDEX = {
  ...INDEX,
  dataType: "float32",
  dimension: 2,
  distanceMetric: "cosine",
  metadataConfiguration: { nonFilterableMetadataKeys: ["text"] },
  encryptionConfiguration: { sseType: "AES256" },
  tags: { a: "b" },
};
const POLICY = JSON.stringify({ Version: "2012-10-17", Statement: [] });
const VECTOR = { key: "k", data: { float32: [1, 2] }, metadata: { genre: "drama", year: 1, tags: ["a", "b"] } };
const FILTER = { $and: [{ genre: { $in: ["drama"] } }, { $or: [{ year: { $gt: 0 } }, { tags: "a" }] }] };

/** A right request of each operation that has a body. */
const RIGHT: Readonly<Record<string, object>> = {
  "/CreateVectorBucket": { ...BUCKET, encryptionConfiguration: { sseType: "AES256" }, tags: { a: "b" } },
  "/GetVectorBucket": BUCKET,
  "/ListVectorBuckets": { prefix: "h", maxResults: 3, nextToken: "t" },
  "/PutVectorBucketPolicy": { ...BUCKET, policy: POLICY },
  "/CreateIndex": CREATE_INDEX,
  "/GetIndex": INDEX,
  "/ListIndexes": { ...BUCKET, prefix: "m", maxResults: 3, nextToken: "t" },
  "/PutVectors": { ...INDEX, vectors: [VECTOR, { ...VECTOR, key: "l" }] },
  "/GetVectors": { ...INDEX, keys: ["k"], returnData: true, returnMetadata: true },
  "/ListVectors": { ...INDEX, maxResults: 3, segmentCount: 2, segmentIndex: 1, returnData: true },
  "/QueryVectors": { ...INDEX, topK: 3, queryVector: { float32: [1, 2] }, filter: FILTER, returnDistance: true },
  "/DeleteVectors": { ...INDEX, keys: ["k", "absent"] },
  "/tags/arn%3Aaws%3As3vectors%3Aus-east-1%3A000000000000%3Abucket%2Fhostile": { tags: { a: "b" } },
};

const JUNK: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  "",
  "x",
  "NaN",
  "\u0000",
  "\ud800",
  "x".repeat(3_000),
  [],
  [[]],
  [null],
  [1, "a"],
  Array.from({ length: 600 }, () => "x"),
  {},
  { "": {} },
  { float32: {} },
  { float32: [1e308, -0] },
  JSON.parse('{"__proto__":{"a":1},"constructor":{"prototype":1},"toString":2}'),
];

/** The value with one member, at any depth, made junk or left out. */
function spoiled(value: unknown, random: Random): unknown {
  if (typeof value !== "object" || value === null || random.below(4) === 0) return random.pick(JUNK);
  const name = random.pick(Object.keys(value));
  const copy = structuredClone(value) as Record<string, unknown>;
  if (random.below(6) === 0) delete copy[name];
  else copy[name] = spoiled(copy[name], random);
  return copy;
}

test("whatever a request holds, the answer is right or one of Amazon's refusals", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const url = await startCompatServer(t);
  const post = async (path: string, body: string) => {
    const answer = await fetch(url + path, { method: "POST", body });
    return { status: answer.status, type: answer.headers.get("x-amzn-errortype"), text: await answer.text() };
  };
  for (const path of ["/CreateVectorBucket", "/CreateIndex", "/PutVectors"]) {
    const { status, text } = await post(path, JSON.stringify(RIGHT[path]));
    assert.equal(status, 200, text);
  }
  let refused = 0;
  for (let i = 0; i < 1_000; i++) {
    const path = random.pick(Object.keys(RIGHT));
    const body = JSON.stringify(spoiled(RIGHT[path], random)) ?? "";
    const { status, type, text } = await post(path, body);
    const told = `${path} ${body.slice(0, 500)}: ${status} ${text.slice(0, 500)}`;
    if (status === 200) assert.equal(type, null, told);
    else {
      refused++;
      assert.match(type ?? "", /^(Validation|Serialization|NotFound|Conflict)Exception$/, told);
      assert.ok((JSON.parse(text) as { message: string }).message.length > 0, told);
    }
  }
  assert.ok(refused > 500);
  const tags = `${url}/tags/`;
  for (const path of ["%", "%ff", "x".repeat(2_000), "arn%3Aaws", "a%2Fb?tagKeys=%", "a?tagKeys=%ff&tagKeys"]) {
    for (const method of ["GET", "DELETE"]) {
      const answer = await fetch(tags + path, { method });
      assert.ok([400, 404].includes(answer.status), `${method} ${path}: ${answer.status} ${await answer.text()}`);
    }
  }
});
