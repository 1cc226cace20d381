import type { JsonObject } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";

export interface QuiverOptions {
  /** Where the server is. Default: http://127.0.0.1:8080. */
  readonly url?: string;
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

export interface VectorInput {
  /** 1 to 1,024 bytes of UTF-8. */
  readonly key: string;
  /** As many finite values as the index has dimensions; float32 is what is stored. */
  readonly data: Float32Array | readonly number[];
  readonly metadata?: Metadata;
}

/** Which parts of a vector an answer carries. */
export interface Projection {
  /** Default false. */
  readonly data?: boolean;
  /** Default true. */
  readonly metadata?: boolean;
}

export interface StoredVector {
  readonly key: string;
  readonly data?: Float32Array;
  readonly metadata?: Metadata;
}

export interface ScoredVector extends StoredVector {
  /** Smaller is nearer: 1 - cos, the L2 norm, or minus the inner product. */
  readonly distance: number;
}

export interface ListOptions extends Projection {
  /** Only keys that start so. */
  readonly prefix?: string;
}

export interface QueryOptions extends Projection {
  /** Results asked for, 1 to 1,000. Default 10. */
  readonly topK?: number;
  /** Compare every vector instead of walking the graph. Default false. */
  readonly exact?: boolean;
}

export interface QueryAnswer {
  /** Nearest first. */
  readonly vectors: readonly ScoredVector[];
  /** True when these are certainly the nearest ones. */
  readonly exact: boolean;
  /** Distances that the server computed. */
  readonly compared: number;
}
