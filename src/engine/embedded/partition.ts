import type { SavedGraphs } from "./set/saved-graphs.ts";
import { SetLoader } from "./set/set-loader.ts";
import { SetRestorer } from "./set/set-restorer.ts";
import {
  GRAPH_VECTORS_MIN,
  type HeldVector,
  type MetadataChange,
  VectorSet,
  type VectorSetOptions,
} from "./set/vector-set.ts";

/** Vectors that a new set's graph may lack more than the old one's when it takes its place. */
const LATE_VECTORS = 1_000;

export interface PartitionOptions {
  readonly namespace: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** What a set that is made now is built with. */
  readonly settings: () => VectorSetOptions;
  /** Loads what is stored, as of the moment of the call; ends early when the loader is abandoned. */
  readonly load: (loader: SetLoader) => Promise<void>;
  readonly saved: SavedGraphs;
}

/**
 * One namespace of one index in memory: the set of its vectors, the one that will replace it when too much of it is
 * dead, and the order of its writes.
 */
export class Partition {
  readonly namespace: string;
  readonly createdAt: number;
  /** True once the store holds a record of the namespace. */
  recorded = false;
  readonly #settings: () => VectorSetOptions;
  readonly #load: (loader: SetLoader) => Promise<void>;
  readonly #saved: SavedGraphs;
  #set: VectorSet;
  #next: SetLoader | undefined;
  #disposed = false;
  #writing = 0;
  #pause: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  /** The writes under way of each key, oldest first. */
  readonly #pending = new Map<string, { readonly present: boolean }[]>();

  constructor({ namespace, createdAt, settings, load, saved }: PartitionOptions) {
    this.namespace = namespace;
    this.createdAt = createdAt;
    this.#settings = settings;
    this.#load = load;
    this.#saved = saved;
    this.#set = new VectorSet(settings());
  }

  /** The vectors; another object after the set was built anew. */
  get set(): VectorSet {
    return this.#set;
  }

  /** True once the namespace is deleted, or its index closed. */
  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** True while a write is under way, or other work that holds writes back. */
  get isWriting(): boolean {
    return this.#writing > 0 || this.#pause !== undefined;
  }

  /** True while vectors wait to be moved into a graph. */
  get wantsGraph(): boolean {
    return !this.#disposed && (this.#next?.isLoaded === true || this.#set.wantsGraph);
  }

  /** True while the set should be built anew: without its dead, or with parameters that were changed before it had a graph. */
  get wantsRebuild(): boolean {
    if (this.#disposed || this.#next !== undefined) return false;
    return this.#set.isWorn || this.#set.isOutdated(this.#settings());
  }

  /** Nodes that were built and would have to be built again at the next start; 0 while the set is built anew. */
  get unsavedNodes(): number {
    if (this.#disposed || this.#next || this.#set.size < GRAPH_VECTORS_MIN) return 0;
    return this.#set.nodes - this.#set.savedNodes;
  }

  /** True when there is a saved graph, though the set has none any more. */
  get hasStaleGraph(): boolean {
    return !this.#disposed && this.#saved.has(this.namespace) && this.#set.nodes === 0;
  }

  /**
   * Saves the graph with its keys, unless another set takes its place meanwhile. `lsn` is asked in the turn of which the
   * state is saved, `isWanted` before the saved graph takes the place of the one before.
   */
  async save(lsn: () => number, isWanted: () => boolean): Promise<void> {
    const set = this.#set;
    const isThere = () => !this.#disposed && this.#set === set;
    try {
      await this.#saved.save(this.namespace, () => ({ set, lsn: lsn() }), { isWanted: () => isThere() && isWanted() });
    } catch (error) {
      if (isThere()) throw error;
    }
  }

  removeSaved(): Promise<void> {
    return this.#saved.remove(this.namespace);
  }

  /**
   * Puts the set of the saved graph in the place of the first one, when there is one that can be used. It has no metadata
   * and no sparse values yet; `discardSaved` takes it away again. `assertLoadable` refuses so many bytes more of memory.
   */
  async restore(assertLoadable: (bytes: number) => Promise<void>): Promise<SetRestorer | undefined> {
    const saved = await this.#saved.load(this.namespace, this.#settings(), assertLoadable);
    if (!saved) return undefined;
    if (this.#disposed) {
      saved.set.dispose();
      return undefined;
    }
    this.#replace(saved.set);
    return new SetRestorer(saved.set, saved.lsn);
  }

  /** Goes back to an empty set: what was restored cannot be used, for this reason. */
  async discardSaved(reason: unknown): Promise<void> {
    this.#replace(new VectorSet(this.#settings()));
    await this.#saved.discard(this.namespace, reason);
  }

  /** Bytes of the vectors that are not in the graph yet. */
  get tailBytes(): number {
    return this.#set.tailBytes;
  }

  /** Moves up to `max` vectors into a graph: that of the next set, if there is one, which then takes its place. */
  async buildGraph(max: number): Promise<void> {
    const next = this.#next;
    if (!next?.isLoaded) {
      await this.#set.build(max);
      return;
    }
    if (next.set.wantsGraph) await next.set.build(max);
    const late = next.set.wantsGraph ? next.set.graphStats.unindexed : 0;
    if (this.#next !== next || late > this.#set.graphStats.unindexed + LATE_VECTORS) return;
    this.#next = undefined;
    this.#replace(next.set);
  }

  /** Loads a new set from the store; `buildGraph` then completes it. Writes go on meanwhile. */
  async rebuild(): Promise<void> {
    const next = new SetLoader(new VectorSet(this.#settings()));
    next.set.recall.model.inherit(this.#set.recall.model);
    this.#next = next;
    try {
      await this.#load(next);
      if (!next.isAbandoned) next.finish();
    } catch (error) {
      if (this.#next === next) this.#next = undefined;
      if (next.isAbandoned) return;
      next.abandon();
      throw error;
    }
  }

  put(vectors: readonly HeldVector[]): void {
    this.#set.put(vectors);
    this.#next?.put(vectors);
  }

  delete(keys: readonly string[]): void {
    this.#set.delete(keys);
    this.#next?.delete(keys);
  }

  /** `bytes`: of the metadata after the change. */
  setMetadata(key: string, change: MetadataChange, bytes: number): void {
    this.#set.setMetadata(key, change);
    this.#next?.setMetadata(key, change, bytes);
  }

  /** Takes all vectors away and gives their memory back. */
  clear(): void {
    this.#next?.abandon();
    this.#next = undefined;
    this.#replace(new VectorSet(this.#settings()));
  }

  /** True when the key exists once every write that was handed to the store so far is applied. */
  willExist(key: string): boolean {
    return this.#pending.get(key)?.at(-1)?.present ?? this.#set.has(key);
  }

  /** True when the key may be absent when a write that is handed over now is applied. */
  mayBeAbsent(key: string): boolean {
    return !this.#set.has(key) || this.#pending.get(key)?.some(({ present }) => !present) === true;
  }

  /** Bytes that a write of the key which is handed over now certainly replaces: none while others may shrink it before. */
  replacedBytes(key: string): number {
    return this.#pending.has(key) ? 0 : this.#set.bytesOf(key);
  }

  /** True when the store may hold records of the key, whatever becomes of the writes under way. */
  mayExist(key: string): boolean {
    return this.#set.has(key) || this.#pending.has(key);
  }

  /**
   * Runs a write beside others, which calls `pending` in the turn in which it hands its batch over: the keys that it
   * puts (`present`) or deletes.
   */
  async write<T>(write: (pending: (keys: readonly string[], present: boolean) => void) => Promise<T>): Promise<T> {
    while (this.#pause) await this.#pause;
    this.#writing++;
    const mine: { readonly key: string; readonly entry: { readonly present: boolean } }[] = [];
    try {
      return await write((keys, present) => {
        for (const key of keys) {
          const entry = { present };
          const entries = this.#pending.get(key);
          if (entries) entries.push(entry);
          else this.#pending.set(key, [entry]);
          mine.push({ key, entry });
        }
      });
    } finally {
      // A write that is refused ends before those that were handed over earlier.
      for (const { key, entry } of mine) {
        const others = this.#pending.get(key)?.filter((each) => each !== entry) ?? [];
        if (others.length > 0) this.#pending.set(key, others);
        else this.#pending.delete(key);
      }
      if (--this.#writing === 0) this.#onIdle?.();
    }
  }

  /** Runs `work` while no other write of this partition is under way; later ones wait for it. */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    while (this.#pause) await this.#pause;
    const pause = Promise.withResolvers<void>();
    this.#pause = pause.promise;
    try {
      if (this.#writing > 0) {
        const idle = Promise.withResolvers<void>();
        this.#onIdle = idle.resolve;
        await idle.promise;
      }
      return await work();
    } finally {
      this.#onIdle = undefined;
      this.#pause = undefined;
      pause.resolve();
    }
  }

  /** Frees the memory; searches and builds under way end with an error. */
  dispose(): void {
    this.#disposed = true;
    this.#next?.abandon();
    this.#set.dispose();
  }

  #replace(set: VectorSet): void {
    this.#set.dispose();
    this.#set = set;
  }
}
