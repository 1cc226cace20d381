import assert from "node:assert/strict";
import test from "node:test";
import { startCompatServer } from "../support/compat-server.ts";
import { ask, createIndex, SPEC } from "./wire.ts";

const values = [1, 2, 3];
const records = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `r${i}`, values }));
const ids = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`);
const one = (record: object) => ({ vectors: [{ id: "a", values, ...record }] });
const sparse = (count: number) => ({
  indices: Array.from({ length: count }, (_, i) => i),
  values: Array.from({ length: count }, () => 1),
});

interface Limit {
  readonly what: string;
  readonly max: number;
  readonly path: string;
  /** A request that asks for so much. */
  body(count: number): unknown;
  /** Of what is within the limit. Default 200. */
  readonly status?: number;
}

/** B.5 of the vendors' reference; where this server takes less, its own limit. */
const LIMITS: readonly Limit[] = [
  { what: "records of an upsert", max: 1_000, path: "/i/i/vectors/upsert", body: (n) => ({ vectors: records(n) }) },
  {
    what: "bytes of a request",
    max: 2 * 1024 * 1024,
    path: "/i/i/vectors/upsert",
    body: (n) => JSON.stringify(one({})).padEnd(n, " "),
  },
  { what: "characters of an id", max: 512, path: "/i/i/vectors/upsert", body: (n) => one({ id: "x".repeat(n) }) },
  {
    what: "values of sparse values",
    max: 2_048,
    path: "/i/i/vectors/upsert",
    body: (n) => one({ sparseValues: sparse(n) }),
  },
  {
    what: "ids of a delete",
    max: 1_000,
    path: "/i/i/vectors/delete",
    body: (n) => ({ ids: ids(n), namespace: "__default__" }),
  },
  { what: "results of a query", max: 10_000, path: "/i/i/query", body: (n) => ({ topK: n, vector: values }) },
  {
    what: "records of a fetch by metadata",
    max: 10_000,
    path: "/i/i/vectors/fetch_by_metadata",
    body: (n) => ({ limit: n, filter: {} }),
  },
  {
    what: "characters of an index's name",
    max: 45,
    path: "/indexes",
    body: (n) => ({ name: "n".repeat(n), dimension: 2, spec: SPEC }),
    status: 201,
  },
  {
    what: "dimensions",
    max: 20_000,
    path: "/indexes",
    body: (n) => ({ name: `d${n}`, dimension: n, spec: SPEC }),
    status: 201,
  },
  {
    what: "characters of a tag's key",
    max: 80,
    path: "/indexes",
    body: (n) => ({ name: `k${n}`, dimension: 2, spec: SPEC, tags: { ["k".repeat(n)]: "v" } }),
    status: 201,
  },
  {
    what: "characters of a tag's value",
    max: 120,
    path: "/indexes",
    body: (n) => ({ name: `v${n}`, dimension: 2, spec: SPEC, tags: { k: "v".repeat(n) } }),
    status: 201,
  },
  {
    what: "bytes of a text in metadata",
    // 40 KiB with the 4 bytes of every record and the 8 and 4 of the key.
    max: 40_960 - 4 - 8 - 4,
    path: "/i/i/vectors/upsert",
    body: (n) => one({ metadata: { text: "t".repeat(n) } }),
  },
  {
    what: "bytes of metadata that can be filtered by",
    max: 2_048 - 4 - 8 - 1,
    path: "/i/i/vectors/upsert",
    body: (n) => one({ metadata: { k: "t".repeat(n) } }),
  },
];

test("every limit lets in what is within it, and nothing above it", async (t) => {
  const url = await startCompatServer(t);
  await createIndex(url, { metric: "dotproduct" });
  await ask(url, "/i/i/vectors/upsert", one({}));
  for (const { what, max, path, body, status = 200 } of LIMITS) {
    for (const count of [max - 1, max]) {
      const answer = await ask(url, path, body(count));
      assert.equal(answer.status, status, `${count} ${what}: ${JSON.stringify(answer.body).slice(0, 300)}`);
    }
    const refused = await ask(url, path, body(max + 1));
    assert.equal(refused.status, 400, `${max + 1} ${what}`);
    const message = refused.body.message ?? refused.body.error?.message;
    assert.match(message, new RegExp(`${max}|40960|2048`), `${max + 1} ${what}`);
  }
});

test("a fetch takes 1,000 ids, and no more", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url);
  const query = (count: number) =>
    ids(count)
      .map((id) => `ids=${id}`)
      .join("&");
  for (const [count, status] of [
    [999, 200],
    [1_000, 200],
    [1_001, 400],
  ] as const) {
    assert.equal((await ask(url, `${index}/vectors/fetch?${query(count)}`)).status, status, `${count}`);
  }
});

test("the answer to a query has at most 4 MB", async (t) => {
  const url = await startCompatServer(t);
  const index = await createIndex(url, { dimension: 1_024 });
  const long = Array.from({ length: 1_024 }, () => 1);
  // 4 KiB of float32 each: 1,024 of them are 4 MiB without their ids.
  for (let from = 0; from < 1_100; from += 220) {
    const vectors = Array.from({ length: 220 }, (_, i) => ({ id: `r${from + i}`, values: long }));
    assert.equal((await ask(url, `${index}/vectors/upsert`, { vectors })).status, 200);
  }
  const query = { vector: long, includeValues: true };
  const answer = await ask(url, `${index}/query`, { ...query, topK: 1_020 });
  assert.equal(answer.body.matches.length, 1_020);
  const refused = await ask(url, `${index}/query`, { ...query, topK: 1_024 });
  assert.equal(refused.status, 400);
  assert.match(refused.body.message, /^topK: The answer would be larger than 4194304 bytes/);
  // Without the values it is small.
  const all = await ask(url, `${index}/query`, { vector: long, topK: 10_000 });
  assert.equal(all.body.matches.length, 1_100);
});
