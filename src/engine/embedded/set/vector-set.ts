import {
  createGraph,
  type Graph,
  type GraphOptions,
  type GraphStats,
  type SearchOptions,
} from "../../../../native/hnsw.ts";
import { clearBit, hasBit, intersect, ordinalsOf, setBit, wordsFor } from "../../../filter/bitmap.ts";
import type { Filter } from "../../../filter/filter.ts";
import type { DistanceMetric, Metadata, SparseData, VectorInput } from "../../engine.ts";
import { bytesOfSparse } from "../layout.ts";
import { MetadataIndex } from "../metadata/metadata-index.ts";
import { RecallMonitor } from "../recall/recall-monitor.ts";
import { SparseIndex } from "../sparse/sparse-index.ts";

/** Below so many live vectors a set has no graph: comparing all of them is faster. */
export const GRAPH_VECTORS_MIN = 5_000;

/** A set is built anew once it has this share of dead ordinals, and at least so many of them. */
const DEAD_SHARE_MAX = 1 / 3;
const DEAD_MIN = 2_000;

const ORDINAL_MAX = 0xffff_fffe;

/** Memory for what is held per key beside its bytes: its entry in the map, and the slots of its ordinal. */
const KEY_OVERHEAD_BYTES = 64;

export interface VectorSetOptions extends GraphOptions {
  readonly nonFilterableKeys: readonly string[];
  /** Picks what recall is measured with: in [0, 1). Default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** A vector that is stored, as memory needs it. */
export interface HeldVector extends Omit<VectorInput, "ifVersion"> {
  readonly version: number;
  /** Of its key, data, sparse values and metadata, as quotas count them. */
  readonly bytes: number;
}

export interface MetadataChange {
  readonly before: Metadata;
  readonly after: Metadata;
  readonly version: number;
  /** Bytes of the metadata after, less those before. */
  readonly grownBy: number;
}

export interface LoadedMetadata {
  readonly metadata: Metadata;
  readonly version: number;
  readonly bytes: number;
}

/** Which ordinal of a set stands for which key, at which version. */
export interface KeyTable {
  /** By ordinal; undefined for a dead one. */
  readonly keys: readonly (string | undefined)[];
  /** By ordinal; without meaning for a dead one. */
  readonly versions: Float64Array;
  /** Bitmap of the live ordinals that have data. */
  readonly withData: Uint32Array;
}

/** A vector that a search found. */
export interface Found {
  readonly key: string;
  readonly version: number;
  readonly distance: number;
}

/** What a native search found for one query. */
export interface DenseFound {
  readonly found: Found[];
  readonly compared: number;
  /** True when every eligible vector was compared. */
  readonly exact: boolean;
}

/**
 * The vectors of one namespace in memory: which ordinal stands for which key, at which version, and what searches them.
 * An overwrite takes a new ordinal, a delete leaves its ordinal dead; a new set, built from the store, leaves the dead
 * behind. Ordinals stand in no record of the store, and in a file only beside the graph that they number.
 */
export class VectorSet {
  readonly dimension: number;
  readonly metric: DistanceMetric;
  /** What its graph finds at which price. */
  readonly recall: RecallMonitor;
  readonly m: number | undefined;
  readonly efConstruction: number | undefined;
  readonly #graph: Graph;
  readonly #metadata: MetadataIndex;
  /** Only dot_product allows sparse values. */
  readonly #sparse: SparseIndex | undefined;
  /** Nodes of its graph, dead ones too, that stand in the file that is its saved graph; 0 when there is none. */
  savedNodes = 0;
  readonly #ordinals = new Map<string, number>();
  readonly #keys: (string | undefined)[] = [];
  #versions = new Float64Array(64);
  #sizes = new Uint32Array(64);
  #live = new Uint32Array(2);
  #withData = new Uint32Array(2);
  #keyBytes = 0;
  #bytes = 0;
  #changes = 0;
  #removals = 0;
  #disposed = false;

  constructor({ nonFilterableKeys, random, ...options }: VectorSetOptions, graph: Graph = createGraph(options)) {
    this.dimension = options.dimension;
    this.metric = options.metric;
    this.#graph = graph;
    this.recall = new RecallMonitor(this, random && { random });
    this.m = options.m;
    this.efConstruction = options.efConstruction;
    this.#metadata = new MetadataIndex(nonFilterableKeys);
    this.#sparse = options.metric === "dot_product" ? new SparseIndex() : undefined;
  }

  /** A set over a saved graph, without its keys, which `adoptKeys` gives it; `SetRestorer` gives it all else. */
  static over(graph: Graph, { versions, withData }: Omit<KeyTable, "keys">, options: VectorSetOptions): VectorSet {
    const set = new VectorSet(options, graph);
    set.#reserve(versions.length);
    set.#versions.set(versions);
    set.#withData.set(withData);
    set.savedNodes = set.nodes;
    return set;
  }

  /** The keys of the next ordinals; undefined for a dead one. */
  adoptKeys(keys: readonly (string | undefined)[]): void {
    const dataBytes = this.dimension * Float32Array.BYTES_PER_ELEMENT;
    for (const key of keys) {
      const ordinal = this.#keys.push(key) - 1;
      if (key === undefined) continue;
      this.#ordinals.set(key, ordinal);
      setBit(this.#live, ordinal);
      const keyBytes = Buffer.byteLength(key);
      this.#keyBytes += keyBytes;
      this.#resize(ordinal, keyBytes + (hasBit(this.#withData, ordinal) ? dataBytes : 0));
    }
  }

  /** Live vectors. */
  get size(): number {
    return this.#ordinals.size;
  }

  /** Bytes of the live keys. */
  get keyBytes(): number {
    return this.#keyBytes;
  }

  /** Bytes of keys, data, sparse values and metadata of the live vectors, as quotas count them. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Grows with every write: reads during which it stayed the same saw one state. */
  get changes(): number {
    return this.#changes;
  }

  /** Grows with every overwrite, delete and change of metadata: one search during which it stayed the same saw one state. */
  get removals(): number {
    return this.#removals;
  }

  get sparse(): SparseIndex | undefined {
    return this.#sparse;
  }

  /** The bitmap of live ordinals: a view, valid until the next write. */
  get live(): Uint32Array {
    return this.#live;
  }

  /** The bitmap of ordinals, dead ones too, that have data: a view, valid until the next write. */
  get withData(): Uint32Array {
    return this.#withData;
  }

  /** True when it has no graph yet, and would build it with other parameters than these. */
  isOutdated({ m, efConstruction }: VectorSetOptions): boolean {
    const isOther = m !== this.m || efConstruction !== this.efConstruction;
    return isOther && !this.#disposed && this.graphStats.indexed === 0;
  }

  get graphStats(): GraphStats {
    return this.#graph.stats();
  }

  /** Nodes of its graph, dead ones too: what was built so far. */
  get nodes(): number {
    const { indexed, deleted } = this.graphStats;
    return indexed + deleted;
  }

  /** A copy of what a saved graph needs beside it. */
  copyKeys(): KeyTable {
    const length = this.#keys.length;
    const withData = this.#withData.slice(0, wordsFor(length));
    intersect(withData, this.#live);
    return { keys: this.#keys.slice(), versions: this.#versions.slice(0, length), withData };
  }

  /** Bytes of memory by what they hold. */
  get memory(): { vectors: number; graph: number; keys: number; metadata: number } {
    const { vectorBytes, graphBytes } = this.graphStats;
    return {
      vectors: vectorBytes + (this.#sparse?.bytes ?? 0),
      graph: graphBytes,
      keys: this.#keyBytes + this.#keys.length * KEY_OVERHEAD_BYTES,
      metadata: this.#metadata.bytes,
    };
  }

  /** Bytes of memory that a new set of its live vectors takes, about. */
  get liveMemory(): number {
    const { vectors, graph, keys, metadata } = this.memory;
    return ((vectors + graph + keys + metadata) * this.size) / Math.max(1, this.#keys.length);
  }

  /** Ordinals of vectors that were deleted or overwritten. */
  get dead(): number {
    return this.#keys.length - this.size;
  }

  /** True when so much of it is dead that a new set is worth its work. */
  get isWorn(): boolean {
    return this.dead >= DEAD_MIN && this.dead > this.#keys.length * DEAD_SHARE_MAX;
  }

  /** True while vectors wait to be moved into the graph. */
  get wantsGraph(): boolean {
    return !this.#disposed && this.size >= GRAPH_VECTORS_MIN && this.graphStats.unindexed > 0;
  }

  /** Bytes of the vectors that are not in the graph yet. */
  get tailBytes(): number {
    return this.#disposed ? 0 : this.graphStats.unindexed * this.dimension * Float32Array.BYTES_PER_ELEMENT;
  }

  /** Moves up to `max` vectors from the unindexed tail into the graph. */
  async build(max: number): Promise<number> {
    const moved = await this.#graph.build(max);
    this.recall.notice();
    return moved;
  }

  has(key: string): boolean {
    return this.#ordinals.has(key);
  }

  ordinalOf(key: string): number | undefined {
    return this.#ordinals.get(key);
  }

  /** The keys of a bitmap's live ordinals, in any order. */
  keysOf(bitmap: Uint32Array): string[] {
    return Array.from(ordinalsOf(bitmap), (ordinal) => this.#keys[ordinal]).filter((key) => key !== undefined);
  }

  /** 0 when the key is absent. */
  versionOf(key: string): number {
    const ordinal = this.#ordinals.get(key);
    return ordinal === undefined ? 0 : this.versionAt(ordinal);
  }

  /** Of a live ordinal. */
  versionAt(ordinal: number): number {
    return this.#versions[ordinal] ?? 0;
  }

  /** Its share of `bytes`; 0 when the key is absent. */
  bytesOf(key: string): number {
    const ordinal = this.#ordinals.get(key);
    return ordinal === undefined ? 0 : (this.#sizes[ordinal] ?? 0);
  }

  keys(): IterableIterator<string> {
    return this.#ordinals.keys();
  }

  /** The data of a live vector as searches compare it (normalised for cosine); undefined when it has none. */
  dataOf(ordinal: number): Float32Array | undefined {
    return this.#graph.get(ordinal);
  }

  /** Makes vectors visible, each replacing what its key stood for. All or nothing. */
  put(vectors: readonly HeldVector[]): void {
    const first = this.#keys.length;
    if (first + vectors.length > ORDINAL_MAX) throw new Error("Ordinals of a namespace ran out; restart the server");
    this.#reserve(first + vectors.length);
    this.#addToGraph(first, vectors);
    const replaced: number[] = [];
    for (const [i, vector] of vectors.entries()) {
      const old = this.#ordinals.get(vector.key);
      if (old !== undefined) replaced.push(old);
      this.#keyBytes += Buffer.byteLength(vector.key);
      this.#hold(first + i, vector);
    }
    this.#retire(replaced);
    this.#changes++;
  }

  /** Replaces a vector's metadata; an absent key is passed over. */
  setMetadata(key: string, { before, after, version, grownBy }: MetadataChange): void {
    const ordinal = this.#ordinals.get(key);
    if (ordinal === undefined) return;
    this.#metadata.remove(ordinal, before);
    this.#complete(ordinal, { metadata: after, version, grownBy });
    this.#changes++;
    this.#removals++;
  }

  /** Adds what a vector that was put without metadata has: loading reads data and metadata apart. */
  completeMetadata(key: string, loaded: LoadedMetadata): void {
    const ordinal = this.#ordinals.get(key);
    if (ordinal !== undefined) this.completeAt(ordinal, loaded);
  }

  /** The same for the vector of a live ordinal. */
  completeAt(ordinal: number, { metadata, version, bytes }: LoadedMetadata): void {
    this.#complete(ordinal, { metadata, version, grownBy: bytes });
  }

  /** Adds sparse values to a vector that was put without; loading reads them apart. */
  completeSparse(key: string, sparse: SparseData): void {
    const ordinal = this.#ordinals.get(key);
    if (ordinal === undefined) return;
    this.#sparse?.add(ordinal, sparse);
    this.#resize(ordinal, (this.#sizes[ordinal] ?? 0) + bytesOfSparse(sparse));
  }

  /** Makes vectors invisible; absent keys are passed over. */
  delete(keys: Iterable<string>): void {
    const removed: number[] = [];
    for (const key of keys) {
      const ordinal = this.#ordinals.get(key);
      if (ordinal === undefined) continue;
      this.#ordinals.delete(key);
      removed.push(ordinal);
    }
    this.#retire(removed);
    this.#changes++;
  }

  /** The live vectors that match, as a bitmap of ordinals. */
  select(filter: Filter): Uint32Array {
    return this.#metadata.select(filter, this.#live);
  }

  /**
   * Searches the data for queries that stand one after the other, each answer nearest first. Vectors that went away
   * meanwhile are left out: see `changes`. `isShort`: so that the event loop may do it itself.
   */
  async search(queries: Float32Array, options: SearchOptions, isShort: boolean): Promise<DenseFound[]> {
    const graph = this.#graph;
    const results = await (isShort ? graph.searchHere(queries, options) : graph.search(queries, options));
    let at = 0;
    return Array.from(results.counts, (count, query) => {
      const found: Found[] = [];
      for (const end = at + count; at < end; at++) {
        const each = this.found(results.ordinals[at] ?? ORDINAL_MAX, results.distances[at] ?? 0);
        if (each) found.push(each);
      }
      return { found, compared: results.compared[query] ?? 0, exact: results.exact[query] === 1 };
    });
  }

  /** The distance of each ordinal's data to the query; NaN for one that has no data. */
  distances(query: Float32Array, ordinals: Uint32Array): Promise<Float32Array> {
    return this.#graph.distances(query, ordinals);
  }

  /** An ordinal as searches answer it; undefined when it is dead. */
  found(ordinal: number, distance: number): Found | undefined {
    const key = this.#keys[ordinal];
    return key === undefined ? undefined : { key, version: this.#versions[ordinal] ?? 0, distance };
  }

  /** The native graph, for measurements. */
  get graph(): Graph {
    return this.#graph;
  }

  /** Frees the memory; searches and builds under way end with an error. */
  dispose(): void {
    this.#disposed = true;
    this.recall.close();
    this.#graph.dispose();
  }

  #addToGraph(first: number, vectors: readonly HeldVector[]): void {
    const dense = [...vectors.entries()].filter(([, { data }]) => data !== undefined);
    const all = new Float32Array(dense.length * this.dimension);
    for (const [i, [, { data }]] of dense.entries()) all.set(data as Float32Array, i * this.dimension);
    this.#graph.add(
      Uint32Array.from(dense, ([i]) => first + i),
      all,
    );
  }

  #hold(ordinal: number, { key, version, data, sparse, metadata, bytes }: HeldVector): void {
    this.#ordinals.set(key, ordinal);
    this.#keys.push(key);
    this.#versions[ordinal] = version;
    setBit(this.#live, ordinal);
    if (data) setBit(this.#withData, ordinal);
    if (sparse) this.#sparse?.add(ordinal, sparse);
    this.#metadata.add(ordinal, metadata);
    this.#resize(ordinal, bytes);
  }

  #complete(ordinal: number, { metadata, version, grownBy }: { metadata: Metadata; version: number; grownBy: number }) {
    this.#versions[ordinal] = version;
    this.#metadata.add(ordinal, metadata);
    this.#resize(ordinal, (this.#sizes[ordinal] ?? 0) + grownBy);
  }

  #retire(ordinals: readonly number[]): void {
    if (ordinals.length === 0) return;
    this.#removals++;
    const inGraph: number[] = [];
    for (const ordinal of ordinals) {
      this.#keyBytes -= Buffer.byteLength(this.#keys[ordinal] ?? "");
      this.#keys[ordinal] = undefined;
      clearBit(this.#live, ordinal);
      this.#resize(ordinal, 0);
      if (hasBit(this.#withData, ordinal)) inGraph.push(ordinal);
    }
    this.#graph.remove(Uint32Array.from(inGraph));
    this.recall.notice();
  }

  #resize(ordinal: number, bytes: number): void {
    this.#bytes += bytes - (this.#sizes[ordinal] ?? 0);
    this.#sizes[ordinal] = bytes;
  }

  #reserve(length: number): void {
    if (length <= this.#versions.length) return;
    const capacity = Math.max(length, this.#versions.length * 2);
    this.#versions = grown(this.#versions, new Float64Array(capacity));
    this.#sizes = grown(this.#sizes, new Uint32Array(capacity));
    this.#live = grown(this.#live, new Uint32Array(wordsFor(capacity)));
    this.#withData = grown(this.#withData, new Uint32Array(wordsFor(capacity)));
  }
}

function grown<Numbers extends Uint32Array | Float64Array>(from: Numbers, to: Numbers): Numbers {
  to.set(from);
  return to;
}
