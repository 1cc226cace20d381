import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@aws-sdk/client-s3vectors";
import { startCompatServer } from "../support/compat-server.ts";
import { s3Client } from "./support.ts";

const BUCKET = { vectorBucketName: "filters" };
const INDEX = { ...BUCKET, indexName: "main" };

const VECTORS: Readonly<Record<string, Exclude<sdk.PutInputVector["metadata"], string>>> = {
  a: { genre: "drama", year: 2020, good: true, tags: ["x", "y"], "a.b": 1, text: "t" },
  b: { genre: "comedy", year: 1999, good: false, tags: ["y"], scores: [1, 2] },
  c: { genre: "5", year: "2020" },
  d: {},
};

/** Each filter that Amazon takes, and the keys that it lets through. */
const TAKEN: readonly [filter: unknown, keys: string][] = [
  [{ genre: "drama" }, "a"],
  [{ genre: { $eq: "drama" } }, "a"],
  [{ good: true }, "a"],
  [{ year: 2020 }, "a"],
  [{ genre: 5 }, ""],
  [{ good: "true" }, ""],
  [{ tags: "y" }, "a b"],
  [{ scores: { $eq: 2 } }, "b"],
  [{ year: { $gt: 1999 } }, "a"],
  [{ year: { $gte: 1999 } }, "a b"],
  [{ year: { $lt: 2020 } }, "b"],
  [{ year: { $lte: 2020 } }, "a b"],
  [{ genre: { $in: ["drama", "comedy", 5] } }, "a b"],
  [{ tags: { $in: ["x"] } }, "a"],
  [{ $and: [{ genre: { $exists: true } }, { genre: { $ne: "drama" } }] }, "b c"],
  [{ $and: [{ tags: { $exists: true } }, { tags: { $nin: ["x"] } }] }, "b"],
  [{ year: { $exists: true } }, "a b c"],
  [{ year: { $exists: false } }, "d"],
  [{ absent: "x" }, ""],
  [{ "a.b": 1 }, "a"],
  [{ a: 1 }, ""],
  [{ $and: [{ genre: "drama" }] }, "a"],
  [{ $or: [{ genre: "drama" }, { $and: [{ good: false }, { year: { $lt: 2000 } }] }] }, "a b"],
];

/** What the native API takes in part, and Amazon does not. */
const REFUSED: readonly unknown[] = [
  {},
  "genre",
  [],
  1,
  { genre: "drama", year: 2020 },
  { year: { $gte: 1999, $lte: 2020 } },
  { genre: { $not: { $eq: "drama" } } },
  { $not: { genre: "drama" } },
  { genre: {} },
  { genre: null },
  { genre: ["drama"] },
  { genre: { $eq: null } },
  { genre: { $eq: ["drama"] } },
  { genre: { $ne: {} } },
  { genre: { $eg: "drama" } },
  { genre: { $schema: "https://example.com" } },
  { genre: { eq: "drama" } },
  { $nor: [{ genre: "drama" }] },
  { $eq: "drama" },
  { year: { $gt: "1999" } },
  { year: { $lte: true } },
  { year: { $in: [] } },
  { year: { $nin: [] } },
  { year: { $in: 1999 } },
  { year: { $in: [null] } },
  { year: { $in: [[1]] } },
  { year: { $exists: 1 } },
  { $and: [] },
  { $or: {} },
  { $and: [{}] },
  { $and: ["x"] },
  { $or: [{ genre: "drama", year: 2020 }] },
  { $and: [{ genre: "drama" }], $or: [{ genre: "drama" }] },
  Array.from({ length: 9 }).reduce<object>((inner) => ({ $and: [inner] }), { genre: "drama" }),
];

test("filters are those of Amazon's, no more and no fewer", async (t) => {
  const client = s3Client(t, await startCompatServer(t));
  await client.send(new sdk.CreateVectorBucketCommand(BUCKET));
  const definition = { dataType: "float32", dimension: 1, distanceMetric: "euclidean" } as const;
  const metadataConfiguration = { nonFilterableMetadataKeys: ["text"] };
  await client.send(new sdk.CreateIndexCommand({ ...INDEX, ...definition, metadataConfiguration }));
  const vectors = Object.entries(VECTORS).map(([key, metadata = {}], i) => ({ key, data: { float32: [i] }, metadata }));
  await client.send(new sdk.PutVectorsCommand({ ...INDEX, vectors }));
  const query = (filter: unknown) =>
    client.send(
      new sdk.QueryVectorsCommand({
        ...INDEX,
        topK: 10,
        queryVector: { float32: [0] },
        filter: filter as NonNullable<sdk.QueryVectorsCommandInput["filter"]>,
      }),
    );
  for (const [filter, keys] of TAKEN) {
    const found = (await query(filter)).vectors?.map(({ key }) => key).join(" ");
    assert.equal(found, keys, JSON.stringify(filter));
  }
  for (const filter of REFUSED) {
    await assert.rejects(query(filter), (error: sdk.ValidationException) => {
      assert.ok(error instanceof sdk.ValidationException, `${JSON.stringify(filter)}: ${error}`);
      assert.equal(error.message, "Invalid filter", JSON.stringify(filter));
      assert.deepEqual(
        error.fieldList?.map(({ path }) => path),
        ["filter"],
      );
      return true;
    });
  }
  for (const filter of [{ text: "t" }, { $or: [{ genre: "drama" }, { text: { $exists: true } }] }]) {
    await assert.rejects(query(filter), {
      name: "ValidationException",
      message: "Invalid use of non-filterable metadata in filter",
    });
  }
});
