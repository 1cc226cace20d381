import type { Index, Metadata, Projection, Query, QueryTarget, Search, SparseData } from "../engine/engine.ts";
import { invalidField, QuiverError } from "../errors.ts";
import { parseFilter } from "../filter/parse.ts";
import { LIMITS } from "./limits.ts";
import { assertSparse } from "./sparse.ts";
import { assertData, assertKey } from "./vector-input.ts";

/** A query as a request gives it. */
export interface QueryInput {
  /** Near to data, to a stored vector, to sparse values, or to data and sparse values. */
  readonly data: Float32Array | undefined;
  /** "": not by key. */
  readonly key: string;
  readonly sparse: SparseData | undefined;
  readonly denseWeight: number | undefined;
  readonly topK: number;
  readonly search: Search;
  readonly filter: Metadata | undefined;
  readonly projection: Projection;
}

export interface QueryPlace {
  /** Before the names of the fields in errors: "", or "queries[3]." */
  readonly path: string;
  readonly topKMax: number;
}

/** The query that the input means; throws unless it fits the index. */
export function toQuery(input: QueryInput, index: Index, { path, topKMax }: QueryPlace): Query {
  const { topK, search, filter, projection } = input;
  if (topK < 1 || topK > topKMax) throw invalidField(`${path}top_k`, `Must be 1 to ${topKMax}, got ${topK}`);
  assertSearch(`${path}search`, search);
  const target = toTarget(input, index, path);
  return { target, topK, search, filter: toFilter(`${path}filter`, filter, index), projection };
}

/** The filter that a request gives; undefined: all vectors. Throws FILTER_INVALID. */
export function toFilter(field: string, filter: Metadata | undefined, index: Index) {
  if (filter === undefined) return undefined;
  return parseFilter(filter, { field, nonFilterableKeys: index.nonFilterableMetadataKeys });
}

function toTarget({ data, key, sparse, denseWeight }: QueryInput, index: Index, path: string): QueryTarget {
  const given = [data && "query_vector", key && "query_key", sparse && "query_sparse"].filter((field) => !!field);
  if (given.length === 0 || (key !== "" && given.length > 1)) throw badCombination(path, given as string[]);
  if (data) assertData(`${path}query_vector.float32`, data, index);
  if (sparse) assertSparse(`${path}query_sparse`, sparse, index);
  if (denseWeight !== undefined) {
    const field = `${path}dense_weight`;
    if (!data || !sparse) throw invalidField(field, "Allowed only with both query_vector and query_sparse");
    if (!(denseWeight >= 0 && denseWeight <= 1)) throw invalidField(field, `Must be 0 to 1, got ${denseWeight}`);
  }
  if (data && sparse) return { kind: "hybrid", data, sparse, denseWeight };
  if (data) return { kind: "vector", data };
  if (sparse) return { kind: "sparse", sparse };
  assertKey(`${path}query_key`, key);
  return { kind: "key", key };
}

function badCombination(path: string, given: readonly string[]): QuiverError {
  const description = "Give one of query_vector, query_key and query_sparse, or query_vector with query_sparse";
  const fields = given.length > 0 ? given : ["query_vector"];
  const violations = fields.map((field) => ({ field: `${path}${field}`, description }));
  const message = `${violations.map(({ field }) => field).join(", ")}: ${description}`;
  return new QuiverError("INVALID_FIELD", message, { violations });
}

export function assertSearch(field: string, search: Search): void {
  if (search.kind === "ef_search" && (search.efSearch < 1 || search.efSearch > LIMITS.efSearchMax)) {
    throw invalidField(`${field}.ef_search`, `Must be 1 to ${LIMITS.efSearchMax}, got ${search.efSearch}`);
  }
  if (search.kind === "recall_target" && !(search.recallTarget > 0 && search.recallTarget <= 1)) {
    throw invalidField(`${field}.recall_target`, `Must be above 0 and at most 1, got ${search.recallTarget}`);
  }
}
