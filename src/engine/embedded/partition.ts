import {
  createGraph,
  type Graph,
  type GraphOptions,
  type GraphStats,
  type SearchOptions,
} from "../../../native/hnsw.ts";

/** Below so many live vectors a partition has no graph: comparing all of them is faster. */
const GRAPH_VECTORS_MIN = 5_000;

const ORDINAL_MAX = 0xffff_fffe;

/** A vector as it is found in memory. */
export interface Found {
  readonly key: string;
  readonly version: number;
  readonly distance: number;
}

/**
 * One namespace of one index in memory: which ordinal stands for which key, at which version, and the vectors themselves
 * in the native graph and its unindexed tail. An overwrite takes a new ordinal. Ordinals are assigned anew at every
 * start and stand in no file, so they never run out in a store that lives long.
 */
export class Partition {
  readonly namespace: string;
  /** True once the store holds a record of the namespace. */
  recorded = false;
  readonly #graph: Graph;
  readonly #dimension: number;
  readonly #ordinals = new Map<string, number>();
  #keys: (string | undefined)[] = [];
  #versions = new Float64Array(64);
  #keyBytes = 0;
  #disposed = false;
  #removals = 0;
  #writing = 0;
  #pause: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  readonly #pending = new Map<string, { present: boolean }>();

  constructor(namespace: string, options: GraphOptions) {
    this.namespace = namespace;
    this.#graph = createGraph(options);
    this.#dimension = options.dimension;
  }

  /** Live vectors. */
  get size(): number {
    return this.#ordinals.size;
  }

  /** UTF-8 bytes of the keys. */
  get keyBytes(): number {
    return this.#keyBytes;
  }

  /** Grows with every overwrite and delete: a search during which it stayed the same saw one state. */
  get removals(): number {
    return this.#removals;
  }

  stats(): GraphStats {
    return this.#graph.stats();
  }

  /** True while vectors wait to be moved into the graph. */
  get wantsGraph(): boolean {
    return !this.#disposed && this.size >= GRAPH_VECTORS_MIN && this.stats().unindexed > 0;
  }

  /** Bytes of the vectors that are not in the graph yet. */
  get tailBytes(): number {
    return this.#disposed ? 0 : this.stats().unindexed * this.#dimension * Float32Array.BYTES_PER_ELEMENT;
  }

  /** Moves up to `max` vectors from the unindexed tail into the graph. */
  buildGraph(max: number): Promise<number> {
    return this.#graph.build(max);
  }

  /** Makes vectors visible. `data` holds them one after the other. */
  put(keys: readonly string[], data: Float32Array, versionOf: (i: number) => number): void {
    const first = this.#keys.length;
    if (first + keys.length > ORDINAL_MAX) throw new Error("Ordinals of a partition ran out; restart the server");
    const ordinals = Uint32Array.from(keys, (_, i) => first + i);
    this.#graph.add(ordinals, data);
    this.#reserveVersions(first + keys.length);
    const replaced: number[] = [];
    keys.forEach((key, i) => {
      const old = this.#ordinals.get(key);
      if (old === undefined) this.#keyBytes += Buffer.byteLength(key);
      else replaced.push(this.#retire(old));
      this.#ordinals.set(key, first + i);
      this.#keys.push(key);
      this.#versions[first + i] = versionOf(i);
    });
    this.#remove(replaced);
  }

  /** Makes vectors invisible; absent keys are passed over. */
  delete(keys: readonly string[]): void {
    const removed: number[] = [];
    for (const key of keys) {
      const ordinal = this.#ordinals.get(key);
      if (ordinal === undefined) continue;
      this.#ordinals.delete(key);
      this.#keyBytes -= Buffer.byteLength(key);
      removed.push(this.#retire(ordinal));
    }
    this.#remove(removed);
  }

  /** True when the key exists once every write that was handed to the store so far is applied. */
  willExist(key: string): boolean {
    return this.#pending.get(key)?.present ?? this.#ordinals.has(key);
  }

  /**
   * Runs a write of this partition, which calls `pending` in the turn in which it hands its batch over: the keys that it
   * puts (`present`) or deletes.
   */
  async write<T>(write: (pending: (keys: readonly string[], present: boolean) => void) => Promise<T>): Promise<T> {
    while (this.#pause) await this.#pause;
    this.#writing++;
    const mine = new Map<string, { present: boolean }>();
    try {
      return await write((keys, present) => {
        for (const key of keys) {
          const entry = { present };
          mine.set(key, entry);
          this.#pending.set(key, entry);
        }
      });
    } finally {
      for (const [key, entry] of mine) if (this.#pending.get(key) === entry) this.#pending.delete(key);
      if (--this.#writing === 0) this.#onIdle?.();
    }
  }

  /** Runs `read` while no write of this partition is under way; later writes wait for it. */
  async withoutWrites<T>(read: () => Promise<T>): Promise<T> {
    while (this.#pause) await this.#pause;
    const pause = Promise.withResolvers<void>();
    this.#pause = pause.promise;
    try {
      if (this.#writing > 0) {
        const idle = Promise.withResolvers<void>();
        this.#onIdle = idle.resolve;
        await idle.promise;
      }
      return await read();
    } finally {
      this.#onIdle = undefined;
      this.#pause = undefined;
      pause.resolve();
    }
  }

  /** Nearest first. Vectors that went away while the search ran are left out: see `removals`. */
  async search(
    query: Float32Array,
    options: SearchOptions,
  ): Promise<{ found: Found[]; compared: number; exact: boolean }> {
    const results = await this.#graph.search(query, options);
    const found: Found[] = [];
    results.ordinals.forEach((ordinal, i) => {
      const key = this.#keys[ordinal];
      if (key === undefined) return;
      found.push({ key, version: this.#versions[ordinal] ?? 0, distance: results.distances[i] ?? 0 });
    });
    return { found, compared: results.compared[0] ?? 0, exact: results.exact[0] === 1 };
  }

  /** Frees the memory; searches and builds under way end with an error. */
  dispose(): void {
    this.#disposed = true;
    this.#graph.dispose();
  }

  #retire(ordinal: number): number {
    this.#keys[ordinal] = undefined;
    return ordinal;
  }

  #remove(ordinals: readonly number[]): void {
    if (ordinals.length === 0) return;
    this.#removals++;
    this.#graph.remove(Uint32Array.from(ordinals));
  }

  #reserveVersions(length: number): void {
    if (length <= this.#versions.length) return;
    const versions = new Float64Array(Math.max(length, this.#versions.length * 2));
    versions.set(this.#versions);
    this.#versions = versions;
  }
}
