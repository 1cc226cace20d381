import type { Metadata, Row } from "../data.ts";

/** Matches the vectors whose `field` has this value. */
export interface Equals {
  readonly field: keyof Metadata;
  readonly value: string | number;
}

export interface PeerQuery {
  readonly vector: Float32Array;
  readonly topK: number;
  /** Candidates that the search keeps, where the store has such an option. */
  readonly efSearch: number;
  readonly filter?: Equals | undefined;
}

export interface PeerOptions {
  readonly dimension: number;
  readonly metric: "cosine" | "euclidean";
  /** An empty directory, for everything that it writes. */
  readonly directory: string;
}

/**
 * Another vector store, of which the same is asked as of Quiver: one collection of vectors under string keys with the
 * metadata of data.ts, indexed by HNSW with M = 16 and ef_construction = 200, in its usual durable settings.
 */
export interface Peer {
  /** With its version: `pgvector 0.8.0 (PostgreSQL 17.6)`. */
  readonly name: string;
  /** The candidates of all its searches, where a query cannot choose them. */
  readonly efSearchAlways?: number;
  /** Resolves when the rows are stored for good, and queries find them. */
  insert(rows: readonly Row[]): Promise<void>;
  /** Resolves when every row is in the index. */
  complete(): Promise<void>;
  /** Keys, nearest first. */
  query(query: PeerQuery): Promise<readonly string[]>;
  /** How many of the keys are there, with data and metadata. */
  get(keys: readonly string[]): Promise<number>;
  /** Keys in their order, from the first one after `after`. */
  list(after: string, count: number): Promise<readonly string[]>;
  /** Seconds of processor time that its own processes have taken, besides this one. */
  processorSeconds(): number;
  /** Bytes on disk. */
  diskBytes(): Promise<number>;
  /** Stops its processes; the directory may be removed then. */
  close(): Promise<void>;
}

/** Opens a peer. Rejects with a sentence that says why when this machine cannot have it. */
export type OpenPeer = (options: PeerOptions) => Promise<Peer>;
