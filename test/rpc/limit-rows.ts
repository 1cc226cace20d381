import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { Reason } from "../../src/errors.ts";

/**
 * The limits as the contract tells them, in proto/ and docs/reference/limits.md: written out again, so that a number
 * that changes in the code alone fails.
 */
export const CONTRACT = {
  requestBytesMax: 20_971_520,
  nameLengthMax: 63,
  dimensionMax: 20_000,
  nonFilterableKeysMax: 10,
  nonFilterableKeyLengthMax: 63,
  tagsMax: 50,
  tagKeyLengthMax: 128,
  tagValueLengthMax: 256,
  displayNameLengthMax: 128,
  accessKeysMax: 10_000,
  accessScopesMax: 100,
  accessKeyOverlapSecondsMax: 604_800,
  policyBytesMax: 20_480,
  policyStatementsMax: 100,
  hnswMMin: 2,
  hnswMMax: 256,
  efConstructionMin: 8,
  efConstructionMax: 4_096,
  efSearchMax: 10_000,
  keyBytesMax: 1_024,
  sparseValuesMax: 2_048,
  filterDepthMax: 8,
  filterNodesMax: 1_024,
  filterBytesMax: 65_536,
  metadataBytesMax: 40_960,
  filterableMetadataBytesMax: 2_048,
  metadataKeysMax: 50,
  metadataDepthMax: 16,
  batchVectorsMax: 1_000,
  topKMax: 10_000,
  queryPageMax: 1_000,
  openAnswersMax: 128,
  openAnswerIdleMs: 300_000,
  openAnswerReadMs: 30_000,
  openAnswerLifeMs: 1_800_000,
  batchQueriesMax: 1_000,
  recallQueriesMax: 1_000,
  batchTopKMax: 1_000,
  batchAnswerBytesMax: 67_108_864,
  listPageMax: 1_000,
  listPageDefault: 500,
  listPageBytesMax: 1_048_576,
  segmentsMax: 16,
  answerDataBytesMax: 16_777_216,
  pageTokenLengthMax: 4_096,
  idempotencyKeyLengthMax: 128,
  jobsUnfinishedMax: 1_000,
  jobsUnfinishedBytesMax: 1_073_741_824,
  jobsKeptHours: 24,
  jobsKeptMax: 10_000,
  jobsKeptBytesMax: 67_108_864,
  jobErrorsMax: 100,
  jobWatchesMax: 1_000,
  healthWatchesMax: 1_000,
  streamsMax: 256,
  importErrorsMax: 1_000,
} as const;

/** One place where a limit holds: which values of it are taken, and which are refused, how. */
export interface LimitRow {
  /** A key of CONTRACT, or words where the contract has a number that is no key. */
  readonly limit: string;
  readonly method: string;
  /** What is at the limit, where one method has several such places. */
  readonly what?: string;
  readonly request: (n: number) => JsonObject;
  readonly accepted: readonly number[];
  readonly refused: readonly number[];
  /** The path that BadRequest names. */
  readonly field: string | RegExp;
  readonly reason?: Reason;
}

/** The resources that the rows use. */
export const INDEXES: readonly JsonObject[] = [
  { indexName: "cosine", dimension: 2, distanceMetric: "DISTANCE_METRIC_COSINE" },
  { indexName: "dot", dimension: 2, distanceMetric: "DISTANCE_METRIC_DOT_PRODUCT" },
  { indexName: "wide", dimension: 20_000, distanceMetric: "DISTANCE_METRIC_EUCLIDEAN" },
].map((index) => ({
  ...index,
  vectorBucketName: "b",
  dataType: "DATA_TYPE_FLOAT32",
  metadataConfiguration: { nonFilterableMetadataKeys: ["doc"] },
}));

let used = 0;
/** A name of n characters that no other row has; one of length 1 is a letter of its own. */
function freshName(n: number): string {
  used++;
  if (n === 0) return "";
  if (n === 1) return String.fromCharCode(64 + (used % 26) + 1);
  return `x${used}-`.padEnd(n, "a");
}

const from = (min: number, max: number) => ({ accepted: [min, max - 1, max], refused: [min - 1, max + 1] });
const upTo = (max: number) => ({ accepted: [max - 1, max], refused: [max + 1] });
const list = (count: number, of: (i: number) => JsonValue) => Array.from({ length: count }, (_, i) => of(i));
const object = (count: number, of: (i: number) => [string, JsonValue]) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => of(i)));

const index = { vectorBucketName: "b", indexName: "cosine" };
const data = { float32: [1, 2] };
const one = { key: "k", data };
const bucket = (extra: JsonObject) => ({ vectorBucketName: freshName(20), ...extra });
const newIndex = (extra: JsonObject) => ({
  vectorBucketName: "b",
  indexName: freshName(20),
  dataType: "DATA_TYPE_FLOAT32",
  dimension: 2,
  distanceMetric: "DISTANCE_METRIC_COSINE",
  ...extra,
});
const putOne = (extra: JsonObject) => ({ ...index, vectors: [{ ...one, ...extra }] });
const query = (extra: JsonObject) => ({ ...index, queryVector: data, topK: 1, ...extra });
const arnOf = (name: string) => `arn:aws:s3vectors:us-east-1:000000000000:bucket/${name}`;
const C = CONTRACT;

/** n levels: an empty list in lists. */
const nested = (n: number): JsonValue => (n === 1 ? [] : [nested(n - 1)]);
/** n characters, each of two bytes. */
const twoBytes = (n: number) => "ü".repeat(n);
/** n bytes of UTF-8 in fewer characters. */
const bytes = (n: number) => "ü".repeat(n >> 1) + "a".repeat(n % 2);

const NAMES: LimitRow[] = [
  {
    method: "CreateVectorBucket",
    request: (n: number) => ({ vectorBucketName: freshName(n) }),
    field: "vector_bucket_name",
  },
  { method: "CreateIndex", request: (n: number) => newIndex({ indexName: freshName(n) }), field: "index_name" },
  { method: "CreateNamespace", request: (n: number) => ({ ...index, namespace: freshName(n) }), field: "namespace" },
].map((row) => ({
  limit: "nameLengthMax",
  ...row,
  ...from(1, C.nameLengthMax),
  // "" is the name of the default namespace, which exists.
  ...(row.method === "CreateNamespace" && { refused: [C.nameLengthMax + 1] }),
}));

const WIDE_DATA = { float32: list(C.dimensionMax, (i) => i % 7) };
/** Vectors of dimension 20,000 whose data fit into one answer. */
const WIDE_MAX = Math.floor(C.answerDataBytesMax / (4 * C.dimensionMax));

const TAGS: LimitRow[] = (
  [
    ["CreateVectorBucket", (tags: JsonObject) => bucket({ tags })],
    ["CreateIndex", (tags: JsonObject) => newIndex({ tags })],
    ["TagResource", (tags: JsonObject) => ({ resourceArn: `${arnOf("b")}/index/dot`, tags })],
  ] as const
).flatMap(([method, request]) => [
  {
    limit: "tagsMax",
    method,
    // The same keys each time: TagResource adds to what is there.
    request: (n: number) => request(object(n, (i) => [`k${i}`, "v"])),
    ...(method === "TagResource" ? from(1, C.tagsMax) : upTo(C.tagsMax)),
    field: "tags",
  },
  ...(method === "TagResource"
    ? []
    : [
        {
          limit: "tagKeyLengthMax",
          method,
          request: (n: number) => request({ [twoBytes(n)]: "v" }),
          ...from(1, C.tagKeyLengthMax),
          field: "tags",
        },
        {
          limit: "tagValueLengthMax",
          method,
          request: (n: number) => request({ k: twoBytes(n) }),
          ...from(1, C.tagValueLengthMax),
          refused: [C.tagValueLengthMax + 1],
          field: 'tags["k"]',
        },
      ]),
]);

const POLICY: LimitRow[] = [
  {
    limit: "policyBytesMax",
    method: "PutVectorBucketPolicy",
    request: (n: number) => {
      const policy = '{"Version":"2012-10-17","Statement":[]}';
      return { vectorBucketName: index.vectorBucketName, policy: policy + " ".repeat(n - policy.length) };
    },
    accepted: [C.policyBytesMax - 1, C.policyBytesMax],
    refused: [C.policyBytesMax + 1],
    field: "policy",
  },
  {
    limit: "policyStatementsMax",
    method: "PutVectorBucketPolicy",
    request: (n: number) => {
      const statement = { Effect: "Allow", Principal: "*", Action: "*", Resource: "*" };
      const policy = JSON.stringify({ Version: "2012-10-17", Statement: Array(n).fill(statement) });
      return { vectorBucketName: index.vectorBucketName, policy };
    },
    ...from(0, C.policyStatementsMax),
    refused: [C.policyStatementsMax + 1],
    field: "policy",
  },
];

const CREATION: LimitRow[] = [
  {
    limit: "dimensionMax",
    method: "CreateIndex",
    request: (n) => newIndex({ dimension: n }),
    ...from(1, C.dimensionMax),
    field: "dimension",
  },
  ...["hnswMMin", "hnswMMax"].map((limit) => ({
    limit,
    method: "CreateIndex",
    request: (m: number) => newIndex({ hnsw: { m } }),
    ...from(C.hnswMMin, C.hnswMMax),
    field: "hnsw.m",
  })),
  ...["efConstructionMin", "efConstructionMax"].map((limit) => ({
    limit,
    method: "CreateIndex",
    request: (efConstruction: number) => newIndex({ hnsw: { efConstruction } }),
    ...from(C.efConstructionMin, C.efConstructionMax),
    field: "hnsw.ef_construction",
  })),
  {
    limit: "hnswMMax",
    method: "UpdateIndex",
    request: (m) => ({ vectorBucketName: "b", indexName: "dot", hnsw: { m } }),
    ...from(C.hnswMMin, C.hnswMMax),
    field: "hnsw.m",
  },
  {
    limit: "efConstructionMax",
    method: "UpdateIndex",
    request: (efConstruction) => ({ vectorBucketName: "b", indexName: "dot", hnsw: { efConstruction } }),
    ...from(C.efConstructionMin, C.efConstructionMax),
    field: "hnsw.ef_construction",
  },
  {
    limit: "nonFilterableKeysMax",
    method: "CreateIndex",
    request: (n) => newIndex({ metadataConfiguration: { nonFilterableMetadataKeys: list(n, (i) => `k${i}`) } }),
    ...upTo(C.nonFilterableKeysMax),
    field: "metadata_configuration.non_filterable_metadata_keys",
  },
  {
    limit: "nonFilterableKeyLengthMax",
    method: "CreateIndex",
    request: (n) => newIndex({ metadataConfiguration: { nonFilterableMetadataKeys: [twoBytes(n)] } }),
    ...from(1, C.nonFilterableKeyLengthMax),
    field: "metadata_configuration.non_filterable_metadata_keys[0]",
  },
];

const KEYS: LimitRow[] = [
  { method: "PutVectors", request: (n: number) => putOne({ key: bytes(n) }), field: "vectors[0].key" },
  { method: "GetVectors", request: (n: number) => ({ ...index, keys: ["a", bytes(n)] }), field: "keys[1]" },
  { method: "DeleteVectors", request: (n: number) => ({ ...index, keys: ["a", bytes(n)] }), field: "keys[1]" },
  {
    method: "UpdateVectors",
    request: (n: number) => ({ ...index, updates: [{ key: bytes(n), setMetadata: { a: 1 } }] }),
    field: "updates[0].key",
  },
].map((row) => ({ limit: "keyBytesMax", ...row, ...from(1, C.keyBytesMax) }));

const METADATA: LimitRow[] = [
  {
    limit: "metadataBytesMax",
    // 4 + (8 + 3 + the value)
    request: (n: number) => putOne({ metadata: { doc: bytes(n - 15) } }),
    ...upTo(C.metadataBytesMax),
    field: "vectors[0].metadata",
  },
  {
    limit: "filterableMetadataBytesMax",
    // 4 + (8 + 1 + the string) + (8 + 4 + a number's 4) + (8 + 4 + a boolean's 0) + (8 + 4 + two elements of 4 + 1)
    request: (n: number) =>
      putOne({ metadata: { s: bytes(n - 63), numb: 1, bool: true, list: ["a", "b"], doc: "x".repeat(3000) } }),
    ...upTo(C.filterableMetadataBytesMax),
    field: "vectors[0].metadata",
  },
  {
    limit: "metadataKeysMax",
    request: (n: number) => putOne({ metadata: object(n, (i) => [`${i}`, 1]) }),
    ...upTo(C.metadataKeysMax),
    field: "vectors[0].metadata",
  },
].map((row) => ({ method: "PutVectors", reason: "METADATA_TOO_LARGE", ...row }));

const WRITES: LimitRow[] = [
  {
    limit: "metadataDepthMax",
    method: "PutVectors",
    request: (n) => putOne({ metadata: { doc: nested(n) } }),
    ...upTo(C.metadataDepthMax),
    reason: "METADATA_INVALID",
    field: 'vectors[0].metadata["doc"]',
  },
  {
    limit: "nameLengthMax",
    method: "PutVectors",
    request: (n) => ({ ...putOne({}), namespace: freshName(n) }),
    ...from(1, C.nameLengthMax),
    refused: [C.nameLengthMax + 1],
    field: "namespace",
  },
  {
    limit: "batchVectorsMax",
    method: "PutVectors",
    request: (n) => ({ ...index, vectors: list(n, (i) => ({ key: `${i}`, data })) }),
    ...from(1, C.batchVectorsMax),
    field: "vectors",
  },
  {
    limit: "batchVectorsMax",
    method: "UpdateVectors",
    request: (n) => ({ ...index, updates: list(n, (i) => ({ key: `${i}`, setMetadata: { a: i } })) }),
    ...upTo(C.batchVectorsMax),
    field: "updates",
  },
  ...["GetVectors", "DeleteVectors"].map((method) => ({
    limit: "batchVectorsMax",
    method,
    request: (n: number) => ({ ...index, keys: list(n, (i) => `${i}`) }),
    ...from(1, C.batchVectorsMax),
    field: "keys",
  })),
  {
    limit: "sparseValuesMax",
    method: "PutVectors",
    request: (n) => ({
      ...index,
      indexName: "dot",
      vectors: [{ key: "s", sparse: { indices: list(n, (i) => i), values: list(n, () => 1) } }],
    }),
    ...upTo(2_048),
    reason: "SPARSE_INVALID",
    field: /^vectors\[0\]\.sparse/,
  },
  ...(
    [
      ["VectorService/PutVectors", (idempotencyKey: string) => ({ ...putOne({}), idempotencyKey })],
      [
        "VectorService/UpdateVectors",
        (idempotencyKey: string) => ({ ...index, updates: [{ key: "k", setMetadata: { a: 1 } }], idempotencyKey }),
      ],
      ["VectorService/DeleteVectors", (idempotencyKey: string) => ({ ...index, keys: ["k"], idempotencyKey })],
      ["JobService/StartUpload", (idempotencyKey: string) => ({ ...putOne({}), idempotencyKey })],
    ] as const
  ).map(([method, request]) => ({
    limit: "idempotencyKeyLengthMax",
    method: method.slice(method.indexOf("/") + 1),
    // Long enough to be one that no other write has.
    request: (n: number) => request(`${freshName(10)}${twoBytes(n)}`.slice(0, n)),
    ...upTo(128),
    field: "idempotency_key",
  })),
];

/** n levels: a condition in negations. */
const negations = (n: number): JsonObject => (n === 1 ? { a: 1 } : { $not: negations(n - 1) });

/** Filters at the limit of depth, of nodes and of bytes as JSON; docs/reference/filters.md says what counts. */
const FILTERS: LimitRow[] = (
  [
    ["filterDepthMax", negations],
    ["filterNodesMax", (n: number) => ({ a: { $in: list(n - 3, (i) => i) } })],
    ["filterBytesMax", (n: number) => ({ a: bytes(n - '{"a":""}'.length) })],
  ] as const
).flatMap(([limit, filter]) =>
  (
    [
      ["QueryVectors", (n: number) => query({ filter: filter(n) })],
      ["ListVectors", (n: number) => ({ ...index, filter: filter(n) })],
      ["DeleteVectors", (n: number) => ({ ...index, filter: filter(n) })],
      ["UpdateVectors", (n: number) => ({ ...index, filter: filter(n), setMetadata: { b: 1 }, dryRun: true })],
      ["MeasureRecall", (n: number) => ({ ...index, topK: 1, filter: filter(n) })],
    ] as const
  ).map(([method, request]) => ({
    limit,
    method,
    request,
    ...upTo(C[limit]),
    reason: "FILTER_INVALID" as const,
    field: /^filter/,
  })),
);

const READS: LimitRow[] = [
  {
    limit: "answerDataBytesMax",
    method: "GetVectors",
    request: (n) => ({ ...index, indexName: "wide", returnData: true, keys: list(n, (i) => `${i}`) }),
    ...upTo(WIDE_MAX),
    field: "keys",
  },
  {
    limit: "answerDataBytesMax",
    method: "BatchQueryVectors",
    request: (n) => ({
      ...index,
      indexName: "wide",
      queries: [n - 100, 100].map((topK) => ({ queryVector: WIDE_DATA, topK, returnData: true })),
    }),
    ...upTo(WIDE_MAX),
    field: "queries",
  },
  {
    limit: "keyBytesMax",
    method: "ListVectors",
    request: (n) => ({ ...index, prefix: bytes(n) }),
    ...upTo(C.keyBytesMax),
    field: "prefix",
  },
  {
    limit: "displayNameLengthMax",
    method: "CreateBackup",
    request: (n) => ({ displayName: "ü".repeat(n) }),
    ...upTo(C.displayNameLengthMax),
    field: "display_name",
  },
  {
    limit: "segmentsMax",
    method: "ListVectors",
    request: (n) => ({ ...index, segmentCount: n }),
    ...from(1, C.segmentsMax),
    refused: [C.segmentsMax + 1],
    field: "segment_count",
  },
  {
    limit: "segmentsMax",
    method: "ListVectors",
    what: "segment_index",
    request: (n) => ({ ...index, segmentCount: C.segmentsMax, segmentIndex: n }),
    ...upTo(C.segmentsMax - 1),
    field: "segment_index",
  },
  ...(
    [
      ["ListVectors", index],
      ["ListVectorBuckets", {}],
      ["ListIndexes", { vectorBucketName: "b" }],
      ["ListNamespaces", index],
      ["ListJobs", {}],
      ["ListBackups", {}],
      ["ListAccessKeys", {}],
    ] as const
  ).flatMap(([method, request]) => [
    {
      limit: "listPageMax",
      method,
      request: (n: number) => ({ ...request, maxResults: n }),
      ...from(0, C.listPageMax),
      refused: [C.listPageMax + 1],
      field: "max_results",
    },
    {
      // No answer carries a token as long as that: a longer one is refused as any other of nobody, unread.
      limit: "pageTokenLengthMax",
      method,
      request: (n: number) => ({ ...request, nextToken: "A".repeat(n) }),
      accepted: [],
      refused: [C.pageTokenLengthMax - 1, C.pageTokenLengthMax, C.pageTokenLengthMax + 1],
      reason: "PAGE_TOKEN_INVALID" as const,
      field: "next_token",
    },
  ]),
];

const QUERIES: LimitRow[] = [
  {
    limit: "topKMax",
    method: "QueryVectors",
    request: (topK) => query({ topK }),
    ...from(1, C.topKMax),
    field: "top_k",
  },
  {
    limit: "topKMax",
    method: "MeasureRecall",
    request: (topK) => ({ ...index, topK, sampleSize: 1 }),
    ...from(1, C.topKMax),
    field: "top_k",
  },
  {
    limit: "efSearchMax",
    method: "QueryVectors",
    request: (efSearch) => query({ search: { efSearch } }),
    ...from(1, C.efSearchMax),
    field: "search.ef_search",
  },
  {
    limit: "a recall target",
    method: "QueryVectors",
    request: (recallTarget) => query({ search: { recallTarget } }),
    accepted: [Number.MIN_VALUE, 0.5, 1],
    refused: [-1, 0, 1 + Number.EPSILON, 2],
    field: "search.recall_target",
  },
  {
    limit: "keyBytesMax",
    method: "QueryVectors",
    what: "query_key",
    request: (n) => ({ ...index, queryKey: n === 1 ? "k" : bytes(n), topK: 1 }),
    accepted: [],
    refused: [C.keyBytesMax + 1],
    field: "query_key",
  },
  {
    limit: "a dense weight",
    method: "QueryVectors",
    request: (denseWeight) => ({
      ...query({ denseWeight, querySparse: { indices: [1], values: [1] } }),
      indexName: "dot",
    }),
    accepted: [0, 0.5, 1],
    refused: [-Number.MIN_VALUE, 1 + Number.EPSILON],
    field: "dense_weight",
  },
  {
    limit: "sparseValuesMax",
    method: "QueryVectors",
    request: (n) => ({
      ...index,
      indexName: "dot",
      querySparse: { indices: list(n, (i) => i), values: list(n, () => 1) },
      topK: 1,
    }),
    ...upTo(2_048),
    reason: "SPARSE_INVALID",
    field: /^query_sparse/,
  },
  {
    limit: "batchQueriesMax",
    method: "BatchQueryVectors",
    request: (n) => ({ ...index, queries: list(n, () => ({ queryVector: data, topK: 1 })) }),
    ...from(1, 1_000),
    field: "queries",
  },
  {
    limit: "top_k of a batch in all",
    method: "BatchQueryVectors",
    request: (n) => ({
      ...index,
      queries: [...list(9, () => 1_000), n - 9_500, 500].map((topK) => ({ queryVector: data, topK })),
    }),
    ...upTo(10_000),
    field: /^queries/,
  },
  {
    limit: "recallQueriesMax",
    method: "MeasureRecall",
    request: (n) => ({ ...index, topK: 1, queries: list(n, () => data) }),
    ...upTo(1_000),
    field: "queries",
  },
  {
    limit: "sample_size of MeasureRecall",
    method: "MeasureRecall",
    request: (sampleSize) => ({ ...index, topK: 1, sampleSize }),
    ...from(1, 1_000),
    refused: [1_001],
    field: "sample_size",
  },
];

export const ROWS: readonly LimitRow[] = [
  ...NAMES,
  ...TAGS,
  ...POLICY,
  ...CREATION,
  ...KEYS,
  ...METADATA,
  ...WRITES,
  ...FILTERS,
  ...READS,
  ...QUERIES,
];
