/**
 * The port between the use cases in service/ and what stores and searches vectors. Requests arrive here checked: names,
 * keys, dimensions and numbers are within the limits of service/limits.ts. Every method may reject with a QuiverError.
 *
 * Writes resolve once they are durable and visible to every later read. Each is all-or-nothing.
 */

import type { FieldViolation, QuiverError, Reason } from "../errors.ts";
import type { Filter } from "../filter/filter.ts";

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
  /** Its access policy as JSON; undefined: it has none. */
  readonly policy?: string | undefined;
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

/** Values at some positions, all others being 0. Positions are strictly ascending; both lists have the same length. */
export interface SparseData {
  readonly indices: Uint32Array;
  readonly values: Float32Array;
}

/** Has data, sparse, or both; sparse only where the metric is dot_product. */
export interface VectorInput {
  readonly key: string;
  readonly data?: Float32Array | undefined;
  readonly sparse?: SparseData | undefined;
  readonly metadata: Metadata;
  /** Store it only over this version; 0: only when the key is absent. Else the write fails with VERSION_MISMATCH. */
  readonly ifVersion?: number | undefined;
}

/** A change of one vector; what is absent stays as it is. */
export interface VectorUpdate {
  readonly key: string;
  readonly data?: Float32Array | undefined;
  /** Without values it removes the sparse values, which INVALID_FIELD refuses for a vector that has no data. */
  readonly sparse?: SparseData | undefined;
  /** Each key replaces that key, null removes it. */
  readonly setMetadata?: Metadata | undefined;
  readonly ifVersion?: number | undefined;
}

export interface Vector {
  readonly key: string;
  /** The sequence number of the write that made it what it is. */
  readonly version: number;
  /** Absent unless asked for, and when it has none. */
  readonly data?: Float32Array;
  /** Absent unless asked for, and when it has none. */
  readonly sparse?: SparseData;
  /** Absent unless asked for. */
  readonly metadata?: Metadata;
}

/** Which parts of a vector an answer carries. */
export interface Projection {
  /** Data and sparse values. */
  readonly data: boolean;
  readonly metadata: boolean;
}

/** Makes a write happen once: a repetition within a day with the same key answers what the first one did. */
export interface Idempotency {
  readonly key: string;
  /** Of all of the request; another one under the same key fails with IDEMPOTENCY_KEY_REUSED. */
  readonly fingerprint: string;
}

export interface WriteOptions {
  readonly idempotency?: Idempotency | undefined;
}

export interface PutOptions extends WriteOptions {
  /** A job's state after this write, stored in the same batch. */
  readonly job?: (lsn: number) => JobRecord;
}

export interface UpdateOptions extends WriteOptions {
  /** Counts what matches and writes nothing. */
  readonly dryRun: boolean;
  /** Called with each vector's merged metadata before anything is written; what it throws refuses the whole call. */
  readonly assertMetadata: (key: string, merged: Metadata) => void;
}

/** Vectors by key, by what their metadata matches, or all of a namespace. */
export type Selection =
  | { readonly kind: "keys"; readonly keys: readonly string[] }
  | { readonly kind: "filter"; readonly filter: Filter }
  | { readonly kind: "all" };

/** Changes by key, with distinct keys; or one merge into the metadata of all that matches. */
export type Update =
  | { readonly kind: "keys"; readonly updates: readonly VectorUpdate[] }
  | { readonly kind: "filter"; readonly filter: Filter; readonly setMetadata: Metadata };

/** How to search: every vector, the graph with a given candidate list, or the graph tuned for a recall. */
export type Search =
  | { readonly kind: "exact" }
  | { readonly kind: "ef_search"; readonly efSearch: number }
  | { readonly kind: "recall_target"; readonly recallTarget: number };

/**
 * What to be near to: data compares vectors that have data, sparse those that have sparse values; with both (hybrid) the
 * distance is weight * dense + (1 - weight) * sparse, or the plain sum without a weight, a missing part counting 0.
 */
export type QueryTarget =
  | { readonly kind: "vector"; readonly data: Float32Array }
  /** A stored vector, which is left out of the answer: by its data, or by its sparse values when it has no data. */
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "sparse"; readonly sparse: SparseData }
  | {
      readonly kind: "hybrid";
      readonly data: Float32Array;
      readonly sparse: SparseData;
      readonly denseWeight: number | undefined;
    };

export interface Query {
  readonly target: QueryTarget;
  readonly topK: number;
  readonly search: Search;
  readonly filter?: Filter | undefined;
  readonly projection: Projection;
}

export interface QueryPlan {
  readonly strategy: "exact" | "graph" | "filtered_graph";
  /** Distances computed. */
  readonly compared: number;
  /** True when the answer is certainly the nearest vectors. */
  readonly exact: boolean;
}

export interface ScoredVector extends Vector {
  readonly distance: number;
}

/** The first vectors of an answer, and a way to the others. */
export interface QueryAnswer {
  readonly vectors: readonly ScoredVector[];
  readonly plan: QueryPlan;
  readonly lsn: number;
  /** Absent when `vectors` is all of the answer. */
  readonly rest?: QueryRest;
}

/** Results that were found but not read yet; holds a read snapshot of the store until it is closed. */
export interface QueryRest {
  /** All results, the first page's included. */
  readonly size: number;
  /** The results from position `from` on, as they were when they were found. */
  read(from: number, count: number): Promise<readonly ScoredVector[]>;
  /** Closing twice is fine. */
  close(): void;
}

export type BatchAnswer = { readonly vectors: readonly ScoredVector[]; readonly plan: QueryPlan } | QuiverError;

export interface ExportOptions {
  readonly prefix: string;
  /** Only keys after this one. */
  readonly after: string | undefined;
  readonly filter: Filter | undefined;
  readonly projection: Projection;
  /** A part ends after the vector that reaches so many bytes. */
  readonly maxBytes: number;
}

export interface WatchOptions {
  /** The first write to send; undefined: the first after this call. Too old or in the future: LSN_OUT_OF_RANGE. */
  readonly fromLsn: number | undefined;
  readonly projection: Projection;
}

/** One change; without `change`: every change up to this lsn has been sent. */
export interface WatchEvent {
  readonly lsn: number;
  readonly change?: { readonly put: Vector } | { readonly deletedKey: string };
}

export interface Namespace {
  readonly name: string;
  readonly vectorCount: number;
  /** Milliseconds since the epoch; that of the index for the default namespace. */
  readonly createdAt: number;
}

/**
 * Makes a resource's new tags from those that it has, in its turn among all changes, so that none is lost. What it throws
 * refuses the change.
 */
export type ChangeTags = (tags: Readonly<Record<string, string>>) => Readonly<Record<string, string>>;

/** What of a bucket can change; what is absent stays. */
export interface BucketChanges {
  readonly tags?: ChangeTags;
  /** null takes it away. */
  readonly policy?: string | null;
}

/** What of an index can change; what is absent stays. m and efConstruction are for graphs that are built from then on. */
export interface IndexChanges {
  readonly deletionProtection?: boolean | undefined;
  readonly m?: number | undefined;
  readonly efConstruction?: number | undefined;
  readonly tags?: ChangeTags | undefined;
}

/** What was measured of recall: the mean share of the exact top_k that the graph found. */
export interface Recall {
  readonly recall: number;
  /** Ends of the 95 % confidence interval. */
  readonly confidenceLow: number;
  readonly confidenceHigh: number;
  readonly queryCount: number;
  readonly topK: number;
  readonly efSearch: number;
}

export interface RecallMeasurement extends Recall {
  readonly meanComparedGraph: number;
  readonly meanComparedExact: number;
}

export interface MeasureRecallOptions {
  readonly topK: number;
  /** So many stored vectors at random, each left out of its own answer; or these queries. */
  readonly queries: { readonly sampleSize: number } | readonly Float32Array[];
  readonly filter: Filter | undefined;
  /** Not exact. */
  readonly search: Search;
  /** Ends the measurement, which then fails with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export type JobState = "running" | "completed" | "failed" | "cancelled";

/** Why something went wrong, as it is stored. */
export interface StoredError {
  readonly reason: Reason;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
}

/** A job as it is stored; an upload, the only kind. */
export interface JobRecord {
  readonly jobId: string;
  readonly partition: PartitionRef;
  /** Tells the index that the job was started for from one that is created again under its name. */
  readonly indexCreatedAt: number;
  readonly state: JobState;
  /** What it was stored with, and how many parts of it are done. */
  readonly parts: { readonly count: number; readonly done: number; readonly bytes: number };
  readonly total: number;
  readonly successful: number;
  readonly failed: number;
  readonly errors: readonly { readonly position: number; readonly key: string; readonly error: StoredError }[];
  readonly lastError: StoredError | undefined;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  /** Of its last write; 0: none. */
  readonly lsn: number;
  readonly idempotency: Idempotency | undefined;
}

/** The stored jobs, and what they still have to do. Parts are bytes that the caller encodes. */
export interface JobStore {
  /** Every stored job. */
  load(): Promise<readonly JobRecord[]>;
  /** Stores a new job with its parts, atomically. */
  create(job: JobRecord, parts: readonly Uint8Array[]): Promise<void>;
  /** Replaces the job's record; `withoutParts` also deletes its parts. */
  put(job: JobRecord, options: { readonly withoutParts: boolean }): Promise<void>;
  readPart(jobId: string, part: number): Promise<Uint8Array>;
  /** Deletes records and parts. */
  delete(jobIds: readonly string[]): Promise<void>;
}

/** A secret of an access key as it is stored. */
export interface StoredSecret {
  /** Its SHA-256 in base64. A slow hash is for what people choose: nobody guesses 238 random bits. */
  readonly hash: string;
  /** The secret itself, encrypted; only when signatures are checked with it. */
  readonly sealed?: SealedSecret | undefined;
}

/** A secret that is encrypted with AES-256-GCM; the additional data are the access key's id. All in base64. */
export interface SealedSecret {
  readonly nonce: string;
  readonly ciphertext: string;
  readonly tag: string;
}

/** An access key as it is stored. Times in milliseconds since the epoch. */
export interface AccessKeyRecord {
  readonly id: string;
  readonly displayName: string;
  readonly role: "read-only" | "read-write" | "admin";
  /** Where it works; none: everywhere. A name that is absent stands for all. */
  readonly scopes: readonly { readonly bucket?: string; readonly index?: string; readonly namespace?: string }[];
  readonly createdAt: number;
  /** Undefined: it never expires. */
  readonly expiresAt?: number | undefined;
  /** To the hour; undefined: never. */
  readonly lastUsedAt?: number | undefined;
  readonly secret: StoredSecret;
  /** The secret from before the last rotation, which is let in until then. */
  readonly previous?: (StoredSecret & { readonly until: number }) | undefined;
}

/** The stored access keys. */
export interface AccessKeyStore {
  /** Every stored access key, in ascending byte order of the ids. CORRUPTION for one that cannot be read. */
  load(): Promise<readonly AccessKeyRecord[]>;
  put(accessKey: AccessKeyRecord): Promise<void>;
  /** Also when the disk is full. */
  delete(id: string): Promise<void>;
}

/** How much may be stored, at each level; 0 is no limit. */
export interface Quotas {
  readonly vectors: { readonly server: number; readonly bucket: number; readonly index: number };
  /** Bytes of keys, data, sparse values and metadata. */
  readonly bytes: { readonly server: number; readonly bucket: number; readonly index: number };
  readonly indexes: { readonly server: number; readonly bucket: number };
}

export interface ListOptions {
  readonly filter?: Filter | undefined;
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
    readonly metadata: number;
    readonly disk: number;
    readonly reclaimable: number;
  };
  /** Undefined: nothing was measured yet. */
  readonly recall: (Recall & { readonly measuredAt: number }) | undefined;
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

/**
 * "read_only": reads go on, writes are refused; by itself until there is room on the disk again, or, after a storage
 * fault, until a restart. "failed": some of what is stored cannot be read.
 */
export type HealthState = "healthy" | "read_only" | "failed";

export interface Health {
  readonly state: HealthState;
  /** Why it is not healthy, as the errors that refused calls get. Empty when healthy. */
  readonly problems: readonly QuiverError[];
}

/** Bytes of memory by what they hold; all in all less than what the process holds. */
export interface MemoryUse {
  /** What the process may hold; above a part of it, writes that grow what is stored are refused with MEMORY_FULL. */
  readonly limit: number;
  /** What the process holds now. */
  readonly resident: number;
  readonly vectors: number;
  readonly graph: number;
  readonly keys: number;
  readonly metadata: number;
  /** Memtables and block cache of the store. */
  readonly store: number;
}

export interface DiskUse {
  /** Of the file system that holds the data. */
  readonly total: number;
  readonly free: number;
  /** Free bytes below which writes are refused with DISK_FULL; deletes go on. */
  readonly reserve: number;
}

/** A copy of everything that is stored, as it was at one lsn. */
export interface Backup {
  readonly id: string;
  readonly displayName: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly lsn: number;
  readonly bytes: number;
  /** The directory that holds it. */
  readonly path: string;
  readonly formatVersion: number;
}

/** One damage that was found. */
export interface StorageProblem {
  /** Relative to the data directory; undefined: not one file. */
  readonly file: string | undefined;
  /** Undefined: none, or unknown. */
  readonly index: IndexRef | undefined;
  readonly error: QuiverError;
}

export interface Verification {
  /** The first 1,000. */
  readonly problems: readonly StorageProblem[];
  readonly files: number;
  readonly bytes: number;
  readonly vectors: number;
  readonly lsn: number;
}

export interface Engine {
  /** "embedded" or "postgres". */
  readonly name: string;
  /** Number of the layout of the stored data. */
  readonly formatVersion: number;
  /** Number of the layout of saved graphs; undefined when the engine saves none. */
  readonly graphFormatVersion: number | undefined;
  /** The sequence number of the last write that reads see. */
  readonly lsn: number;
  readonly health: Health;
  readonly memory: MemoryUse;
  readonly disk: DiskUse;

  createBucket(bucket: Bucket): Promise<void>;
  getBucket(name: string): Promise<Bucket>;
  listBuckets(options: PageOptions): Promise<Page<Bucket>>;
  /** FAILED_PRECONDITION while it has indexes. */
  deleteBucket(name: string): Promise<void>;

  createIndex(index: Index): Promise<void>;
  getIndex(ref: IndexRef): Promise<Index>;
  listIndexes(bucket: string, options: PageOptions): Promise<Page<Index>>;
  deleteIndex(ref: IndexRef): Promise<void>;
  /** How many vectors each index of the bucket holds, by its name; none where they cannot be read. */
  vectorCounts(bucket: string): Promise<ReadonlyMap<string, number>>;
  indexStats(ref: IndexRef): Promise<IndexStats>;
  /** The state of every index, for health checks; does not wait. */
  indexStates(): readonly (IndexRef & { readonly state: IndexState })[];

  updateBucket(name: string, changes: BucketChanges): Promise<void>;
  updateIndex(ref: IndexRef, changes: IndexChanges): Promise<Index>;

  createNamespace(ref: PartitionRef): Promise<Namespace>;
  getNamespace(ref: PartitionRef): Promise<Namespace>;
  /** The default namespace, "", is always there. */
  listNamespaces(ref: IndexRef, options: PageOptions): Promise<Page<Namespace>>;
  /** The default namespace is emptied. DELETION_PROTECTED when its index is. */
  deleteNamespace(ref: PartitionRef): Promise<{ lsn: number; deletedCount: number }>;

  /** Replaces each vector whole. Keys are distinct. */
  putVectors(ref: PartitionRef, vectors: readonly VectorInput[], options?: PutOptions): Promise<{ lsn: number }>;
  /** Throws ITEM_LIMIT when a put of these vectors would pass a quota now. */
  assertRoom(ref: PartitionRef, vectors: readonly VectorInput[]): Promise<void>;
  /** Absent keys are not matched. */
  updateVectors(
    ref: PartitionRef,
    update: Update,
    options: UpdateOptions,
  ): Promise<{ lsn: number; matchedCount: number; updatedCount: number }>;
  /** Absent keys are counted, not an error. Keys are distinct. */
  deleteVectors(
    ref: PartitionRef,
    selection: Selection,
    options?: WriteOptions,
  ): Promise<{ lsn: number; deletedCount: number; notFoundCount: number }>;
  /** In the order of the keys; absent ones are left out. */
  getVectors(
    ref: PartitionRef,
    keys: readonly string[],
    projection: Projection,
  ): Promise<{ vectors: readonly Vector[]; lsn: number }>;
  /** In ascending byte order of the keys' UTF-8. A page may be empty though more follow; `next` goes on after it. */
  listVectors(
    ref: PartitionRef,
    options: ListOptions,
  ): Promise<Page<Vector> & { lsn: number; next: string | undefined }>;
  /** Nearest first, equal distances by key. As many as match, up to topK; at most `pageSize` of them at once. */
  queryVectors(ref: PartitionRef, query: Query, options?: { readonly pageSize: number }): Promise<QueryAnswer>;
  /**
   * All at one lsn. A query that fails does not disturb the others. Once the answers carry `maxBytes` of keys, data,
   * sparse values and metadata, the queries after them fail with REQUEST_TOO_LARGE.
   */
  batchQueryVectors(
    ref: PartitionRef,
    queries: readonly Query[],
    options?: { readonly maxBytes: number },
  ): Promise<{ results: readonly BatchAnswer[]; lsn: number }>;
  measureRecall(ref: PartitionRef, options: MeasureRecallOptions): Promise<RecallMeasurement>;

  /** As of one lsn, in ascending byte order of the keys, in parts. Ends with an error when the index is deleted. */
  exportVectors(
    ref: PartitionRef,
    options: ExportOptions,
  ): AsyncIterable<{ readonly vectors: readonly Vector[]; readonly lsn: number }>;
  /**
   * Changes in the order of their lsn, without end. Resolves once the position is checked. The iterator fails with
   * WATCH_BEHIND when it is read too slowly; `return()` frees it.
   */
  watchVectors(ref: PartitionRef, options: WatchOptions): Promise<AsyncIterable<WatchEvent>>;

  readonly jobs: JobStore;
  readonly accessKeys: AccessKeyStore;

  /**
   * Copies everything while calls go on; resolves once the copy is complete and verified. It holds every write that was
   * acknowledged before the call. One at a time: a later call waits. The signal ends it, with its reason, and leaves nothing.
   */
  createBackup(options: { readonly displayName: string; readonly signal: AbortSignal }): Promise<Backup>;
  /** In the order of their creation. CORRUPTION names a backup whose manifest is damaged. */
  listBackups(options: PageOptions): Promise<Page<Backup>>;
  /** Reads everything that is stored, or what one index has stored, and compares every checksum, and graphs with records. */
  verify(options: { readonly ref: IndexRef | undefined; readonly signal: AbortSignal }): Promise<Verification>;

  /**
   * Waits for what is under way, then closes the store. Later calls fail with SHUTTING_DOWN. `withinMs`: how long it may
   * save at most what would speed the next start up; default 10 s.
   */
  close(options?: { readonly withinMs?: number }): Promise<void>;
}
