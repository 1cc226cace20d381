/**
 * The HNSW half of the native addon: the vectors of one partition, each named by an ordinal. A vector that was added
 * stands in the unindexed tail, which every search scans exactly, until `build` moves it into the HNSW graph (Malkov and
 * Yashunin, arXiv:1603.09320, as implemented by hnswlib). A search sees every vector whose `add` returned before it.
 *
 * Mechanisms only: when to build, which strategy to search with and what an ordinal means is decided in
 * src/engine/embedded. Wrong arguments are an Error with `code` "INVALID_ARGUMENT", never a crash; a method called after
 * `dispose` fails with "DISPOSED"; a damaged file gives "CORRUPTION"; memory that cannot be had gives "OUT_OF_MEMORY".
 */
import { addon } from "./addon.ts";

export type Metric = "cosine" | "euclidean" | "dot_product";

export type GraphErrorCode = "INVALID_ARGUMENT" | "DISPOSED" | "CORRUPTION" | "IO_ERROR" | "OUT_OF_MEMORY";

/** The error of every failure in this half. */
export interface GraphError extends Error {
  readonly code: GraphErrorCode;
}

export interface GraphOptions {
  /** Values per vector, 1 to 20,000. */
  dimension: number;
  /**
   * cosine: 1 - cos, in [0, 2]; vectors are normalised when they are added. euclidean: the L2 norm of the difference.
   * dot_product: minus the inner product.
   */
  metric: Metric;
  /** Neighbors per node and level above 0 (twice that on level 0), 2 to 256. Default 16. */
  m?: number;
  /** Candidates while building, 8 to 4,096. Default 200. */
  efConstruction?: number;
  /** Seed of the level generator. Default 100. */
  seed?: number;
}

export interface SearchOptions {
  /**
   * Results per query, 1 to 20,000, and at most 10,000,000 for all queries of a call. Fewer come back only when fewer
   * vectors are eligible.
   */
  k: number;
  /**
   * Candidates kept during the graph search; raised to k where smaller. 1 to 100,000. Default 64. Ignored when `exact`.
   */
  efSearch?: number;
  /** Compare every eligible vector instead of walking the graph. Default false. */
  exact?: boolean;
  /** A bitmap: only ordinals whose bit is set (word ordinal >> 5, bit ordinal & 31) are eligible. Beyond its end: not set. */
  allowed?: Uint32Array;
  /**
   * An ordinal for each query, which is answered as if that vector were not there: the walk does not go through it
   * either, as it does not for a query that is not stored. Ordinals that are not held are passed over.
   */
  without?: Uint32Array;
  /**
   * Most vectors that the walk through level 0 of the graph may visit per query, 1 to 2^32 - 1; a query that needs more is
   * answered by the exact scan instead. Default: no budget.
   */
  visitBudget?: number;
}

/**
 * Results of all queries, one after the other; within one query nearest first, equal distances by ascending ordinal. All
 * arrays are views of one buffer.
 */
export interface SearchResults {
  /** How many results each query has. */
  readonly counts: Uint32Array;
  readonly ordinals: Uint32Array;
  readonly distances: Float32Array;
  /** Distances computed for each query. */
  readonly compared: Uint32Array;
  /**
   * 1 where the query was answered by the exact scan: asked for, or because the walk spent its visit budget or found fewer
   * than k.
   */
  readonly exact: Uint8Array;
}

export interface GraphStats {
  /** Live vectors in the graph. */
  readonly indexed: number;
  /** Live vectors in the unindexed tail. */
  readonly unindexed: number;
  /** Vectors marked deleted that still take space in the graph. */
  readonly deleted: number;
  /** Bytes held for vector data (graph and tail). */
  readonly vectorBytes: number;
  /** Bytes held for links, labels and look-up tables. */
  readonly graphBytes: number;
}

export interface Graph {
  /**
   * Adds vectors to the unindexed tail (copied; `vectors.length` = ordinals.length * dimension, every value finite, norm
   * above 0 for cosine, ordinals new and distinct, below 2^32 - 1). All or nothing. Synchronous: a copy.
   */
  add(ordinals: Uint32Array, vectors: Float32Array): void;
  /**
   * Takes vectors away: those in the tail are freed, those in the graph are marked deleted. Unknown ordinals are an error
   * and nothing is removed. Synchronous.
   */
  remove(ordinals: Uint32Array): void;
  /**
   * Moves up to `max` vectors (1 to 1,000,000) from the tail into the graph, oldest first, on `threads` (1 to 256,
   * default: all cores), in slices of a few milliseconds between which searches run. Resolves to how many were moved.
   * One build at a time; a second call waits for the first. `dispose` ends a build early.
   */
  build(max: number, threads?: number): Promise<number>;
  /** Searches for each of queries.length / dimension queries (1 to 10,000) on the search pool. */
  search(queries: Float32Array, options: SearchOptions): Promise<SearchResults>;
  /**
   * The same on the calling thread, for short searches: to hand one over to another thread costs some 0.1 ms of processor
   * time. After 2 ms it goes on on the search pool, where it also begins while vectors are moved into the graph; it
   * answers without a promise when it has ended before that.
   */
  searchHere(queries: Float32Array, options: SearchOptions): SearchResults | Promise<SearchResults>;
  /**
   * The distance between a query and the vector of each ordinal (at most 10,000,000, in any order, also repeatedly), with
   * the numbers of an exact search; NaN where the ordinal is not held. On the search pool: what is removed before the
   * promise resolves may be NaN.
   */
  distances(query: Float32Array, ordinals: Uint32Array): Promise<Float32Array<ArrayBuffer>>;
  /** The vector of an ordinal as it is held (normalised for cosine), or undefined. Synchronous: a copy. */
  get(ordinal: number): Float32Array<ArrayBuffer> | undefined;
  stats(): GraphStats;
  /**
   * Writes graph and tail to a file (atomically: a temporary file, fsync, rename, fsync of the directory), with magic,
   * version, length and checksum. The file holds exactly the vectors of the moment of the call, whatever is added or removed
   * before the promise resolves. Searches go on meanwhile; builds wait. `dispose` ends it early: it rejects with DISPOSED,
   * and leaves no file.
   */
  save(path: string): Promise<void>;
  /** Frees the memory once running calls have ended. Disposing twice is fine. */
  dispose(): void;
}

/** An empty graph. */
export function createGraph(options: GraphOptions): Graph {
  return addon.createGraph(options);
}

/** Loads a saved graph; CORRUPTION when the file is damaged or was saved with another dimension, metric or m. */
export function loadGraph(path: string, options: GraphOptions): Promise<Graph> {
  return addon.loadGraph(path, options);
}
