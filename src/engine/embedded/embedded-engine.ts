import { join, resolve } from "node:path";
import { QuiverError, shuttingDown } from "../../errors.ts";
import { failpoint } from "../../failpoints.ts";
import { OneAtATime } from "../../one-at-a-time.ts";
import type {
  Backup,
  Bucket,
  BucketChanges,
  DiskUse,
  Engine,
  ExportOptions,
  Health,
  Index,
  IndexChanges,
  IndexRef,
  ListOptions,
  MeasureRecallOptions,
  MemoryUse,
  Namespace,
  Page,
  PageOptions,
  PartitionRef,
  Projection,
  PutOptions,
  Query,
  Quotas,
  Selection,
  StorageProblem,
  Update,
  UpdateOptions,
  VectorInput,
  Verification,
  WatchOptions,
  WriteOptions,
} from "../engine.ts";
import { EmbeddedAccessKeyStore } from "./access-key-store.ts";
import { Backups } from "./backup/backups.ts";
import { Catalog, type IndexRecord } from "./catalog.ts";
import { ChangeBudget } from "./changes/change-ring.ts";
import { beginLog } from "./changes/logged-changes.ts";
import { EmbeddedJobStore } from "./job-store.ts";
import { FORMAT_VERSION } from "./layout.ts";
import { MemoryGuard } from "./memory/memory-guard.ts";
import { defaultMemoryLimit, ProcessMemory, storeMemory } from "./memory/process-memory.ts";
import { GraphBuilder } from "./set/graph-builder.ts";
import { GRAPH_FORMAT_VERSION } from "./set/key-file.ts";
import { isOfSavedGraph } from "./set/saved-graph-check.ts";
import { openSavedGraphs, SavedGraphs } from "./set/saved-graphs.ts";
import { SetSaver } from "./set/set-saver.ts";
import { HealthReport } from "./storage/health.ts";
import { readFailed, Store } from "./storage/store.ts";
import { assertIndexRoom, NO_QUOTAS, SERVER, Usage } from "./usage.ts";
import { VectorIndex } from "./vector-index.ts";
import { Verifier } from "./verify/verifier.ts";

export interface EmbeddedEngineOptions {
  /** The directory of the database; made when it does not exist. */
  readonly path: string;
  /** The directory of the backups. Default: "backups" in `path`. */
  readonly backups?: string | undefined;
  /** Bytes of memory that the process may hold. Default: 80 % of what the machine or its container has. */
  readonly memoryLimit?: number;
  /** The same, with what looks at the process. */
  readonly memory?: ProcessMemory;
  /** Bytes of memtables. Default 128 MiB. */
  readonly writeBuffer?: number;
  /** How much may be stored. Default: no limits. */
  readonly quotas?: Quotas;
  /** Picks the vectors and queries that recall is measured with: in [0, 1). Default Math.random. */
  readonly random?: () => number;
  /** Default true; false lets the disk run full, to show what happens then. */
  readonly guardsDisk?: boolean;
  /**
   * Default false; true opens it to be verified: saved graphs stay as they are, whatever is wrong with them, and none is used,
   * built or saved.
   */
  readonly onlyVerifies?: boolean;
  /** Hears what was odd when it opened, but no reason not to. Default: nobody does. */
  readonly onWarning?: (message: string) => void;
  /** Hears each change of the state of its health. Default: nobody does. */
  readonly onHealth?: (health: Health) => void;
  /** Hears of damage that a verification has found, once of each file. Default: nobody does. */
  readonly onDamage?: (problem: StorageProblem) => void;
  /** Hears of background work that failed and what that means. */
  readonly onBackgroundError: (message: string, error: unknown) => void;
}

/** How long closing may save graphs, unless told otherwise. */
const CLOSE_MS = 10_000;

interface BucketEntry {
  bucket: Bucket;
  readonly indexes: Map<string, VectorIndex>;
  readonly usage: Usage;
}

/** Opens the engine that keeps everything in this process: RocksDB on disk, graphs in memory. Indexes load in the background. */
export async function openEmbeddedEngine(options: EmbeddedEngineOptions): Promise<Engine> {
  const health = new HealthReport(options.onHealth ?? (() => {}));
  const memory = options.memory ?? new ProcessMemory(options.memoryLimit ?? defaultMemoryLimit());
  const store = await Store.open(options.path, {
    ...storeMemory(memory, options.writeBuffer),
    memory: new MemoryGuard(memory, (problem) => health.set("memory", problem)),
    guardsDisk: options.guardsDisk,
    health,
    onWarning: options.onWarning,
  });
  try {
    const saving = { path: options.path, onUnusable: options.onBackgroundError };
    const columnFamilies = new Set(store.database.columnFamilies().map(({ name }) => name));
    const savedGraphs = options.onlyVerifies
      ? (columnFamily: string) => new SavedGraphs(columnFamily, new Map(), saving)
      : await openSavedGraphs(saving, { columnFamilies, lsn: store.lsn });
    return await EmbeddedEngine.load(store, health, { ...options, savedGraphs });
  } catch (error) {
    await store.close();
    throw readFailed(error);
  }
}

interface EngineOptions extends EmbeddedEngineOptions {
  readonly savedGraphs: (columnFamily: string) => SavedGraphs;
}

class EmbeddedEngine implements Engine {
  readonly name = "embedded";
  readonly formatVersion = FORMAT_VERSION;
  readonly graphFormatVersion = GRAPH_FORMAT_VERSION;
  readonly jobs: EmbeddedJobStore;
  readonly accessKeys: EmbeddedAccessKeyStore;
  readonly #store: Store;
  readonly #health: HealthReport;
  readonly #catalog: Catalog;
  readonly #backups: Backups;
  readonly #verifier: Verifier;
  readonly #builder: GraphBuilder;
  readonly #saver: SetSaver;
  readonly #savedGraphs: EngineOptions["savedGraphs"];
  readonly #onBackgroundError: EmbeddedEngineOptions["onBackgroundError"];
  readonly #onDamage: EmbeddedEngineOptions["onDamage"];
  readonly #quotas: Quotas;
  readonly #random: (() => number) | undefined;
  readonly #usage: Usage;
  readonly #changeBudget = new ChangeBudget();
  /** Changes of buckets and indexes. */
  readonly #turns = new OneAtATime();
  readonly #buckets = new Map<string, BucketEntry>();
  #closed = false;

  private constructor(store: Store, health: HealthReport, options: EngineOptions) {
    this.#store = store;
    this.#health = health;
    this.#catalog = new Catalog(store);
    this.#backups = new Backups({
      store,
      data: options.path,
      directory: resolve(options.backups ?? join(options.path, "backups")),
    });
    this.#verifier = new Verifier({ store, data: options.path, indexes: () => this.#indexes() });
    this.jobs = new EmbeddedJobStore(store);
    this.accessKeys = new EmbeddedAccessKeyStore(store);
    this.#onBackgroundError = options.onBackgroundError;
    this.#onDamage = options.onDamage;
    this.#quotas = options.quotas ?? NO_QUOTAS;
    this.#random = options.random;
    const { vectors, bytes } = this.#quotas;
    this.#usage = new Usage({ subject: SERVER, limits: { vectors: vectors.server, bytes: bytes.server } });
    this.#savedGraphs = options.savedGraphs;
    this.#saver = new SetSaver({
      store,
      onError: (error, { namespace }) =>
        options.onBackgroundError(
          `Cannot save the graph of namespace "${namespace}"; a start may build it anew`,
          error,
        ),
    });
    this.#builder = new GraphBuilder({ saver: this.#saver, memory: store.memory }, (error, partition) =>
      options.onBackgroundError(
        `Cannot build the graph of namespace "${partition.namespace}"; its vectors are searched exactly`,
        error,
      ),
    );
  }

  static async load(store: Store, health: HealthReport, options: EngineOptions): Promise<EmbeddedEngine> {
    const engine = new EmbeddedEngine(store, health, options);
    if (options.onlyVerifies) await Promise.all([engine.#builder.close(), engine.#saver.close([], 0)]);
    const { buckets, indexes, dropped } = await engine.#catalog.load();
    const families = new Map(store.database.columnFamilies().map(({ name, id }) => [name, id]));
    await engine.#backups
      .removeLeftOvers()
      .catch((error: unknown) => options.onBackgroundError("What is left of an unfinished backup stays", error));
    for (const bucket of buckets) engine.#addBucket(bucket);
    for (const record of indexes) {
      const family = families.get(record.columnFamily);
      const bucket = engine.#buckets.get(record.bucket);
      if (family === undefined || !bucket) {
        throw new QuiverError("CORRUPTION", `Index "${record.bucket}/${record.index}" has lost its stored vectors`);
      }
      families.delete(record.columnFamily);
      bucket.indexes.set(record.index, engine.#openIndex(record, family, bucket.usage));
    }
    families.delete("default");
    for (const [name, id] of families) await engine.#dropLeftOver(name, id, dropped.has(name));
    for (const name of dropped) await engine.#catalog.forgetDropped(name);
    return engine;
  }

  get lsn(): number {
    return this.#store.lsn;
  }

  get health(): Health {
    return this.#health.health;
  }

  get memory(): MemoryUse {
    const uses = this.#indexes().map((index) => index.memory);
    const sum = (part: keyof (typeof uses)[number]) => uses.reduce((total, use) => total + use[part], 0);
    const { limit, resident } = this.#store.memory.process;
    return {
      limit,
      resident,
      vectors: sum("vectors"),
      graph: sum("graph"),
      keys: sum("keys"),
      metadata: sum("metadata"),
      store: this.#store.memoryBytes,
    };
  }

  get disk(): DiskUse {
    return this.#store.disk.use;
  }

  async createBackup(options: { readonly displayName: string; readonly signal: AbortSignal }): Promise<Backup> {
    try {
      return await this.#backups.create(options);
    } catch (error) {
      const isOfStore =
        error instanceof QuiverError && error.reason === "CORRUPTION" && error.metadata.file !== undefined;
      if (isOfStore) this.#health.set(DAMAGE, error);
      throw error;
    }
  }

  listBackups(options: PageOptions): Promise<Page<Backup>> {
    return this.#backups.list(options);
  }

  async verify({
    ref,
    signal,
  }: {
    readonly ref: IndexRef | undefined;
    readonly signal: AbortSignal;
  }): Promise<Verification> {
    const found = await this.#verifier.verify({ only: ref && this.#index(ref), signal });
    this.#noteDamage(found, { isAll: ref === undefined });
    return found;
  }

  createBucket(bucket: Bucket): Promise<void> {
    return this.#turns.run(async () => {
      if (this.#buckets.has(bucket.name)) {
        throw new QuiverError("BUCKET_EXISTS", `Vector bucket "${bucket.name}" exists already`, {
          resource: { type: "vector bucket", name: bucket.name },
        });
      }
      await this.#catalog.putBucket(bucket, () => this.#addBucket(bucket));
    });
  }

  async getBucket(name: string): Promise<Bucket> {
    return this.#bucket(name).bucket;
  }

  async listBuckets(options: PageOptions): Promise<Page<Bucket>> {
    return page(this.#buckets, options, ({ bucket }) => bucket);
  }

  deleteBucket(name: string): Promise<void> {
    return this.#turns.run(async () => {
      const { indexes } = this.#bucket(name);
      if (indexes.size > 0) {
        throw new QuiverError(
          "BUCKET_NOT_EMPTY",
          `Cannot delete vector bucket "${name}": it has ${indexes.size} indexes; delete them first`,
          { resource: { type: "vector bucket", name } },
        );
      }
      await this.#catalog.deleteBucket(name, () => this.#buckets.delete(name));
    });
  }

  createIndex(index: Index): Promise<void> {
    return this.#turns.run(async () => {
      const { indexes, usage } = this.#bucket(index.bucket);
      if (indexes.has(index.index)) {
        const name = `${index.bucket}/${index.index}`;
        throw new QuiverError("INDEX_EXISTS", `Index "${name}" exists already`, { resource: { type: "index", name } });
      }
      const counts = { server: this.indexStates().length, bucket: indexes.size };
      assertIndexRoom(index.bucket, counts, this.#quotas.indexes);
      // The catalog's record makes the index exist; a family without one is dropped at the next start.
      const columnFamily = `index-${crypto.randomUUID()}`;
      const family = await this.#store.createFamily(columnFamily);
      failpoint("after-create-family");
      const record = { ...index, columnFamily };
      try {
        await this.#catalog.putIndex(
          record,
          () => indexes.set(index.index, this.#openIndex(record, family, usage)),
          (batch, lsn) => beginLog(batch, family, lsn),
        );
      } catch (error) {
        await this.#store.dropFamily(family).catch(() => {});
        throw error;
      }
    });
  }

  async getIndex(ref: IndexRef): Promise<Index> {
    return this.#index(ref).config;
  }

  async listIndexes(bucket: string, options: PageOptions): Promise<Page<Index>> {
    return page(this.#bucket(bucket).indexes, options, ({ config }) => config);
  }

  async vectorCounts(bucket: string): Promise<ReadonlyMap<string, number>> {
    const { indexes, usage } = this.#bucket(bucket);
    await usage.loaded();
    return new Map([...indexes].map(([name, index]) => [name, index.usage.vectors]));
  }

  deleteIndex(ref: IndexRef): Promise<void> {
    return this.#turns.run(async () => {
      const { indexes } = this.#bucket(ref.bucket);
      const index = this.#index(ref);
      assertUnprotected(index.config, `index "${ref.bucket}/${ref.index}"`);
      await this.#catalog.deleteIndex(index.record, () => {
        indexes.delete(ref.index);
        index.dispose(notFound(ref));
        index.usage.close();
        this.#health.set(partOf(ref), undefined);
      });
      failpoint("after-delete-index");
      try {
        await this.#store.dropFamily(index.columnFamily);
        failpoint("after-drop-family");
        await this.#catalog.forgetDropped(index.record.columnFamily);
        failpoint("after-forget-family");
        await index.saved.removeAll();
      } catch (error) {
        this.#onBackgroundError("The files of a deleted index are still there; the next start removes them", error);
      }
    });
  }

  updateBucket(name: string, changes: BucketChanges): Promise<void> {
    return this.#turns.run(async () => {
      const entry = this.#bucket(name);
      const { tags, policy } = entry.bucket;
      const bucket = {
        ...entry.bucket,
        tags: changes.tags?.(tags) ?? tags,
        policy: changes.policy === null ? undefined : (changes.policy ?? policy),
      };
      await this.#catalog.putBucket(bucket, () => {
        entry.bucket = bucket;
      });
    });
  }

  updateIndex(ref: IndexRef, changes: IndexChanges): Promise<Index> {
    return this.#turns.run(async () => {
      const index = this.#index(ref);
      const { record } = index;
      const changed = {
        ...record,
        deletionProtection: changes.deletionProtection ?? record.deletionProtection,
        m: changes.m ?? record.m,
        efConstruction: changes.efConstruction ?? record.efConstruction,
        tags: changes.tags?.(record.tags) ?? record.tags,
      };
      await this.#catalog.putIndex(changed, () => index.update(changed));
      return index.config;
    });
  }

  async indexStats(ref: IndexRef) {
    return this.#index(ref).stats();
  }

  indexStates() {
    return [...this.#buckets.values()].flatMap(({ indexes }) =>
      [...indexes.values()].map(({ config, state }) => ({ bucket: config.bucket, index: config.index, state })),
    );
  }

  createNamespace({ namespace, ...ref }: PartitionRef): Promise<Namespace> {
    return this.#on(ref, (index) => index.createNamespace(namespace));
  }

  getNamespace({ namespace, ...ref }: PartitionRef): Promise<Namespace> {
    return this.#on(ref, (index) => index.getNamespace(namespace));
  }

  async listNamespaces(ref: IndexRef, options: PageOptions): Promise<Page<Namespace>> {
    return page(await this.#index(ref).namespaces(), options, (namespace) => namespace);
  }

  deleteNamespace({ namespace, ...ref }: PartitionRef) {
    const what = `namespace "${namespace}" of index "${ref.bucket}/${ref.index}"`;
    return this.#on(ref, (index) => index.deleteNamespace(namespace, () => assertUnprotected(index.config, what)));
  }

  putVectors({ namespace, ...ref }: PartitionRef, vectors: readonly VectorInput[], options: PutOptions = {}) {
    return this.#on(ref, (index) => index.put(namespace, vectors, options));
  }

  assertRoom({ namespace, ...ref }: PartitionRef, vectors: readonly VectorInput[]): Promise<void> {
    return this.#on(ref, (index) => index.assertRoom(namespace, vectors));
  }

  updateVectors({ namespace, ...ref }: PartitionRef, update: Update, options: UpdateOptions) {
    return this.#on(ref, (index) => index.updateVectors(namespace, update, options));
  }

  deleteVectors({ namespace, ...ref }: PartitionRef, selection: Selection, options: WriteOptions = {}) {
    return this.#on(ref, (index) => index.delete(namespace, selection, options));
  }

  getVectors({ namespace, ...ref }: PartitionRef, keys: readonly string[], projection: Projection) {
    return this.#on(ref, (index) => index.get(namespace, keys, projection));
  }

  listVectors({ namespace, ...ref }: PartitionRef, options: ListOptions) {
    return this.#on(ref, (index) => index.list(namespace, options));
  }

  queryVectors({ namespace, ...ref }: PartitionRef, query: Query, options = { pageSize: Number.POSITIVE_INFINITY }) {
    return this.#on(ref, (index) => index.query(namespace, query, options.pageSize));
  }

  batchQueryVectors(
    { namespace, ...ref }: PartitionRef,
    queries: readonly Query[],
    options = { maxBytes: Number.POSITIVE_INFINITY },
  ) {
    return this.#on(ref, (index) => index.batchQuery(namespace, queries, options.maxBytes));
  }

  measureRecall({ namespace, ...ref }: PartitionRef, options: MeasureRecallOptions) {
    return this.#on(ref, (index) => index.measureRecall(namespace, options));
  }

  exportVectors({ namespace, ...ref }: PartitionRef, options: ExportOptions) {
    return this.#index(ref).export(namespace, options);
  }

  watchVectors({ namespace, ...ref }: PartitionRef, options: WatchOptions) {
    return this.#on(ref, (index) => index.watch(namespace, options));
  }

  async close({ withinMs = CLOSE_MS }: { readonly withinMs?: number } = {}): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#backups.close(), this.#verifier.close()]);
    await this.#turns.idle();
    await this.#store.stopWrites();
    const built = this.#builder.close();
    const indexes = [...this.#buckets.values()].flatMap((bucket) => [...bucket.indexes.values()]);
    await this.#saver.close(
      indexes.flatMap(({ partitions }) => partitions),
      withinMs,
    );
    for (const index of indexes) index.dispose(shuttingDown());
    await Promise.all([built, this.#saver.ended()]);
    await this.#store.close();
  }

  /** Removes what a crash left between the two steps of creating or deleting an index, and nothing else. */
  async #dropLeftOver(name: string, family: number, isDropped: boolean): Promise<void> {
    const { entries } = await this.#store.database.scan({ columnFamily: family, limit: 1 });
    if (!isDropped && entries.length > 0) {
      throw new QuiverError(
        "CORRUPTION",
        `Column family "${name}" holds vectors but the catalog does not know it: the write-ahead log has lost its end; restore a backup`,
      );
    }
    await this.#store.dropFamily(family);
  }

  /** Tells of what a verification has found. Saved graphs are a cache: without them the storage is well. */
  #noteDamage({ problems }: Verification, { isAll }: { readonly isAll: boolean }): void {
    const places = new Map(
      problems.map((problem) => [problem.file ?? (problem.index && partOf(problem.index)), problem]),
    );
    for (const problem of places.values()) this.#onDamage?.(problem);
    const ofStore = problems.filter(({ file }) => file === undefined || !isOfSavedGraph(file));
    const worst = ofStore.find(({ file }) => file !== undefined) ?? ofStore[0];
    if (worst || isAll) this.#health.set(DAMAGE, worst?.error);
  }

  #addBucket(bucket: Bucket): void {
    const { vectors, bytes } = this.#quotas;
    const usage = new Usage({
      subject: { type: "vector bucket", name: bucket.name },
      limits: { vectors: vectors.bucket, bytes: bytes.bucket },
      parent: this.#usage,
    });
    this.#buckets.set(bucket.name, { bucket, indexes: new Map(), usage });
  }

  #openIndex(record: IndexRecord, columnFamily: number, parent: Usage): VectorIndex {
    const { vectors, bytes } = this.#quotas;
    return new VectorIndex({
      record,
      columnFamily,
      usage: new Usage({
        subject: { type: "index", name: `${record.bucket}/${record.index}` },
        limits: { vectors: vectors.index, bytes: bytes.index },
        parent,
      }),
      store: this.#store,
      builder: this.#builder,
      saver: this.#saver,
      saved: this.#savedGraphs(record.columnFamily),
      changeBudget: this.#changeBudget,
      random: this.#random,
      onLoadError: (error) => {
        this.#health.set(partOf(record), error);
        this.#onBackgroundError(`Cannot load index "${record.bucket}/${record.index}"; its calls fail`, error);
      },
    });
  }

  #bucket(name: string) {
    if (this.#closed) throw shuttingDown();
    const entry = this.#buckets.get(name);
    if (entry) return entry;
    throw new QuiverError("BUCKET_NOT_FOUND", `Vector bucket "${name}" does not exist`, {
      resource: { type: "vector bucket", name },
    });
  }

  #indexes(): VectorIndex[] {
    return [...this.#buckets.values()].flatMap(({ indexes }) => [...indexes.values()]);
  }

  /** Rejects instead of throwing when the index does not exist. */
  async #on<T>(ref: IndexRef, call: (index: VectorIndex) => T | Promise<T>): Promise<T> {
    return call(this.#index(ref));
  }

  #index(ref: IndexRef): VectorIndex {
    const index = this.#bucket(ref.bucket).indexes.get(ref.index);
    if (index) return index;
    throw notFound(ref);
  }
}

/** What a verification or a backup has found, as a part of the engine's health. */
const DAMAGE = "damage";

/** An index as a part of the engine's health. */
function partOf({ bucket, index }: IndexRef): string {
  return `index ${bucket}/${index}`;
}

function assertUnprotected({ bucket, index, deletionProtection }: Index, what: string): void {
  if (!deletionProtection) return;
  throw new QuiverError("DELETION_PROTECTED", `Cannot delete ${what}: deletion protection is on`, {
    resource: { type: "index", name: `${bucket}/${index}` },
  });
}

function notFound(ref: IndexRef): QuiverError {
  const name = `${ref.bucket}/${ref.index}`;
  return new QuiverError("INDEX_NOT_FOUND", `Index "${name}" does not exist`, { resource: { type: "index", name } });
}

/** A page of a map's values in the order of their names; names are ASCII, so that is their byte order. */
function page<Entry, Item>(
  entries: Map<string, Entry>,
  options: PageOptions,
  item: (entry: Entry) => Item,
): Page<Item> {
  const { prefix, after, maxResults } = options;
  const names = [...entries.keys()].filter((name) => name.startsWith(prefix) && (after === undefined || name > after));
  const chosen = names.sort().slice(0, maxResults);
  const items = chosen.map((name) => item(entries.get(name) as Entry));
  return { items, more: names.length > items.length };
}
