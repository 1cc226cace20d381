import assert from "node:assert/strict";
import { test } from "node:test";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { QueryResult } from "../../gen/quiver/v1/vector_service_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { serverOfFile } from "../support/server.ts";

const index = { vectorBucketName: "b", indexName: "i" };
const KEPT = 9_000;
const CHURNED = 2_000;
const TOP_K = 10_000;
const PAGE = 1_000;

let clients: readonly Clients[];
const keptKeys = Array.from({ length: KEPT }, (_, i) => `kept-${i}`);
const churnedKeys = Array.from({ length: CHURNED }, (_, i) => `${["a", "kept-1", "z"][i % 3]}churned-${i}`);

const server = serverOfFile(async () => {
  clients = Object.values(PROTOCOLS).map((connect) => createClients(connect(server.url)));
  const { buckets, indexes } = clientAt(0);
  await buckets.createVectorBucket({ vectorBucketName: "b" });
  const create = { dataType: DataType.FLOAT32, dimension: 2, distanceMetric: DistanceMetric.EUCLIDEAN };
  await indexes.createIndex({ ...index, ...create });
  // Kept vectors are the nearest to the origin: none is ever cut off by top_k.
  await putAll(keptKeys, (i) => [i / KEPT, 0]);
  await putAll(churnedKeys, (i) => [10 + i, 0]);
});

test("the pages of a list show every key that nobody touches once, while others come and go", async (t) => {
  const writes = await whileWriting(t, async () => {
    for (const prefix of ["", "kept-1"]) {
      const seen = await listAll((page) => ({ prefix, maxResults: 700 + page }));
      assertKeptOnce(seen, prefix);
    }
  });
  t.diagnostic(`${writes} writes beside the pages`);
});

test("segments show every key that nobody touches once between them, while others come and go", async (t) => {
  await whileWriting(t, async () => {
    for (const segmentCount of [3, 16]) {
      const segments = Array.from({ length: segmentCount }, (_, segmentIndex) =>
        listAll(() => ({ segmentCount, segmentIndex, maxResults: 450 })),
      );
      assertKeptOnce((await Promise.all(segments)).flat(), "");
    }
  });
});

for (const exact of [true, false]) {
  const way = exact ? "an exact query" : "a query by graph";
  test(`the pages of ${way} show every key that nobody touches once, while others come and go`, async (t) => {
    await whileWriting(t, async () => {
      const results = await queryAll(exact);
      assert.equal(results.length, TOP_K);
      assertAscending(results);
      if (exact) assertKeptOnce(keysOf(results), "");
      else assert.equal(new Set(keysOf(results)).size, TOP_K);
    });
  });
}

test("later pages of a query go on with the same answer, whatever was written since", async (t) => {
  const before = await versions();
  const results = await queryAll(true, async () => {
    await clientAt(0).vectors.deleteVectors({ ...index, keys: keptKeys.slice(3_000, 3_900) });
    await putAll(keptKeys.slice(4_000, 5_000), () => [0, 0]);
  });
  assertKeptOnce(keysOf(results), "");
  assertAscending(results);
  for (const { key, version } of results) assert.equal(version, before.get(key), `version of ${key}`);
  const nearest = new Set(keysOf((await queryAll(true)).slice(0, 1_001)));
  for (const key of keptKeys.slice(4_000, 5_000)) assert.ok(nearest.has(key), `a new query sees that ${key} moved`);
  await putAll(keptKeys, (i) => [i / KEPT, 0]);
  t.diagnostic(`${results.length} results`);
});

test("a page token of one query is refused by another", async () => {
  const query = { ...index, queryVector: { float32: [0, 0] }, topK: TOP_K };
  const { nextToken } = await clientAt(0).vectors.queryVectors(query);
  for (const other of [{ topK: TOP_K - 1 }, { queryVector: { float32: [0, 1] } }, { returnDistance: true }]) {
    await assert.rejects(clientAt(1).vectors.queryVectors({ ...query, ...other, nextToken }), /next_token/);
  }
});

/** A page of one protocol goes on in another. */
function clientAt(page: number): Clients {
  return clients[page % clients.length] as Clients;
}

async function putAll(keys: readonly string[], dataOf: (i: number) => number[]): Promise<void> {
  for (let from = 0; from < keys.length; from += PAGE) {
    const batch = keys.slice(from, from + PAGE);
    const vectors = batch.map((key, i) => ({ key, data: { float32: dataOf(from + i) }, metadata: { key } }));
    await clientAt(1).vectors.putVectors({ ...index, vectors });
  }
}

interface ListOptions {
  readonly prefix?: string;
  readonly segmentCount?: number;
  readonly segmentIndex?: number;
  readonly maxResults: number;
}

async function listAll(optionsOf: (page: number) => ListOptions): Promise<string[]> {
  const keys: string[] = [];
  for (let page = 0, nextToken = ""; page === 0 || nextToken !== ""; page++) {
    const answer = await clientAt(page).vectors.listVectors({ ...index, ...optionsOf(page), nextToken });
    keys.push(...keysOf(answer.vectors));
    nextToken = answer.nextToken;
  }
  return keys;
}

/** All pages; `afterFirst` runs once the first one is there. */
async function queryAll(exact: boolean, afterFirst: () => Promise<void> = async () => {}): Promise<QueryResult[]> {
  const query = { ...index, queryVector: { float32: [0, 0] }, topK: TOP_K, returnDistance: true };
  const search = exact ? { mode: { case: "exact" as const, value: true } } : {};
  const results: QueryResult[] = [];
  for (let page = 0, nextToken = ""; page === 0 || nextToken !== ""; page++) {
    const answer = await clientAt(page).vectors.queryVectors({ ...query, search, nextToken });
    assert.ok(answer.vectors.length <= PAGE);
    results.push(...answer.vectors);
    nextToken = answer.nextToken;
    if (page === 0) await afterFirst();
  }
  return results;
}

async function versions(): Promise<Map<string, bigint>> {
  const found = new Map<string, bigint>();
  for (let page = 0, nextToken = ""; page === 0 || nextToken !== ""; page++) {
    const answer = await clientAt(page).vectors.listVectors({ ...index, nextToken });
    for (const { key, version } of answer.vectors) found.set(key, version);
    nextToken = answer.nextToken;
  }
  return found;
}

/** Puts, moves and deletes the churned keys until `read` has ended; resolves to how many writes there were. */
async function whileWriting(t: { diagnostic(message: string): void }, read: () => Promise<void>): Promise<number> {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let reading = true;
  let writes = 0;
  const write = async () => {
    for (; reading || writes === 0; writes++) {
      const keys = new Set(Array.from({ length: 20 }, () => random.pick(churnedKeys)));
      if (writes % 3 === 2) await clientAt(1).vectors.deleteVectors({ ...index, keys: [...keys] });
      else await putAll([...keys], () => [10 + 100 * random.next(), random.next()]);
    }
  };
  const writing = write();
  try {
    await read();
  } finally {
    reading = false;
    await writing;
  }
  // What was deleted comes back, so that the next query has top_k of vectors again.
  await putAll(churnedKeys, (i) => [10 + i, 0]);
  return writes;
}

function keysOf(vectors: readonly { key: string }[]): string[] {
  return vectors.map(({ key }) => key);
}

function assertKeptOnce(seen: readonly string[], prefix: string): void {
  assert.equal(new Set(seen).size, seen.length, "no key stands twice");
  const kept = seen.filter((key) => !key.includes("churned"));
  const expected = keptKeys.filter((key) => key.startsWith(prefix));
  assert.deepEqual(kept.toSorted(), expected.toSorted());
}

function assertAscending(results: readonly QueryResult[]): void {
  for (const [i, { key, distance = 0 }] of results.entries()) {
    const { key: before, distance: nearer = 0 } = results[i - 1] ?? { key: "" };
    const inOrder = nearer < distance || (nearer === distance && before < key);
    assert.ok(i === 0 || inOrder, `${before} at ${nearer} stands before ${key} at ${distance}`);
  }
}
