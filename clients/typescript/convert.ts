import { Code, ConnectError } from "@connectrpc/connect";
import type { Status } from "../../gen/google/rpc/status_pb.ts";
import type { Vector } from "../../gen/quiver/v1/resources_pb.ts";
import type { QueryPlan, QueryResult } from "../../gen/quiver/v1/vector_service_pb.ts";
import type {
  QueryOptions,
  QueryTarget,
  ScoredVector,
  SparseVector,
  StoredVector,
  VectorInput,
  VectorUpdate,
} from "./types.ts";

const DEFAULT_TOP_K = 10;

export function fromInput({ key, data, sparse, metadata, ifVersion }: VectorInput) {
  return {
    key,
    ...(data && { data: fromData(data) }),
    ...(sparse && { sparse: fromSparse(sparse) }),
    ...(metadata && { metadata }),
    ...(ifVersion !== undefined && { ifVersion }),
  };
}

export function fromUpdate({ key, data, sparse, setMetadata, ifVersion }: VectorUpdate) {
  return {
    key,
    ...(data && { data: fromData(data) }),
    ...(sparse && { sparse: fromSparse(sparse) }),
    ...(setMetadata && { setMetadata }),
    ...(ifVersion !== undefined && { ifVersion }),
  };
}

export function fromQuery(target: QueryTarget, options: QueryOptions) {
  const { topK = DEFAULT_TOP_K, filter, exact = false, data = false, metadata = true } = options;
  return {
    ...fromTarget(target),
    topK,
    returnDistance: true,
    returnData: data,
    returnMetadata: metadata,
    ...(filter && { filter }),
    ...(exact && { search: { mode: { case: "exact" as const, value: true } } }),
  };
}

export function toVector({ key, version, data, sparse, metadata }: Vector | QueryResult): StoredVector {
  return {
    key,
    version,
    ...(data && { data: Float32Array.from(data.float32) }),
    ...(sparse && { sparse: { indices: sparse.indices, values: sparse.values } }),
    ...(metadata && { metadata }),
  };
}

export function toScored(result: QueryResult): ScoredVector {
  return { ...toVector(result), distance: result.distance ?? 0 };
}

export function toPlan(plan: QueryPlan | undefined) {
  return { exact: plan?.exact ?? false, compared: Number(plan?.compared ?? 0) };
}

/** The error that a call which fails so would have thrown. */
export function toError({ code, message, details }: Status): ConnectError {
  const error = new ConnectError(message, code in Code ? code : Code.Unknown);
  error.details = details.map(({ typeUrl, value }) => ({ type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value }));
  return error;
}

function fromTarget(target: QueryTarget) {
  if (!isObject(target)) return { queryVector: fromData(target) };
  if ("key" in target) return { queryKey: target.key };
  const { data, sparse, denseWeight } = target;
  return {
    querySparse: fromSparse(sparse),
    ...(data && { queryVector: fromData(data) }),
    ...(denseWeight !== undefined && { denseWeight }),
  };
}

function isObject(target: QueryTarget): target is Exclude<QueryTarget, Float32Array | readonly number[]> {
  return !Array.isArray(target) && !(target instanceof Float32Array);
}

function fromData(data: Float32Array | readonly number[]) {
  return { float32: Array.from(data) };
}

function fromSparse({ indices, values }: SparseVector) {
  return { indices: [...indices], values: [...values] };
}
