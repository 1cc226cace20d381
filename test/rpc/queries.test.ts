import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { JsonObject } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { QueryStrategy, type QueryVectorsResponse } from "../../gen/quiver/v1/vector_service_pb.ts";
import { LIMITS } from "../../src/service/limits.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { serverOfFile } from "../support/server.ts";
import { until } from "../support/until.ts";

/** What a query is to be near to, as a request gives it. */
interface Target {
  readonly queryVector?: { float32: number[] };
  readonly queryKey?: string;
  readonly querySparse?: { indices: number[]; values: number[] };
  readonly denseWeight?: number;
}

/** A vector as the definition sees it: sparse values by position. */
interface Stored {
  readonly key: string;
  readonly data: Float32Array | undefined;
  readonly sparse: ReadonlyMap<number, number> | undefined;
  readonly metadata: { readonly color: string; readonly n: number };
}

const index = { vectorBucketName: "queries", indexName: "mixed" };
const paged = { vectorBucketName: "queries", indexName: "paged" };
const exact = { mode: { case: "exact", value: true } } as const;
const DIMENSION = 4;
const COUNT = 300;
const COLORS = ["red", "green", "blue"];

const random = new Random();
const stored: readonly Stored[] = Array.from({ length: COUNT }, (_, i) => {
  const parts = random.below(3);
  return {
    key: `k${i}`,
    data: parts === 1 ? undefined : random.vector(DIMENSION),
    sparse: parts === 0 ? undefined : randomSparse(),
    metadata: { color: random.pick(COLORS), n: random.below(10) },
  };
});

function randomSparse(): Map<number, number> {
  return new Map(
    Array.from({ length: 1 + random.below(5) }, () => [random.below(12), Math.fround(random.next() - 0.5)]),
  );
}

const server = serverOfFile(async () => {
  const { buckets, indexes, vectors } = open("gRPC");
  await buckets.createVectorBucket({ vectorBucketName: "queries" });
  for (const each of [index, paged]) {
    await indexes.createIndex({
      ...each,
      dataType: DataType.FLOAT32,
      dimension: DIMENSION,
      distanceMetric: DistanceMetric.DOT_PRODUCT,
    });
  }
  await vectors.putVectors({ ...index, vectors: stored.map(messageOf) });
});

function open(protocol: string): Clients {
  return createClients((PROTOCOLS[protocol] as (url: string) => Parameters<typeof createClients>[0])(server.url));
}

for (const protocol of Object.keys(PROTOCOLS)) {
  test(`every kind of query answers what the definition does over ${protocol}`, async (t) => {
    t.diagnostic(`seed ${random.seed}`);
    const { vectors } = open(protocol);
    const data = random.vector(DIMENSION);
    const sparse = randomSparse();
    const [byData, bySparse] = [stored.find((each) => each.data), stored.find((each) => !each.data)] as Stored[];
    const filter = { color: { $in: ["red", "blue"] }, n: { $gte: 3, $lt: 9 } };
    const matches = ({ metadata: { color, n } }: Stored) => color !== "green" && n >= 3 && n < 9;
    const cases: [name: string, target: Target, distance: (each: Stored) => number | undefined][] = [
      ["data", { queryVector: vectorData(data) }, (each) => dense(data, each)],
      ["sparse", { querySparse: sparseMessage(sparse) }, (each) => sparseDistance(sparse, each)],
      [
        "a key",
        { queryKey: byData?.key as string },
        (each) => (each === byData ? undefined : dense(byData?.data, each)),
      ],
      [
        "a key without data",
        { queryKey: bySparse?.key as string },
        (each) => (each === bySparse ? undefined : sparseDistance(bySparse?.sparse, each)),
      ],
      [
        "both",
        { queryVector: vectorData(data), querySparse: sparseMessage(sparse) },
        (each) => (dense(data, each) ?? 0) + (sparseDistance(sparse, each) ?? 0),
      ],
      ...[0, 0.25, 1].map((denseWeight): [string, Target, (each: Stored) => number] => [
        `both, weight ${denseWeight}`,
        { queryVector: vectorData(data), querySparse: sparseMessage(sparse), denseWeight },
        (each) => denseWeight * (dense(data, each) ?? 0) + (1 - denseWeight) * (sparseDistance(sparse, each) ?? 0),
      ]),
    ];
    const singles: QueryVectorsResponse[] = [];
    const requests: (Target & { topK: number })[] = [];
    for (const [name, target, distance] of cases) {
      for (const [topK, isFiltered] of [
        [10, false],
        [10, true],
        [COUNT, false],
        [COUNT, true],
      ] as const) {
        const request = { ...target, topK, returnDistance: true, search: exact, ...(isFiltered && { filter }) };
        const answer = await vectors.queryVectors({ ...index, ...request });
        const candidates = isFiltered ? stored.filter(matches) : stored;
        assertNearest(answer, candidates, distance, topK, `${name}, top_k ${topK}, filter ${isFiltered}`);
        assert.deepEqual([answer.plan?.strategy, answer.plan?.exact], [QueryStrategy.EXACT, true], name);
        singles.push(answer);
        requests.push(request);
      }
    }
    const { results, lsn } = await vectors.batchQueryVectors({ ...index, queries: requests });
    assert.equal(lsn, singles[0]?.lsn);
    for (const [i, { vectors }] of results.entries())
      assert.deepEqual(vectors, singles[i]?.vectors, cases[i >> 2]?.[0]);
  });

  test(`an answer carries the parts that are asked for over ${protocol}`, async () => {
    const { vectors } = open(protocol);
    const queryVector = vectorData(new Float32Array(DIMENSION));
    const querySparse = { indices: [0], values: [1] };
    for (const [returnData, returnMetadata, returnDistance] of [
      [false, false, false],
      [true, false, false],
      [false, true, false],
      [false, false, true],
    ] as const) {
      const flags = { returnData, returnMetadata, returnDistance };
      const answer = await vectors.queryVectors({ ...index, queryVector, querySparse, topK: 50, ...flags });
      assert.equal(answer.vectors.length, 50);
      for (const vector of answer.vectors) {
        const each = stored.find(({ key }) => key === vector.key) as Stored;
        assert.equal(vector.distance !== undefined, returnDistance);
        assert.deepEqual(vector.data?.float32, returnData && each.data ? Array.from(each.data) : undefined);
        const sparse = vector.sparse && new Map(vector.sparse.indices.map((at, i) => [at, vector.sparse?.values[i]]));
        assert.deepEqual(sparse, returnData && each.sparse ? sorted(each.sparse) : undefined);
        assert.deepEqual(vector.metadata, returnMetadata ? each.metadata : undefined);
      }
    }
  });
}

test("10,000 results in pages come once each, as they were, while others write", async (t) => {
  const { vectors } = open("gRPC");
  const all = Array.from({ length: 11_000 }, (_, i) => ({ key: `k${i}`, values: random.vector(DIMENSION) }));
  t.diagnostic(`seed ${random.seed}`);
  for (let i = 0; i < all.length; i += 1_000) {
    const batch = all.slice(i, i + 1_000);
    await vectors.putVectors({
      ...paged,
      vectors: batch.map(({ key, values }) => ({ key, data: vectorData(values), metadata: { round: 0 } })),
    });
  }
  const query = random.vector(DIMENSION);
  const request = {
    ...paged,
    queryVector: vectorData(query),
    topK: LIMITS.topKMax,
    returnDistance: true,
    returnMetadata: true,
    search: exact,
  };
  const writes = new AbortController();
  const writer = async (first: number) => {
    for (let round = 1; !writes.signal.aborted; round++) {
      const some = all.filter((_, i) => i % 10 === (first + round) % 10).slice(0, 300);
      const changed = some.map(({ key }) => ({ key, data: vectorData(query), metadata: { round } }));
      const added = { key: `new-${first}-${round}`, data: vectorData(query), metadata: { round } };
      await vectors.putVectors({ ...paged, vectors: [...changed, added] });
      await vectors.deleteVectors({ ...paged, keys: some.slice(0, 50).map(({ key }) => key) });
    }
  };
  // The first page is of a known state, and everything after it under writes.
  const pages = [await vectors.queryVectors(request)];
  const writers = [writer(0), writer(5)];
  try {
    const { lsn = 0n } = pages[0] ?? {};
    await until(async () => (await vectors.listVectors({ ...paged, maxResults: 1 })).lsn > lsn + 10n);
    for (let token = pages[0]?.nextToken; token; token = pages.at(-1)?.nextToken) {
      pages.push(await vectors.queryVectors({ ...request, nextToken: token }));
    }
    const again = await vectors.queryVectors({ ...request, nextToken: pages[3]?.nextToken as string });
    assert.deepEqual(again, pages[4]);
    const last = await vectors.queryVectors({ ...request, nextToken: pages[8]?.nextToken as string });
    assert.deepEqual(last, pages[9]);
    await assert.rejects(
      vectors.queryVectors({ ...request, topK: LIMITS.topKMax - 1, nextToken: pages[0]?.nextToken as string }),
      isTokenInvalid(/same request/),
    );
  } finally {
    writes.abort();
    await Promise.all(writers);
  }
  assert.deepEqual(
    pages.map((page) => page.vectors.length),
    Array.from({ length: 10 }, () => LIMITS.queryPageMax),
  );
  for (const { lsn, plan, distanceMetric } of pages) {
    const { lsn: first, plan: firstPlan } = pages[0] as QueryVectorsResponse;
    assert.deepEqual([lsn, plan, distanceMetric], [first, firstPlan, DistanceMetric.DOT_PRODUCT]);
  }
  const found = pages.flatMap((page) => page.vectors);
  assert.deepEqual(new Set(found.map(({ metadata }) => metadata?.round)), new Set([0]));
  const candidates = all.map(({ key, values }) => ({ key, data: values, sparse: undefined, metadata: NO_METADATA }));
  const answer = { vectors: found } as QueryVectorsResponse;
  assertNearest(answer, candidates, (each) => dense(query, each), LIMITS.topKMax, "all pages");
});

test("a query under writes shows one state in all of its pages", async (t) => {
  const { indexes, vectors } = open("gRPC");
  const flips = { vectorBucketName: "queries", indexName: "flips" };
  await indexes.createIndex({
    ...flips,
    dataType: DataType.FLOAT32,
    dimension: DIMENSION,
    distanceMetric: DistanceMetric.EUCLIDEAN,
  });
  // Every write gives all vectors of a group the same round: an answer must show one round in each group.
  const groups = [0, 1];
  const put = (group: number, round: number) =>
    vectors.putVectors({
      ...flips,
      vectors: Array.from({ length: 800 }, (_, i) => ({
        key: `${group}-${i}`,
        data: vectorData(Float32Array.of(i, round, 0, 0)),
        metadata: { group, round },
      })),
    });
  for (const group of groups) await put(group, 0);
  const writes = new AbortController();
  const writers = groups.map(async (group) => {
    for (let round = 1; !writes.signal.aborted; round++) await put(group, round);
  });
  try {
    const seen = new Set<number>();
    for (let i = 0; i < 5; i++) {
      const request = { ...flips, queryVector: vectorData(new Float32Array(4)), topK: 10_000, returnMetadata: true };
      const results: QueryVectorsResponse["vectors"] = [];
      for (let nextToken = "", more = true; more; more = nextToken !== "") {
        const page: QueryVectorsResponse = await vectors.queryVectors({ ...request, search: exact, nextToken });
        results.push(...page.vectors);
        nextToken = page.nextToken;
      }
      assert.equal(new Set(results.map(({ key }) => key)).size, 1_600);
      for (const group of groups) {
        const rounds = results
          .filter(({ metadata }) => metadata?.group === group)
          .map(({ metadata }) => metadata?.round);
        assert.deepEqual([rounds.length, new Set(rounds).size], [800, 1]);
        seen.add(rounds[0] as number);
      }
    }
    t.diagnostic(`rounds seen: ${[...seen].join(" ")}`);
  } finally {
    writes.abort();
    await Promise.all(writers);
  }
});

test("the plan says how an answer was found", async () => {
  const { indexes, vectors } = open("gRPC");
  const planned = { vectorBucketName: "queries", indexName: "planned" };
  const distanceMetric = DistanceMetric.EUCLIDEAN;
  await indexes.createIndex({ ...planned, dataType: DataType.FLOAT32, dimension: DIMENSION, distanceMetric });
  for (let i = 0; i < 6; i++) {
    const some = Array.from({ length: 1_000 }, (_, j) => ({
      key: `${i}-${j}`,
      data: vectorData(random.vector(DIMENSION)),
      metadata: { half: j % 2 },
    }));
    await vectors.putVectors({ ...planned, vectors: some });
  }
  await until(async () => (await indexes.getIndexStats(planned)).unindexedVectors === 0n);
  const request = { ...planned, queryVector: vectorData(random.vector(DIMENSION)), topK: 5 };
  const walk = { search: { mode: { case: "efSearch", value: 20 } } } as const;
  const filter = { half: 1 };
  for (const [extra, strategy] of [
    [{ search: exact }, QueryStrategy.EXACT],
    [{ search: exact, filter }, QueryStrategy.EXACT],
    [walk, QueryStrategy.GRAPH],
    [{}, QueryStrategy.GRAPH],
    [{ ...walk, filter }, QueryStrategy.FILTERED_GRAPH],
  ] as const) {
    const single = await vectors.queryVectors({ ...request, ...extra });
    const { results } = await vectors.batchQueryVectors({ ...planned, queries: [{ ...request, ...extra }] });
    for (const { plan } of [single, ...results]) {
      assert.deepEqual([plan?.strategy, plan?.exact], [strategy, strategy === QueryStrategy.EXACT]);
      const candidates = "filter" in extra ? 3_000n : 6_000n;
      assert.equal(strategy === QueryStrategy.EXACT, plan?.compared === candidates, `${plan?.compared}`);
    }
  }
});

test("one answer more than the server keeps ends the one that was used least recently", async () => {
  const { vectors } = open("gRPC");
  const request = { ...paged, queryVector: vectorData(random.vector(DIMENSION)), topK: 1_001, search: exact };
  const tokens: string[] = [];
  for (let i = 0; i <= LIMITS.openAnswersMax; i++) {
    tokens.push((await vectors.queryVectors(request)).nextToken);
    if (i === 1) await vectors.queryVectors({ ...request, nextToken: tokens[0] as string });
  }
  assert.equal((await vectors.queryVectors({ ...request, nextToken: tokens[0] as string })).vectors.length, 1);
  await assert.rejects(
    vectors.queryVectors({ ...request, nextToken: tokens[1] as string }),
    isTokenInvalid(/no longer/),
  );
});

test("a page of a query with data ends where one answer may carry no more", async () => {
  const { indexes, vectors } = open("gRPC");
  const wide = { vectorBucketName: "queries", indexName: "wide" };
  const dimension = 20_000;
  await indexes.createIndex({
    ...wide,
    dataType: DataType.FLOAT32,
    dimension,
    distanceMetric: DistanceMetric.EUCLIDEAN,
  });
  const float32 = Array.from({ length: dimension }, () => 1);
  for (let i = 0; i < 3; i++) {
    const keys = Array.from({ length: 70 }, (_, j) => `${100 + i * 70 + j}`);
    await vectors.putVectors({ ...wide, vectors: keys.map((key) => ({ key, data: { float32 } })) });
  }
  const request = { ...wide, queryVector: { float32 }, topK: 1_000, returnData: true, search: exact };
  const first = await vectors.queryVectors(request);
  assert.equal(first.vectors.length, Math.floor(LIMITS.answerDataBytesMax / (dimension * 4)));
  const second = await vectors.queryVectors({ ...request, nextToken: first.nextToken });
  assert.deepEqual([second.vectors.map(({ key }) => key), second.nextToken], [["309"], ""]);
  const all = await vectors.queryVectors({ ...request, returnData: false });
  assert.deepEqual([all.vectors.length, all.nextToken], [210, ""]);
});

test("a batch answers no more than 64 MiB, and refuses the queries after that by themselves", async () => {
  const { indexes, vectors } = open("gRPC");
  const long = { vectorBucketName: "queries", indexName: "long" };
  await indexes.createIndex({
    ...long,
    dataType: DataType.FLOAT32,
    dimension: DIMENSION,
    distanceMetric: DistanceMetric.EUCLIDEAN,
    metadataConfiguration: { nonFilterableMetadataKeys: ["doc"] },
  });
  const doc = "x".repeat(40_000);
  for (let i = 0; i < 2; i++) {
    const some = Array.from({ length: 400 }, (_, j) => ({ key: `${i}-${j}`, data: { float32: [1, i, j, 0] } }));
    await vectors.putVectors({ ...long, vectors: some.map((each) => ({ ...each, metadata: { doc } })) });
  }
  const query = { queryVector: { float32: [0, 0, 0, 0] }, topK: 800, returnMetadata: true };
  const queries = [query, query, query, { ...query, topK: 0 }, query];
  const { results } = await vectors.batchQueryVectors({ ...long, queries });
  assert.deepEqual(
    results.map(({ vectors, error }) => [vectors.length, error && Code[error.code]]),
    [
      [800, undefined],
      [800, undefined],
      [800, undefined],
      [0, "InvalidArgument"],
      [0, "ResourceExhausted"],
    ],
  );
});

/** Compares an answer to the definition in float64; neighbors whose distances float32 cannot tell apart may swap. */
function assertNearest(
  { vectors }: Pick<QueryVectorsResponse, "vectors">,
  candidates: readonly Stored[],
  distance: (each: Stored) => number | undefined,
  topK: number,
  what: string,
): void {
  const all = candidates.flatMap((each) => {
    const value = distance(each);
    return value === undefined ? [] : [{ key: each.key, distance: value }];
  });
  const byKey = new Map(all.map((each) => [each.key, each.distance]));
  const expected = all.toSorted((a, b) => a.distance - b.distance || (a.key < b.key ? -1 : 1)).slice(0, topK);
  assert.equal(vectors.length, expected.length, what);
  assert.equal(new Set(vectors.map(({ key }) => key)).size, vectors.length, what);
  if (
    isDeepStrictEqual(
      vectors.map(({ key }) => key),
      expected.map(({ key }) => key),
    )
  )
    return;
  for (const [i, { key, distance: given }] of vectors.entries()) {
    const place = `${what}, result ${i}`;
    assert.ok(Math.abs((byKey.get(key) ?? Number.NaN) - (given ?? Number.NaN)) < 1e-5, place);
    assert.ok(Math.abs((expected[i]?.distance ?? Number.NaN) - (given ?? Number.NaN)) < 1e-5, place);
  }
}

const NO_METADATA = { color: "", n: 0 };

function dense(query: Float32Array | undefined, { data }: Stored): number | undefined {
  return query && data && -data.reduce((sum, value, i) => sum + value * (query[i] as number), 0);
}

function sparseDistance(query: ReadonlyMap<number, number> | undefined, { sparse }: Stored): number | undefined {
  if (!query || !sparse) return undefined;
  return -[...sparse].reduce((sum, [position, value]) => sum + value * (query.get(position) ?? 0), 0);
}

function messageOf({ key, data, sparse, metadata }: Stored) {
  return {
    key,
    metadata: metadata as JsonObject,
    ...(data && { data: vectorData(data) }),
    ...(sparse && { sparse: sparseMessage(sparse) }),
  };
}

function vectorData(data: Float32Array) {
  return { float32: Array.from(data) };
}

function sparseMessage(values: ReadonlyMap<number, number>) {
  const all = sorted(values);
  return { indices: [...all.keys()], values: [...all.values()] };
}

function sorted(values: ReadonlyMap<number, number>): Map<number, number> {
  return new Map([...values].sort(([a], [b]) => a - b));
}

function isTokenInvalid(part: RegExp) {
  return (error: unknown) =>
    error instanceof ConnectError &&
    error.findDetails(ErrorInfoSchema)[0]?.reason === "PAGE_TOKEN_INVALID" &&
    part.test(error.rawMessage);
}
