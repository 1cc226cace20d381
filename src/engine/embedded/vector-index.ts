import { QuiverError } from "../../errors.ts";
import type {
  Index,
  IndexState,
  IndexStats,
  ListOptions,
  Projection,
  Query,
  QueryPlan,
  ScoredVector,
  Vector,
  VectorInput,
} from "../engine.ts";
import type { IndexRecord } from "./catalog.ts";
import type { GraphBuilder } from "./graph-builder.ts";
import { type Found, Partition } from "./partition.ts";
import { planSearch } from "./planner.ts";
import { Records } from "./records.ts";
import { readFailed, type Store } from "./store.ts";
import type { Usage } from "./usage.ts";

/** Searches that may be disturbed by overwrites and deletes before writes are held back for one. */
const UNDISTURBED_TRIES = 3;

export interface VectorIndexOptions {
  readonly record: IndexRecord;
  /** The number of the open column family. */
  readonly columnFamily: number;
  /** Where the vectors are counted and limited. */
  readonly usage: Usage;
  readonly store: Store;
  readonly builder: GraphBuilder;
  /** Hears why the stored vectors cannot be read; the index then fails every call. */
  readonly onLoadError: (error: unknown) => void;
}

/** One index: its column family, and its partitions in memory. */
export class VectorIndex {
  readonly columnFamily: number;
  readonly usage: Usage;
  #record: IndexRecord;
  #config: Index;
  readonly #store: Store;
  readonly #records: Records;
  readonly #builder: GraphBuilder;
  readonly #partitions = new Map<string, Partition>();
  readonly #loaded: Promise<void>;
  #state: "loading" | "loaded" | "failed" = "loading";
  #gone: QuiverError | undefined;

  /** Starts loading what is stored; every operation waits for it. */
  constructor({ record, columnFamily, usage, store, builder, onLoadError }: VectorIndexOptions) {
    this.#record = record;
    this.#config = configOf(record);
    this.columnFamily = columnFamily;
    this.usage = usage;
    this.#store = store;
    this.#records = new Records(store.database, columnFamily, record.dimension);
    this.#builder = builder;
    this.#loaded = this.#load();
    usage.countUntil(this.#loaded);
    this.#loaded.catch((error: unknown) => {
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
  }

  get state(): IndexState {
    if (this.#state !== "loaded") return this.#state;
    return this.#partitions.values().some((partition) => partition.wantsGraph) ? "building" : "ready";
  }

  async put(namespace: string, vectors: readonly VectorInput[]): Promise<{ lsn: number }> {
    await this.#ready();
    const partition = this.#partitions.get(namespace) ?? this.#addPartition(namespace);
    const keys = vectors.map(({ key }) => key);
    const data = concatenate(vectors, this.config.dimension);
    await this.#builder.waitForRoom(partition);
    const lsn = await partition.write((pending) => {
      this.#assertThere();
      pending(keys, true);
      return this.#store.commit(
        (batch, version) => {
          if (!partition.recorded) this.#records.putNamespace(batch, namespace);
          for (const vector of vectors) this.#records.put(batch, namespace, version, vector);
        },
        (version) => {
          if (this.#gone) return;
          partition.recorded = true;
          partition.put(keys, data, () => version);
        },
      );
    });
    this.#assertThere();
    this.#builder.notice(partition);
    return { lsn };
  }

  async delete(namespace: string, keys: readonly string[]) {
    const partition = await this.#partition(namespace);
    const answer = await partition.write(async (pending) => {
      this.#assertThere();
      const deletedCount = keys.filter((key) => partition.willExist(key)).length;
      pending(keys, false);
      // Keys that a pending delete takes away are deleted as well: that one may yet be refused.
      const lsn = await this.#store.commit(
        (batch) => {
          for (const key of keys) this.#records.delete(batch, namespace, key);
        },
        () => this.#gone || partition.delete(keys),
      );
      return { lsn, deletedCount, notFoundCount: keys.length - deletedCount };
    });
    this.#assertThere();
    return answer;
  }

  async get(namespace: string, keys: readonly string[], projection: Projection) {
    await this.#partition(namespace);
    const { lsn } = this.#store;
    const records = await this.#records.get(namespace, keys, projection).catch(rethrowReadFailed);
    const vectors = records.filter((vector) => vector !== undefined);
    return { vectors, lsn: lsnOf(lsn, vectors) };
  }

  async list(namespace: string, options: ListOptions) {
    await this.#partition(namespace);
    const { lsn } = this.#store;
    const page = await this.#records.list(namespace, options).catch(rethrowReadFailed);
    return { ...page, lsn: lsnOf(lsn, page.items) };
  }

  /** Answers from one state: a search that a write disturbed is done again, at last with writes held back. */
  async query(
    namespace: string,
    query: Query,
  ): Promise<{ vectors: readonly ScoredVector[]; plan: QueryPlan; lsn: number }> {
    const partition = await this.#partition(namespace);
    for (let tries = 0; tries < UNDISTURBED_TRIES; tries++) {
      const answer = await this.#tryQuery(partition, query);
      if (answer) return answer;
    }
    const answer = await partition.withoutWrites(() => this.#tryQuery(partition, query));
    if (!answer) throw new QuiverError("CORRUPTION", "Vectors in memory and in the store differ; restart the server");
    return answer;
  }

  async stats(): Promise<IndexStats> {
    await this.#ready();
    const parts = [...this.#partitions.values()].map((partition) => ({ partition, stats: partition.stats() }));
    const sum = (of: (part: (typeof parts)[number]) => number) => parts.reduce((total, part) => total + of(part), 0);
    return {
      state: this.state,
      vectorCount: sum(({ partition }) => partition.size),
      unindexedVectors: sum(({ stats }) => stats.unindexed),
      deletedVectors: sum(({ stats }) => stats.deleted),
      bytes: {
        vectors: sum(({ stats }) => stats.vectorBytes),
        graph: sum(({ stats }) => stats.graphBytes),
        keys: sum(({ partition }) => partition.keyBytes),
        disk: Number(this.#store.database.property(this.columnFamily, "rocksdb.total-sst-files-size") ?? 0),
      },
    };
  }

  /** Frees the memory; what still runs, or comes later, fails with `reason`. */
  dispose(reason: QuiverError): void {
    this.#gone = reason;
    for (const partition of this.#partitions.values()) {
      this.#builder.forget(partition);
      partition.dispose();
    }
  }

  /** One search and its records; undefined when a write changed what it found in between. */
  async #tryQuery(partition: Partition, { data, topK, search, projection }: Query) {
    const { lsn } = this.#store;
    const { removals } = partition;
    const { found, compared, exact } = await this.#search(partition, data, topK, search);
    if (partition.removals !== removals) return undefined;

    const vectors: ScoredVector[] = [];
    const records =
      projection.data || projection.metadata
        ? await this.#records
            .get(
              partition.namespace,
              found.map(({ key }) => key),
              projection,
            )
            .catch(rethrowReadFailed)
        : found.map(({ key, version }) => ({ key, version }));
    for (const [i, { distance, version }] of found.entries()) {
      const record = records[i];
      if (record?.version !== version) return undefined;
      vectors.push({ ...record, distance });
    }
    const strategy = exact ? ("exact" as const) : ("graph" as const);
    return { vectors, plan: { strategy, compared, exact }, lsn };
  }

  async #search(partition: Partition, data: Float32Array, topK: number, search: Query["search"]) {
    try {
      const plan = planSearch(search, topK, partition.stats().indexed);
      if (plan.exact) return await searchExactly(partition, data, topK);
      const result = await partition.search(data, { k: topK, efSearch: plan.efSearch });
      return { ...result, found: result.found.sort(byDistanceThenKey) };
    } catch (error) {
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

  async #partition(namespace: string): Promise<Partition> {
    await this.#ready();
    const partition = this.#partitions.get(namespace);
    if (partition) return partition;
    throw new QuiverError("NAMESPACE_NOT_FOUND", `Namespace "${namespace}" does not exist`, {
      resource: { type: "namespace", name: `${this.config.bucket}/${this.config.index}/${namespace}` },
    });
  }

  #addPartition(namespace: string): Partition {
    const { dimension, distanceMetric: metric, m, efConstruction } = this.config;
    const partition = new Partition(namespace, { dimension, metric, m, efConstruction });
    this.#partitions.set(namespace, partition);
    return partition;
  }

  async #load(): Promise<void> {
    this.#addPartition("").recorded = true;
    try {
      for await (const namespace of this.#records.namespaces()) this.#addPartition(namespace).recorded = true;
      for await (const vectors of this.#records.scan()) {
        if (this.#gone) return;
        for (const [namespace, group] of Map.groupBy(vectors, (vector) => vector.namespace)) {
          const partition = this.#partitions.get(namespace);
          if (!partition) throw new QuiverError("CORRUPTION", `Namespace "${namespace}" has vectors but no record`);
          const keys = group.map(({ key }) => key);
          partition.put(keys, concatenate(group, this.config.dimension), (i) => group[i]?.version ?? 0);
        }
      }
    } catch (error) {
      throw readFailed(error);
    }
    this.#state = "loaded";
    for (const partition of this.#partitions.values()) this.#builder.notice(partition);
  }
}

function configOf({ columnFamily: _, ...config }: IndexRecord): Index {
  return config;
}

/** What a read saw: at least what memory showed, and every write up to the newest that it returns. */
function lsnOf(shown: number, vectors: readonly Vector[]): number {
  return vectors.reduce((lsn, { version }) => Math.max(lsn, version), shown);
}

/** The topK nearest of all; vectors at the same distance as the last one are compared by key, too. */
async function searchExactly(partition: Partition, data: Float32Array, topK: number) {
  for (let k = topK + 1; ; k *= 2) {
    const result = await partition.search(data, { k: Math.min(k, SEARCH_K_MAX), exact: true });
    const { found } = result;
    const tiesMayGoOn = found.length >= k && found[topK - 1]?.distance === found[k - 1]?.distance;
    if (tiesMayGoOn && k < SEARCH_K_MAX) continue;
    return { ...result, found: found.sort(byDistanceThenKey).slice(0, topK) };
  }
}

/** What the native search allows. */
const SEARCH_K_MAX = 20_000;

function byDistanceThenKey(a: Found, b: Found): number {
  return a.distance - b.distance || Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
}

function concatenate(vectors: readonly { data: Float32Array }[], dimension: number): Float32Array {
  const all = new Float32Array(vectors.length * dimension);
  for (const [i, { data }] of vectors.entries()) {
    if (data.length !== dimension) throw new QuiverError("CORRUPTION", `A vector has ${data.length} values`);
    all.set(data, i * dimension);
  }
  return all;
}

function rethrowReadFailed(error: unknown): never {
  throw readFailed(error);
}
