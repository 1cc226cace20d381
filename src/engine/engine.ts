/**
 * The port between the use cases in service/ and what stores and searches vectors. Requests arrive here checked: names,
 * keys, dimensions and numbers are within the limits of service/limits.ts. Every method may reject with a QuiverError.
 *
 * Writes resolve once they are durable and visible to every later read. Each is all-or-nothing.
 */

export type DistanceMetric = "cosine" | "euclidean" | "dot_product";

/** JSON, as a google.protobuf.Struct can hold it. Objects come from JSON.parse or have no prototype. */
export type MetadataValue =
  | null
  | string
  | number
  | boolean
  | readonly MetadataValue[]
  | { readonly [key: string]: MetadataValue };
export type Metadata = { readonly [key: string]: MetadataValue };

export interface Bucket {
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly tags: Readonly<Record<string, string>>;
}

/** An index by the names that a caller uses. */
export interface IndexRef {
  readonly bucket: string;
  readonly index: string;
}

/** A namespace of an index; "" is the default namespace. */
export interface PartitionRef extends IndexRef {
  readonly namespace: string;
}

export interface Index extends IndexRef {
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly dimension: number;
  readonly distanceMetric: DistanceMetric;
  readonly nonFilterableMetadataKeys: readonly string[];
  /** Neighbors per node and level of the HNSW graph. */
  readonly m: number;
  readonly efConstruction: number;
  readonly deletionProtection: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

export interface VectorInput {
  readonly key: string;
  readonly data: Float32Array;
  readonly metadata: Metadata;
}

export interface Vector {
  readonly key: string;
  /** The sequence number of the write that made it what it is. */
  readonly version: number;
  /** Absent unless asked for. */
  readonly data?: Float32Array;
  /** Absent unless asked for. */
  readonly metadata?: Metadata;
}

/** Which parts of a vector an answer carries. */
export interface Projection {
  readonly data: boolean;
  readonly metadata: boolean;
}

/** How to search: every vector, the graph with a given candidate list, or the graph tuned for a recall. */
export type Search =
  | { readonly kind: "exact" }
  | { readonly kind: "ef_search"; readonly efSearch: number }
  | { readonly kind: "recall_target"; readonly recallTarget: number };

export interface Query {
  readonly data: Float32Array;
  readonly topK: number;
  readonly search: Search;
  readonly projection: Projection;
}

export interface QueryPlan {
  readonly strategy: "exact" | "graph";
  /** Distances computed. */
  readonly compared: number;
  /** True when the answer is certainly the nearest vectors. */
  readonly exact: boolean;
}

export interface ScoredVector extends Vector {
  readonly distance: number;
}

export interface ListOptions {
  readonly prefix: string;
  /** Only keys after this one. */
  readonly after: string | undefined;
  readonly maxResults: number;
  /** Stops after the vector that reaches so many bytes of keys, data and metadata. */
  readonly maxBytes: number;
  /** Disjoint parts of the key space: only the vectors of segment `index` of `count`. */
  readonly segment: { readonly index: number; readonly count: number } | undefined;
  readonly projection: Projection;
}

/**
 * What an index can do right now: nothing yet, answer exactly while its graph is being built, answer by graph. "failed":
 * its stored vectors cannot be read, every call fails.
 */
export type IndexState = "loading" | "building" | "ready" | "failed";

export interface IndexStats {
  readonly state: IndexState;
  readonly vectorCount: number;
  /** Live vectors that are not in a graph yet; queries compare them exactly. */
  readonly unindexedVectors: number;
  /** Deleted vectors that still take space in a graph. */
  readonly deletedVectors: number;
  /** Bytes of memory, and of disk, by what they hold. */
  readonly bytes: {
    readonly vectors: number;
    readonly graph: number;
    readonly keys: number;
    readonly disk: number;
  };
}

/** Names in ascending byte order. */
export interface PageOptions {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly maxResults: number;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** True when more may follow the last item. */
  readonly more: boolean;
}

export interface Engine {
  /** "embedded" or "postgres". */
  readonly name: string;
  /** Number of the layout of the stored data. */
  readonly formatVersion: number;
  /** The sequence number of the last write that reads see. */
  readonly lsn: number;
  /** True after a storage fault: writes are refused until a restart. */
  readonly readOnly: boolean;

  createBucket(bucket: Bucket): Promise<void>;
  getBucket(name: string): Promise<Bucket>;
  listBuckets(options: PageOptions): Promise<Page<Bucket>>;
  /** FAILED_PRECONDITION while it has indexes. */
  deleteBucket(name: string): Promise<void>;

  createIndex(index: Index): Promise<void>;
  getIndex(ref: IndexRef): Promise<Index>;
  listIndexes(bucket: string, options: PageOptions): Promise<Page<Index>>;
  deleteIndex(ref: IndexRef): Promise<void>;
  indexStats(ref: IndexRef): Promise<IndexStats>;
  /** The state of every index, for health checks; does not wait. */
  indexStates(): readonly (IndexRef & { readonly state: IndexState })[];

  /** Replaces each vector whole. Keys are distinct. */
  putVectors(ref: PartitionRef, vectors: readonly VectorInput[]): Promise<{ lsn: number }>;
  /** Absent keys are counted, not an error. Keys are distinct. */
  deleteVectors(
    ref: PartitionRef,
    keys: readonly string[],
  ): Promise<{ lsn: number; deletedCount: number; notFoundCount: number }>;
  /** In the order of the keys; absent ones are left out. */
  getVectors(
    ref: PartitionRef,
    keys: readonly string[],
    projection: Projection,
  ): Promise<{ vectors: readonly Vector[]; lsn: number }>;
  /** In ascending byte order of the keys' UTF-8. */
  listVectors(ref: PartitionRef, options: ListOptions): Promise<Page<Vector> & { lsn: number }>;
  /** Nearest first, equal distances by key. As many as exist, up to topK. */
  queryVectors(
    ref: PartitionRef,
    query: Query,
  ): Promise<{ vectors: readonly ScoredVector[]; plan: QueryPlan; lsn: number }>;

  /** Waits for what is under way, then closes the store. Later calls fail with SHUTTING_DOWN. */
  close(): Promise<void>;
}
