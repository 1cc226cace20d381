import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import type { Reason } from "../../src/errors.ts";

/** A request that is refused, and how. */
export interface Row {
  readonly what: string;
  readonly method: string;
  readonly request: JsonValue;
  readonly code: Code;
  readonly reason: Reason;
  /** Path of the field at fault, for INVALID_ARGUMENT. */
  readonly field?: string;
}

/** Where the rows look unless they say otherwise. */
export const index = { vectorBucketName: "b", indexName: "cosine" };
const one = (values: JsonValue[], extra: object = {}) => [{ key: "new", data: { float32: values }, ...extra }];
const put = (vectors: JsonValue) => ({ method: "PutVectors", request: { ...index, vectors } });
const query = (extra: object) => ({
  method: "QueryVectors",
  request: { ...index, queryVector: { float32: [1, 2] }, topK: 1, ...extra },
});
/** Sparse values that are 1 at these positions. */
export const sparse = (...indices: number[]) => ({ indices, values: indices.map(() => 1) });
const putDot = (vector: JsonObject) => ({
  method: "PutVectors",
  request: { ...index, indexName: "dot", vectors: [vector] },
});
const update = (extra: JsonObject) => ({ method: "UpdateVectors", request: { ...index, ...extra } });
const remove = (extra: JsonObject) => ({ method: "DeleteVectors", request: { ...index, ...extra } });
const batch = (queries: object[], indexName = "cosine", namespace = "") => ({
  method: "BatchQueryVectors",
  request: {
    vectorBucketName: "b",
    indexName,
    namespace,
    queries: queries.map((each) => ({ queryVector: { float32: [1, 2] }, topK: 1, ...each })),
  },
});
const create = (extra: object) => ({
  method: "CreateIndex",
  request: {
    vectorBucketName: "b",
    indexName: "new",
    dataType: "DATA_TYPE_FLOAT32",
    dimension: 2,
    distanceMetric: "DISTANCE_METRIC_COSINE",
    ...extra,
  },
});
const invalid = (field: string, reason: Reason = "INVALID_FIELD") => ({ code: Code.InvalidArgument, reason, field });
const notFound = (reason: Reason) => ({ code: Code.NotFound, reason });
const refused = (reason: Reason) => ({ code: Code.FailedPrecondition, reason });
const sparseInvalid = (field: string) => invalid(field, "SPARSE_INVALID");
const NAMESPACE = "NAMESPACE_NOT_FOUND";
const metadata = (value: object) => put(one([1, 1], { metadata: value as JsonValue }));
const many = <T>(count: number, of: (i: number) => T) => Array.from({ length: count }, (_, i) => of(i));

export const ROWS: readonly Row[] = [
  { what: "too few values", ...put(one([1])), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "too many values", ...put(one([1, 2, 3])), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "no data", ...put([{ key: "new" }]), ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH") },
  { what: "NaN", ...put(one([1, "NaN"])), ...invalid("vectors[0].data.float32[1]", "NON_FINITE_VALUE") },
  { what: "Infinity", ...put(one(["-Infinity", 1])), ...invalid("vectors[0].data.float32[0]", "NON_FINITE_VALUE") },
  { what: "a zero vector on cosine", ...put(one([0, 0])), ...invalid("vectors[0].data.float32", "ZERO_NORM") },
  {
    what: "a repeated key",
    ...put([...one([1, 1]), ...one([1, 2])]),
    ...invalid("vectors[1].key", "DUPLICATE_KEY"),
  },
  { what: "no vectors", ...put([]), ...invalid("vectors") },
  {
    what: "1,001 vectors",
    ...put(many(1001, (i) => ({ key: `${i}`, data: { float32: [1, 1] } }))),
    ...invalid("vectors"),
  },
  { what: "an empty key", ...put([{ key: "", data: { float32: [1, 1] } }]), ...invalid("vectors[0].key") },
  { what: "a long key", ...put([{ key: "ü".repeat(513), data: { float32: [1, 1] } }]), ...invalid("vectors[0].key") },
  { what: "a null", ...metadata({ a: null }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  { what: "a nested object", ...metadata({ a: { b: 1 } }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  { what: "a mixed list", ...metadata({ a: [1, "1"] }), ...invalid('vectors[0].metadata["a"]', "METADATA_INVALID") },
  {
    what: "a mixed list under __proto__",
    ...metadata(JSON.parse('{"__proto__": [1, "1"]}')),
    ...invalid('vectors[0].metadata["__proto__"]', "METADATA_INVALID"),
  },
  {
    what: "long metadata",
    ...metadata({ a: "x".repeat(2036) }),
    ...invalid("vectors[0].metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "51 metadata keys",
    ...metadata(Object.fromEntries(many(51, (i) => [`${i}`, 1]) as [string, number][])),
    ...invalid("vectors[0].metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "sparse values on cosine",
    ...put(one([1, 1], { sparse: sparse(1) })),
    ...sparseInvalid("vectors[0].sparse"),
  },
  {
    what: "no sparse values",
    ...putDot({ key: "new", sparse: {} }),
    ...sparseInvalid("vectors[0].sparse"),
  },
  {
    what: "sparse lists of different lengths",
    ...putDot({ key: "new", sparse: { indices: [1, 2], values: [1] } }),
    ...sparseInvalid("vectors[0].sparse"),
  },
  {
    what: "sparse positions out of order",
    ...putDot({ key: "new", sparse: sparse(1, 3, 3) }),
    ...sparseInvalid("vectors[0].sparse.indices[2]"),
  },
  {
    what: "a sparse NaN",
    ...putDot({ key: "new", sparse: { indices: [1], values: ["NaN"] } }),
    ...invalid("vectors[0].sparse.values[0]", "NON_FINITE_VALUE"),
  },
  {
    what: "sparse values and data of another dimension",
    ...putDot({ key: "new", data: {}, sparse: sparse(1) }),
    ...invalid("vectors[0].data.float32", "DIMENSION_MISMATCH"),
  },
  {
    what: "another version",
    ...put([{ key: "old", data: { float32: [1, 1] }, ifVersion: "1" }]),
    ...refused("VERSION_MISMATCH"),
  },
  {
    what: "a key that must be absent",
    ...put([{ key: "old", data: { float32: [1, 1] }, ifVersion: "0" }]),
    ...refused("VERSION_MISMATCH"),
  },
  {
    what: "a version of an absent key",
    ...put([...one([1, 1]), { key: "none", data: { float32: [1, 1] }, ifVersion: "9007199254740993" }]),
    ...refused("VERSION_MISMATCH"),
  },
  {
    what: "a long idempotency key",
    method: "PutVectors",
    request: { ...index, vectors: one([1, 1]), idempotencyKey: "k".repeat(129) },
    ...invalid("idempotency_key"),
  },
  {
    what: "the idempotency key of another request",
    method: "PutVectors",
    request: { ...index, vectors: one([1, 1]), idempotencyKey: "used" },
    ...refused("IDEMPOTENCY_KEY_REUSED"),
  },
  {
    what: "the idempotency key of a put",
    method: "DeleteVectors",
    request: { ...index, keys: ["old"], idempotencyKey: "used" },
    ...refused("IDEMPOTENCY_KEY_REUSED"),
  },
  { what: "nothing", ...update({}), ...invalid("updates") },
  {
    what: "updates and a filter",
    ...update({ updates: [{ key: "old" }], filter: { a: 1 }, setMetadata: {} }),
    ...invalid("filter"),
  },
  {
    what: "updates and metadata for all",
    ...update({ updates: [{ key: "old" }], setMetadata: { a: 1 } }),
    ...invalid("set_metadata"),
  },
  { what: "a filter alone", ...update({ filter: { a: 1 } }), ...invalid("set_metadata") },
  { what: "metadata alone", ...update({ setMetadata: { a: 1 } }), ...invalid("filter") },
  { what: "an empty filter", ...update({ filter: {}, setMetadata: { a: 1 } }), ...invalid("filter", "FILTER_INVALID") },
  { what: "1,001 updates", ...update({ updates: many(1001, (i) => ({ key: `${i}` })) }), ...invalid("updates") },
  { what: "an empty key", ...update({ updates: [{ key: "" }] }), ...invalid("updates[0].key") },
  {
    what: "a repeated key",
    ...update({ updates: [{ key: "old" }, { key: "b" }, { key: "old" }] }),
    ...invalid("updates[2].key", "DUPLICATE_KEY"),
  },
  {
    what: "data of another dimension",
    ...update({ updates: [{ key: "old", data: { float32: [1] } }] }),
    ...invalid("updates[0].data.float32", "DIMENSION_MISMATCH"),
  },
  {
    what: "zero data",
    ...update({ updates: [{ key: "old" }, { key: "b", data: { float32: [0, 0] } }] }),
    ...invalid("updates[1].data.float32", "ZERO_NORM"),
  },
  {
    what: "sparse values on cosine",
    ...update({ updates: [{ key: "old", sparse: sparse(1) }] }),
    ...sparseInvalid("updates[0].sparse"),
  },
  {
    what: "the sparse values taken from a vector that has nothing else",
    ...update({ indexName: "dot", updates: [{ key: "both" }, { key: "sparse", sparse: {} }] }),
    ...invalid("updates[1].sparse"),
  },
  {
    what: "a nested object",
    ...update({ updates: [{ key: "none", setMetadata: { a: { b: 1 } } }] }),
    ...invalid('updates[0].set_metadata["a"]', "METADATA_INVALID"),
  },
  {
    what: "a nested object for all",
    ...update({ filter: { none: 1 }, setMetadata: { a: { b: 1 } } }),
    ...invalid('set_metadata["a"]', "METADATA_INVALID"),
  },
  {
    what: "metadata that is too long once it is merged",
    ...update({ updates: [{ key: "none" }, { key: "long", setMetadata: { b: "x".repeat(1_100) } }] }),
    ...invalid("updates[1].set_metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "metadata for all that is too long once it is merged",
    ...update({ filter: { a: { $exists: true } }, setMetadata: { b: "x".repeat(1_100) } }),
    ...invalid("set_metadata", "METADATA_TOO_LARGE"),
  },
  {
    what: "another version",
    ...update({ updates: [{ key: "old", ifVersion: "1", setMetadata: { a: 2 } }] }),
    ...refused("VERSION_MISMATCH"),
  },
  {
    what: "a version of an absent key",
    ...update({
      updates: [
        { key: "old", setMetadata: { a: 2 } },
        { key: "none", ifVersion: "7" },
      ],
    }),
    ...refused("VERSION_MISMATCH"),
  },
  {
    what: "a long idempotency key",
    ...update({ updates: [{ key: "old" }], idempotencyKey: "k".repeat(129) }),
    ...invalid("idempotency_key"),
  },
  { what: "an unknown namespace", ...update({ namespace: "none", updates: [{ key: "old" }] }), ...notFound(NAMESPACE) },
  {
    what: "a query of another dimension",
    ...query({ queryVector: { float32: [1] } }),
    ...invalid("query_vector.float32", "DIMENSION_MISMATCH"),
  },
  {
    what: "a zero query",
    ...query({ queryVector: { float32: [0, 0] } }),
    ...invalid("query_vector.float32", "ZERO_NORM"),
  },
  {
    what: "a NaN query",
    ...query({ queryVector: { float32: [0, "NaN"] } }),
    ...invalid("query_vector.float32[1]", "NON_FINITE_VALUE"),
  },
  { what: "top_k 0", ...query({ topK: 0 }), ...invalid("top_k") },
  { what: "top_k 10,001", ...query({ topK: 10_001 }), ...invalid("top_k") },
  { what: "recall_target 0", ...query({ search: { recallTarget: 0 } }), ...invalid("search.recall_target") },
  { what: "recall_target NaN", ...query({ search: { recallTarget: "NaN" } }), ...invalid("search.recall_target") },
  { what: "ef_search 0", ...query({ search: { efSearch: 0 } }), ...invalid("search.ef_search") },
  { what: "an empty filter", ...query({ filter: {} }), ...invalid("filter", "FILTER_INVALID") },
  {
    what: "an unknown operator",
    ...query({ filter: { $and: [{ a: 1 }, { a: { $near: 1 } }] } }),
    ...invalid('filter.$and[1]["a"].$near', "FILTER_INVALID"),
  },
  { what: "no query", ...query({ queryVector: null }), ...invalid("query_vector") },
  { what: "data and a key", ...query({ queryKey: "old" }), ...invalid("query_vector") },
  {
    what: "a key and sparse values",
    ...query({ queryVector: null, queryKey: "old", querySparse: sparse(1) }),
    ...invalid("query_key"),
  },
  { what: "an absent key", ...query({ queryVector: null, queryKey: "none" }), ...notFound("VECTOR_NOT_FOUND") },
  { what: "a long key", ...query({ queryVector: null, queryKey: "k".repeat(1025) }), ...invalid("query_key") },
  {
    what: "sparse values on cosine",
    ...query({ queryVector: null, querySparse: sparse(1) }),
    ...sparseInvalid("query_sparse"),
  },
  {
    what: "data and sparse values on cosine",
    ...query({ querySparse: sparse(1) }),
    ...sparseInvalid("query_sparse"),
  },
  {
    what: "no sparse values",
    ...query({ indexName: "dot", queryVector: null, querySparse: {} }),
    ...sparseInvalid("query_sparse"),
  },
  { what: "a weight without sparse values", ...query({ denseWeight: 0.5 }), ...invalid("dense_weight") },
  {
    what: "a weight of 1.5",
    ...query({ indexName: "dot", querySparse: sparse(1), denseWeight: 1.5 }),
    ...invalid("dense_weight"),
  },
  {
    what: "a weight that is NaN",
    ...query({ indexName: "dot", querySparse: sparse(1), denseWeight: "NaN" }),
    ...invalid("dense_weight"),
  },
  {
    what: "a page token of nobody",
    ...query({ nextToken: "AAAA" }),
    ...invalid("next_token", "PAGE_TOKEN_INVALID"),
  },
  { what: "no queries", ...batch([]), ...invalid("queries") },
  { what: "1,001 queries", ...batch(many(1001, () => ({}))), ...invalid("queries") },
  { what: "10,001 results", ...batch([{ topK: 5_000 }, { topK: 5_001 }]), ...invalid("queries") },
  {
    what: "the data of too many vectors",
    ...batch(
      many(3, () => ({ topK: 100, returnData: true })),
      "wide",
    ),
    ...invalid("queries"),
  },
  { what: "an unknown namespace", ...batch([{}], "cosine", "none"), ...notFound(NAMESPACE) },
  { what: "an unknown index", ...query({ indexName: "none" }), ...notFound("INDEX_NOT_FOUND") },
  { what: "an unknown bucket", ...query({ vectorBucketName: "none" }), ...notFound("BUCKET_NOT_FOUND") },
  { what: "an unknown namespace", ...query({ namespace: "none" }), ...notFound("NAMESPACE_NOT_FOUND") },
  { what: "a namespace with a slash", ...query({ namespace: "a/b" }), ...invalid("namespace") },
  { what: "no index name", ...query({ indexName: "" }), ...invalid("index_name") },
  { what: "name and ARN", ...query({ indexArn: "arn:x" }), ...invalid("index_arn") },
  {
    what: "a foreign ARN",
    ...query({ vectorBucketName: "", indexName: "", indexArn: "arn:x" }),
    ...invalid("index_arn"),
  },
  {
    what: "a page token of nobody",
    method: "ListVectors",
    request: { ...index, nextToken: "AAAA" },
    ...invalid("next_token", "PAGE_TOKEN_INVALID"),
  },
  {
    what: "a filter by none of many",
    method: "ListVectors",
    request: { ...index, filter: { a: { $in: [] } } },
    ...invalid('filter["a"].$in', "FILTER_INVALID"),
  },
  {
    what: "a page of 1,001",
    method: "ListVectors",
    request: { ...index, maxResults: 1001 },
    ...invalid("max_results"),
  },
  { what: "17 segments", method: "ListVectors", request: { ...index, segmentCount: 17 }, ...invalid("segment_count") },
  {
    what: "segment 2 of 2",
    method: "ListVectors",
    request: { ...index, segmentCount: 2, segmentIndex: 2 },
    ...invalid("segment_index"),
  },
  { what: "no keys to get", method: "GetVectors", request: { ...index, keys: [] }, ...invalid("keys") },
  {
    what: "an empty key to delete",
    method: "DeleteVectors",
    request: { ...index, keys: ["a", ""] },
    ...invalid("keys[1]"),
  },
  { what: "nothing", ...remove({}), ...invalid("keys") },
  { what: "keys and all", ...remove({ keys: ["old"], all: true }), ...invalid("keys") },
  { what: "a filter and all", ...remove({ filter: { a: 1 }, all: true }), ...invalid("filter") },
  { what: "an empty filter", ...remove({ filter: {} }), ...invalid("filter", "FILTER_INVALID") },
  { what: "1,001 keys", ...remove({ keys: many(1001, (i) => `${i}`) }), ...invalid("keys") },
  {
    what: "a long idempotency key",
    ...remove({ all: true, idempotencyKey: "k".repeat(129) }),
    ...invalid("idempotency_key"),
  },
  { what: "an unknown namespace", ...remove({ all: true, namespace: "none" }), ...notFound(NAMESPACE) },
  { what: "dimension 0", ...create({ dimension: 0 }), ...invalid("dimension") },
  { what: "dimension 20,001", ...create({ dimension: 20_001 }), ...invalid("dimension") },
  { what: "no metric", ...create({ distanceMetric: 0 }), ...invalid("distance_metric") },
  { what: "an unknown metric", ...create({ distanceMetric: 9 }), ...invalid("distance_metric") },
  { what: "no data type", ...create({ dataType: 0 }), ...invalid("data_type") },
  { what: "m 1", ...create({ hnsw: { m: 1 } }), ...invalid("hnsw.m") },
  { what: "a name with a blank", ...create({ indexName: "a b" }), ...invalid("index_name") },
  { what: "a name of 64", ...create({ indexName: "a".repeat(64) }), ...invalid("index_name") },
  { what: "a taken index name", ...create({ indexName: "cosine" }), code: Code.AlreadyExists, reason: "INDEX_EXISTS" },
  {
    what: "a taken bucket name",
    method: "CreateVectorBucket",
    request: { vectorBucketName: "b" },
    code: Code.AlreadyExists,
    reason: "BUCKET_EXISTS",
  },
  {
    what: "a bucket with indexes",
    method: "DeleteVectorBucket",
    request: { vectorBucketName: "b" },
    code: Code.FailedPrecondition,
    reason: "BUCKET_NOT_EMPTY",
  },
  {
    what: "a long tag",
    method: "CreateVectorBucket",
    request: { vectorBucketName: "t", tags: { k: "v".repeat(257) } },
    ...invalid('tags["k"]'),
  },
];
