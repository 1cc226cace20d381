import type { JsonObject } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";

export interface QuiverOptions {
  /** Where the server is. Default: http://127.0.0.1:8080. */
  readonly url?: string;
  /** What every call brings as `authorization: Bearer <api key>`. Default: none, for a server that has no access keys. */
  readonly apiKey?: string;
  /** How to speak to it, from @connectrpc/connect-web or connect-node. Default: Connect over fetch. */
  readonly transport?: Transport;
}

export type DistanceMetric = "cosine" | "euclidean" | "dot_product";

/** Strings, numbers, booleans, lists of strings or of numbers; other JSON only under the index's non-filterable keys. */
export type Metadata = JsonObject;

export interface CreateIndexOptions {
  /** Values per vector, 1 to 20,000. */
  readonly dimension: number;
  readonly distanceMetric: DistanceMetric;
  /** At most 10. */
  readonly nonFilterableMetadataKeys?: readonly string[];
}

/** Values at some positions, all others being 0; only where the distance metric is dot_product. */
export interface SparseVector {
  /** Strictly ascending. */
  readonly indices: readonly number[];
  /** As many as there are indices, at most 2,048. */
  readonly values: readonly number[];
}

export interface VectorInput {
  /** 1 to 1,024 bytes of UTF-8. */
  readonly key: string;
  /** As many finite values as the index has dimensions; float32 is what is stored. Needed unless there is sparse. */
  readonly data?: Float32Array | readonly number[];
  readonly sparse?: SparseVector;
  readonly metadata?: Metadata;
  /** Store it only over this version; 0: only when the key is absent. Else VERSION_MISMATCH. */
  readonly ifVersion?: bigint;
}

/** A change of one vector; what is absent stays as it is. */
export interface VectorUpdate {
  readonly key: string;
  readonly data?: Float32Array | readonly number[];
  /** Without values: removes them. */
  readonly sparse?: SparseVector;
  /** Each key replaces that key, null removes it. */
  readonly setMetadata?: Metadata;
  readonly ifVersion?: bigint;
}

/** What metadata must match: `{ year: { $gte: 1965 }, tag: { $in: ["a", "b"] } }`; docs/reference/filters.md has all. */
export type Filter = JsonObject;

/** Vectors by key, up to 1,000; by what their metadata matches; or all of the namespace. */
export type Selection = readonly string[] | { readonly filter: Filter } | { readonly all: true };

/** Which parts of a vector an answer carries. */
export interface Projection {
  /** Default false. */
  readonly data?: boolean;
  /** Default true. */
  readonly metadata?: boolean;
}

export interface StoredVector {
  readonly key: string;
  /** Of the write that made it what it is; `ifVersion` takes it. */
  readonly version: bigint;
  readonly data?: Float32Array;
  readonly sparse?: SparseVector;
  readonly metadata?: Metadata;
}

export interface ScoredVector extends StoredVector {
  /** Smaller is nearer: 1 - cos, the L2 norm, or minus the inner product. */
  readonly distance: number;
}

export interface ListOptions extends Projection {
  /** Only keys that start so. */
  readonly prefix?: string;
  readonly filter?: Filter;
}

/** What to be near to: data, a stored vector, sparse values, or data and sparse values. */
export type QueryTarget =
  | Float32Array
  | readonly number[]
  | { readonly key: string }
  | {
      readonly data?: Float32Array | readonly number[];
      readonly sparse: SparseVector;
      /** With data only, 0 to 1: how much the dense distance counts. Absent: the plain sum of both. */
      readonly denseWeight?: number;
    };

export interface QueryOptions extends Projection {
  /** Results asked for, 1 to 10,000; in a batch 1 to 1,000. Default 10. */
  readonly topK?: number;
  readonly filter?: Filter;
  /** Compare every vector instead of walking the graph. Default false. */
  readonly exact?: boolean;
}

export interface BatchQuery extends QueryOptions {
  readonly target: QueryTarget;
}

export interface QueryAnswer {
  /** Nearest first. */
  readonly vectors: readonly ScoredVector[];
  /** True when these are certainly the nearest ones. */
  readonly exact: boolean;
  /** Distances that the server computed. */
  readonly compared: number;
}
