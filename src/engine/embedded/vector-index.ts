import { setTimeout } from "node:timers/promises";
import type { QuiverError } from "../../errors.ts";
import { countBits } from "../../filter/bitmap.ts";
import type { Filter } from "../../filter/filter.ts";
import { workTurns } from "../../work-turns.ts";
import type {
  BatchAnswer,
  ExportOptions,
  Index,
  IndexState,
  IndexStats,
  ListOptions,
  MeasureRecallOptions,
  Namespace,
  Projection,
  PutOptions,
  Query,
  QueryAnswer,
  RecallMeasurement,
  Selection,
  Update,
  UpdateOptions,
  VectorInput,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from "../engine.ts";
import type { IndexRecord } from "./catalog.ts";
import { ChangeLog } from "./changes/change-log.ts";
import type { ChangeBudget } from "./changes/change-ring.ts";
import type { Partition } from "./partition.ts";
import { namespaceNotFound, Partitions } from "./partitions.ts";
import { exportParts, type ListPage, listPage } from "./reads/listing.ts";
import { Queries } from "./reads/queries.ts";
import { measurePartition } from "./recall/measure.ts";
import { Records } from "./records.ts";
import type { GraphBuilder } from "./set/graph-builder.ts";
import type { SavedGraphs } from "./set/saved-graphs.ts";
import type { SetSaver } from "./set/set-saver.ts";
import { readFailed, type Store } from "./storage/store.ts";
import type { Usage } from "./usage.ts";
import type { Findings } from "./verify/findings.ts";
import { verifyIndex } from "./verify/verify-index.ts";
import { RememberedWrites } from "./writes/remembered-writes.ts";
import { PartitionGone, Writes } from "./writes/writes.ts";

/** When a filter matches no more, its vectors are listed key by key instead of reading the metadata of all. */
const CANDIDATES_MAX = 10_000;

/** Bytes that overwrites and deletes left on disk before the files are compacted, and their share of what lives. */
const GARBAGE_MIN = 16 * 1024 * 1024;
const GARBAGE_SHARE = 0.5;
const COMPACT_AGAIN_MS = 5_000;

export interface VectorIndexOptions {
  readonly record: IndexRecord;
  /** The number of the open column family. */
  readonly columnFamily: number;
  readonly store: Store;
  readonly builder: GraphBuilder;
  readonly saver: SetSaver;
  readonly saved: SavedGraphs;
  readonly usage: Usage;
  readonly changeBudget: ChangeBudget;
  /** As in EmbeddedEngineOptions. */
  readonly random: (() => number) | undefined;
  /** Hears why the stored vectors cannot be read; the index then fails every call. */
  readonly onLoadError: (error: QuiverError) => void;
}

/** One index: its column family, and its partitions in memory. */
export class VectorIndex {
  readonly columnFamily: number;
  readonly usage: Usage;
  #record: IndexRecord;
  #config: Index;
  readonly #store: Store;
  readonly #records: Records;
  readonly #changes: ChangeLog;
  readonly #writes: Writes;
  readonly #queries: Queries;
  readonly #builder: GraphBuilder;
  readonly #saver: SetSaver;
  readonly #saved: SavedGraphs;
  readonly #partitions: Partitions;
  readonly #loaded: Promise<void>;
  #garbage = 0;
  #compacting = false;
  #state: "loading" | "loaded" | "failed" = "loading";
  #gone: QuiverError | undefined;

  /** Starts loading what is stored; every operation waits for it. */
  constructor(options: VectorIndexOptions) {
    const { record, columnFamily, store, builder, saver, saved, usage, changeBudget, random, onLoadError } = options;
    this.#record = record;
    this.#config = configOf(record);
    this.columnFamily = columnFamily;
    this.usage = usage;
    this.#store = store;
    this.#builder = builder;
    this.#saver = saver;
    this.#saved = saved;
    const records = new Records(store.database, columnFamily, {
      allowsSparse: record.distanceMetric === "dot_product",
      assertLoadable: (bytes) => store.memory.assertLoadable(bytes),
      takeMemory: (bytes) => store.memory.process.take(bytes),
    });
    this.#records = records;
    this.#partitions = new Partitions({ records, config: () => this.#config, random, saved });
    this.#changes = new ChangeLog({
      store,
      columnFamily,
      budget: changeBudget,
      readVectors: (namespace, keys, projection) => records.get(namespace, keys, { projection }),
    });
    this.#writes = new Writes({
      store,
      records,
      changes: this.#changes,
      remembered: new RememberedWrites(store, columnFamily),
      usage,
      assertThere: () => this.#assertThere(),
      isGone: () => this.#gone !== undefined,
      onGarbage: (bytes) => this.#compactWhenDue(bytes),
    });
    this.#queries = new Queries({ store, records });
    this.#loaded = this.#load();
    usage.countUntil(this.#loaded);
    this.#loaded.catch((error: QuiverError) => {
      if (this.#gone) return;
      this.#state = "failed";
      onLoadError(error);
    });
  }

  get record(): IndexRecord {
    return this.#record;
  }

  get config(): Index {
    return this.#config;
  }

  /** Takes a changed record; graphs that stand keep the parameters that they were built with. */
  update(record: IndexRecord): void {
    this.#record = record;
    this.#config = configOf(record);
    if (this.#state !== "loaded") return;
    for (const partition of this.#partitions.all()) this.#builder.notice(partition);
  }

  get state(): IndexState {
    if (this.#state !== "loaded") return this.#state;
    return this.#partitions.all().some((partition) => partition.wantsGraph) ? "building" : "ready";
  }

  /** Bytes of memory by what they hold; nothing is waited for. */
  get memory(): { vectors: number; graph: number; keys: number; metadata: number } {
    const total = { vectors: 0, graph: 0, keys: 0, metadata: 0 };
    if (this.#gone || this.#state === "failed") return total;
    for (const { set } of this.#partitions.all()) {
      const { vectors, graph, keys, metadata } = set.memory;
      total.vectors += vectors;
      total.graph += graph;
      total.keys += keys;
      total.metadata += metadata;
    }
    return total;
  }

  async put(namespace: string, vectors: readonly VectorInput[], options: PutOptions): Promise<{ lsn: number }> {
    return this.#write(
      () => this.#partitions.getOrAdd(namespace),
      async (partition) => {
        await this.#builder.waitForRoom(partition);
        const bytes = bytesOfData(vectors);
        await this.#store.memory.makeRoom(bytes);
        await workTurns.next(bytes);
        return this.#writes.put(partition, vectors, options);
      },
    );
  }

  /** Throws ITEM_LIMIT when a put of these vectors would pass a quota now. */
  async assertRoom(namespace: string, vectors: readonly VectorInput[]): Promise<void> {
    await this.#ready();
    await this.usage.counted();
    this.#writes.assertRoom(this.#partitions.find(namespace), vectors);
  }

  updateVectors(namespace: string, update: Update, options: UpdateOptions) {
    return this.#write(
      () => this.#partitions.get(namespace),
      (partition) => this.#writes.update(partition, update, options),
    );
  }

  delete(namespace: string, selection: Selection, options: WriteOptions) {
    return this.#write(
      () => this.#partitions.get(namespace),
      (partition) => this.#writes.delete(partition, selection, options),
    );
  }

  createNamespace(namespace: string): Promise<Namespace> {
    return this.#write(
      () => this.#partitions.getOrAdd(namespace),
      async (partition) => {
        await this.#writes.createNamespace(partition);
        return namespaceOf(partition);
      },
    );
  }

  async getNamespace(namespace: string): Promise<Namespace> {
    await this.#ready();
    return namespaceOf(this.#partitions.get(namespace));
  }

  async namespaces(): Promise<Map<string, Namespace>> {
    await this.#ready();
    const recorded = this.#partitions.all().filter((partition) => partition.recorded);
    return new Map(recorded.map((partition) => [partition.namespace, namespaceOf(partition)]));
  }

  /** `assertAllowed` throws when a namespace that is there must stay. */
  deleteNamespace(namespace: string, assertAllowed: () => void): Promise<{ lsn: number; deletedCount: number }> {
    return this.#write(
      () => {
        const partition = this.#partitions.get(namespace);
        assertAllowed();
        return partition;
      },
      (partition) => {
        if (namespace === "") return this.#writes.delete(partition, { kind: "all" }, {});
        return this.#writes.deleteNamespace(partition, () => {
          this.#partitions.delete(namespace);
          this.#builder.forget(partition);
          partition.dispose();
          this.#saver.forget(partition);
        });
      },
    );
  }

  async get(namespace: string, keys: readonly string[], projection: Projection) {
    await this.#ready();
    this.#partitions.get(namespace);
    const snapshot = this.#store.database.snapshot();
    try {
      const [records, lsn] = await Promise.all([
        this.#records.get(namespace, keys, { projection, snapshot }),
        this.#store.lsnAt(snapshot),
      ]);
      return { vectors: records.filter((vector) => vector !== undefined), lsn };
    } catch (error) {
      throw readFailed(error);
    } finally {
      snapshot.release();
    }
  }

  async list(namespace: string, options: ListOptions): Promise<ListPage & { lsn: number }> {
    await this.#ready();
    const partition = this.#partitions.get(namespace);
    const { filter } = options;
    const begin = () => ({
      candidates: filter && candidatesOf(partition, filter),
      snapshot: this.#store.database.snapshot(),
    });
    // Memory and store show the same state only while no write is on its way from one to the other.
    const isBetween = filter !== undefined && partition.isWriting;
    const { candidates, snapshot } = isBetween ? await partition.exclusively(async () => begin()) : begin();
    try {
      const listing = { ...options, filter, namespace, snapshot, candidates };
      const [page, lsn] = await Promise.all([listPage(this.#records, listing), this.#store.lsnAt(snapshot)]);
      return { ...page, lsn };
    } catch (error) {
      throw readFailed(error);
    } finally {
      snapshot.release();
    }
  }

  async *export(namespace: string, options: ExportOptions) {
    await this.#ready();
    this.#partitions.get(namespace);
    const snapshot = this.#store.database.snapshot();
    try {
      const lsn = await this.#store.lsnAt(snapshot);
      let sent = 0;
      const listing = { ...options, namespace, snapshot, candidates: undefined };
      for await (const vectors of exportParts(this.#records, listing)) {
        sent += vectors.length;
        yield { vectors, lsn };
        this.#assertThere();
      }
      if (sent === 0) yield { vectors: [], lsn };
    } catch (error) {
      throw this.#gone ?? readFailed(error);
    } finally {
      snapshot.release();
    }
  }

  /** Also of a namespace that does not exist yet. */
  async watch(namespace: string, options: WatchOptions): Promise<AsyncIterable<WatchEvent>> {
    await this.#ready();
    return this.#changes.watch(namespace, options);
  }

  query(namespace: string, query: Query, pageSize: number): Promise<QueryAnswer> {
    return this.#search(namespace, (partition) => this.#queries.one(partition, query, pageSize));
  }

  batchQuery(
    namespace: string,
    queries: readonly Query[],
    maxBytes: number,
  ): Promise<{ results: readonly BatchAnswer[]; lsn: number }> {
    return this.#search(namespace, (partition) => this.#queries.many(partition, queries, maxBytes));
  }

  measureRecall(namespace: string, options: MeasureRecallOptions): Promise<RecallMeasurement> {
    return this.#search(namespace, (partition) => measurePartition(partition, options));
  }

  async stats(): Promise<IndexStats> {
    await this.#ready();
    const sets = [...this.#partitions.all()].map(({ set }) => ({ set, graph: set.graphStats, memory: set.memory }));
    const sum = (of: (part: (typeof sets)[number]) => number) => sets.reduce((total, part) => total + of(part), 0);
    const disk = this.#property("rocksdb.total-sst-files-size");
    const deadMemory = sum(({ graph: { indexed, deleted }, memory: { vectors, graph } }) =>
      deleted === 0 ? 0 : ((vectors + graph) * deleted) / (indexed + deleted),
    );
    return {
      state: this.state,
      vectorCount: sum(({ set }) => set.size),
      unindexedVectors: sum(({ graph }) => graph.unindexed),
      deletedVectors: sum(({ graph }) => graph.deleted),
      bytes: {
        vectors: sum(({ memory }) => memory.vectors),
        graph: sum(({ memory }) => memory.graph),
        keys: sum(({ memory }) => memory.keys),
        metadata: sum(({ memory }) => memory.metadata),
        disk,
        reclaimable: Math.round(deadMemory) + Math.min(this.#garbage, disk),
      },
      recall: sets.toSorted((a, b) => b.graph.indexed - a.graph.indexed)[0]?.set.recall.latest,
    };
  }

  /** What is loaded so far. */
  get partitions(): readonly Partition[] {
    return this.#state === "loaded" ? [...this.#partitions.all()] : [];
  }

  get saved(): SavedGraphs {
    return this.#saved;
  }

  /** Reads everything that is stored of it and compares it with memory, once that is loaded. */
  async verify(findings: Findings): Promise<void> {
    await findings.collect(() => this.#loaded, { index: this.#config });
    const check = {
      database: this.#store.database,
      columnFamily: this.columnFamily,
      config: this.#config,
      partitions: () => (this.#state === "loaded" ? [...this.#partitions.all()] : undefined),
      saved: this.#saved,
    };
    await findings
      .collect(() => verifyIndex(check, findings), { index: this.#config })
      .catch((error: unknown) => {
        // What was deleted meanwhile is not wrong.
        if (!this.#gone) throw error;
      });
  }

  /** Frees the memory; what still runs, or comes later, fails with `reason`. */
  dispose(reason: QuiverError): void {
    this.#gone = reason;
    this.#changes.dispose(reason);
    for (const partition of this.#partitions.all()) {
      this.#builder.forget(partition);
      partition.dispose();
    }
  }

  /** Runs a write, again when its namespace is deleted while it waits for its turn. */
  async #write<T>(find: () => Partition, write: (partition: Partition) => Promise<T>): Promise<T> {
    for (;;) {
      await this.#ready();
      await this.usage.counted();
      const partition = find();
      try {
        const answer = await write(partition);
        this.#builder.notice(partition);
        return answer;
      } catch (error) {
        this.#partitions.discardUnused(partition);
        if (!(error instanceof PartitionGone)) throw this.#gone ?? error;
      }
    }
  }

  async #search<T>(namespace: string, search: (partition: Partition) => Promise<T>): Promise<T> {
    await this.#ready();
    const partition = this.#partitions.get(namespace);
    try {
      return await search(partition);
    } catch (error) {
      if (partition.isDisposed && !this.#gone) throw namespaceNotFound(this.#config, namespace);
      throw this.#gone ?? error;
    }
  }

  async #ready(): Promise<void> {
    this.#assertThere();
    await this.#loaded.catch((error: unknown) => {
      throw this.#gone ?? error;
    });
    this.#assertThere();
  }

  #assertThere(): void {
    if (this.#gone) throw this.#gone;
  }

  async #load(): Promise<void> {
    const stored = this.#property("rocksdb.estimate-live-data-size");
    const release = await this.#store.memory.holdForLoad(stored);
    try {
      await this.#changes.load();
      await this.#partitions.load({ isCancelled: () => this.#gone !== undefined });
    } catch (error) {
      for (const partition of this.#partitions.all()) partition.dispose();
      throw readFailed(error);
    } finally {
      release();
    }
    if (this.#gone) return;
    for (const { set } of this.#partitions.all()) this.usage.add(set.size, set.bytes);
    this.#state = "loaded";
    for (const partition of this.#partitions.all()) this.#builder.notice(partition);
  }

  /** Gives the disk space of what was overwritten and deleted back, in the background, once that is worth its work. */
  #compactWhenDue(garbage: number): void {
    this.#garbage += garbage;
    if (this.#compacting || this.#garbage < Math.max(GARBAGE_MIN, this.usage.bytes * GARBAGE_SHARE)) return;
    this.#compacting = true;
    const due = this.#garbage;
    this.#garbage = 0;
    this.#store
      .compact(this.columnFamily)
      // The store hears of faults by itself; what was not compacted, for the disk is too full, is another time: each try
      // writes out what is in memory, and many small tables would hold up writes.
      .catch(async () => {
        this.#garbage += due;
        await setTimeout(COMPACT_AGAIN_MS, undefined, { ref: false });
      })
      .finally(() => {
        this.#compacting = false;
      });
  }

  #property(name: string): number {
    return Number(this.#store.database.property(this.columnFamily, name) ?? 0);
  }
}

/** Of the part of a put that is large. */
function bytesOfData(vectors: readonly VectorInput[]): number {
  return vectors.reduce((sum, { data }) => sum + (data?.byteLength ?? 0), 0);
}

function configOf({ columnFamily: _, ...config }: IndexRecord): Index {
  return config;
}

function namespaceOf({ namespace, set, createdAt }: Partition): Namespace {
  return { name: namespace, vectorCount: set.size, createdAt };
}

/** The keys of what matches, in any order; undefined when they are so many that reading all metadata is cheaper. */
function candidatesOf({ set }: Partition, filter: Filter): string[] | undefined {
  const matching = set.select(filter);
  if (countBits(matching) > CANDIDATES_MAX) return undefined;
  return set.keysOf(matching);
}
