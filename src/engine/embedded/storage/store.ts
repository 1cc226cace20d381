import { join } from "node:path";
import {
  type Database,
  type Entries,
  openDatabase,
  peekDatabase,
  type Snapshot,
  type StoreError,
} from "../../../../native/rocksdb.ts";
import { WriteBatch } from "../../../../native/write-batch.ts";
import { QuiverError, shuttingDown } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";
import { workTurns } from "../../../work-turns.ts";
import {
  decodeHeader,
  decodeU64,
  encodeU32,
  encodeU64,
  FORMAT_KEY,
  FORMAT_VERSION,
  HEADER_KEYS,
  type Header,
  LSN_KEY,
  valueAt,
} from "../layout.ts";
import type { MemoryGuard } from "../memory/memory-guard.ts";
import {
  ACKNOWLEDGED,
  Acknowledged,
  assertManifestWhole,
  findManifest,
  type Manifest,
  manifestOf,
  readAcknowledged,
} from "./acknowledged.ts";
import { DiskGuard, type WriteKind } from "./disk-guard.ts";
import type { HealthReport } from "./health.ts";
import { cutTornWrite, findLogDamage } from "./torn-write.ts";

/** The catalog's column family. */
export const CATALOG = 0;

const RETRY_BUSY_MS = 1000;

/** How often the high-water mark follows the writes. */
const MARK_EVERY_MS = 1000;

const DEFAULT_WRITE_BUFFER = 128 * 1024 * 1024;

export interface StoreOptions {
  /** Bytes of memtables. Default 128 MiB. */
  readonly writeBuffer?: number | undefined;
  /** Bytes of the cache of blocks that were read. Default 64 MiB. */
  readonly blockCache?: number | undefined;
  /** What may be kept in memory. */
  readonly memory: MemoryGuard;
  /** Default true; false lets the disk run full, to show what happens then. */
  readonly guardsDisk?: boolean | undefined;
  /** Is told what is wrong with the storage. */
  readonly health: HealthReport;
  /** Hears what is odd but no reason not to open. Default: nobody does. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** What a store is made of once its database is open. */
interface Parts {
  readonly lsn: number;
  readonly disk: DiskGuard;
  readonly memory: MemoryGuard;
  readonly health: HealthReport;
  readonly mark: Acknowledged;
  readonly path: string;
}

/**
 * The database with its sequence number: the only way to write. Batches commit in the order of their lsn; `apply` runs
 * once its batch is durable, in the same order, so memory never shows what a crash could take back. What is durable may
 * wait for its turn of the event loop before memory shows it.
 */
export class Store {
  readonly database: Database;
  /** What may be written to the disk. */
  readonly disk: DiskGuard;
  readonly memory: MemoryGuard;
  readonly #health: HealthReport;
  readonly #mark: Acknowledged;
  readonly #path: string;
  readonly #marking: NodeJS.Timeout;
  readonly #commits = new Set<Promise<number>>();
  #assignedLsn: number;
  #appliedLsn: number;
  #fault: unknown;
  #marked: Promise<void> = Promise.resolve();
  #closing = false;

  private constructor(database: Database, { lsn, disk, memory, health, mark, path }: Parts) {
    this.database = database;
    this.disk = disk;
    this.memory = memory;
    this.#assignedLsn = lsn;
    this.#appliedLsn = lsn;
    this.#health = health;
    this.#mark = mark;
    this.#path = path;
    this.#marking = setInterval(() => void this.#raiseMark(), MARK_EVERY_MS).unref();
  }

  /**
   * Opens or creates the database; fails with one clear sentence when it is locked, damaged, of a newer format, or has lost
   * what was acknowledged, and then has not changed it.
   */
  static async open(path: string, options: StoreOptions): Promise<Store> {
    const { writeBuffer = DEFAULT_WRITE_BUFFER, health, memory } = options;
    await assertWhole(path, options);
    const opening: { database?: Database; store?: Store } = {};
    const disk = await DiskGuard.open({
      path,
      writeBuffer,
      guards: options.guardsDisk ?? true,
      onChange: (problem) => health.set("disk", problem),
      onRoomForCompactions: (bytes) => opening.database?.limitCompactions(bytes),
    });
    const database = await openWithoutTornWrite(path, options, {
      createIfMissing: true,
      dbWriteBufferBytes: writeBuffer,
      maxTotalWalBytes: 2 * writeBuffer,
      ...(options.blockCache !== undefined && { blockCacheBytes: options.blockCache }),
      onBackgroundError: (error) => {
        if (opening.store) opening.store.#turnReadOnly(error);
      },
    });
    try {
      const lsn = await readHeader(database, path);
      const mark = await Acknowledged.open(path, { lsn, ...manifestOf(database.syncedManifest()) });
      opening.database = database;
      opening.store = new Store(database, { lsn, disk, memory, health, mark, path });
      disk.watch();
      return opening.store;
    } catch (error) {
      await database.close();
      throw (error as StoreError).code === "CORRUPTION" ? readFailed(error) : error;
    }
  }

  /** The sequence number of the last write that memory shows. */
  get lsn(): number {
    return this.#appliedLsn;
  }

  /**
   * The sequence number of the last write that a read snapshot holds. Resolves once memory shows that write: who has been
   * answered from the snapshot must not be answered from before it afterwards.
   */
  async lsnAt(snapshot: Snapshot): Promise<number> {
    const lsn = decodeU64(valueAt(await this.database.multiGet(CATALOG, [LSN_KEY], snapshot), 0));
    while (this.#appliedLsn < lsn) {
      const [oldest] = this.#commits;
      // Its `apply` has failed: memory never shows it.
      if (oldest === undefined) break;
      await oldest.catch(() => {});
    }
    return lsn;
  }

  get readOnly(): boolean {
    return this.#fault !== undefined;
  }

  /**
   * Commits what `fill` puts into the batch and then calls `apply`; both get the write's lsn. Resolves to it. Without an
   * await before the batch is handed over, so calls made in one turn keep their order. The disk and the memory decide
   * whether a write of this kind is admitted.
   */
  commit(
    kind: WriteKind,
    fill: (batch: WriteBatch, lsn: number) => void,
    apply?: (lsn: number) => void,
  ): Promise<number> {
    const commit = this.#commit(kind, fill, apply);
    this.#commits.add(commit);
    const forget = () => void this.#commits.delete(commit);
    commit.then(forget, forget);
    return commit;
  }

  assertWritable(): void {
    if (this.#closing) throw shuttingDown();
    if (this.readOnly) throw readOnly(this.#fault);
  }

  /** Creates a column family; resolves to its number. */
  async createFamily(name: string): Promise<number> {
    this.assertWritable();
    this.disk.admit("grow", 0);
    return this.#changing(this.database.createColumnFamily(name));
  }

  /** Drops a column family with all that it holds. */
  async dropFamily(columnFamily: number): Promise<void> {
    this.assertWritable();
    return this.#changing(this.database.dropColumnFamily(columnFamily));
  }

  /** Gives back the disk space of what is deleted and overwritten in a column family. */
  async compact(columnFamily: number): Promise<void> {
    this.assertWritable();
    this.disk.admit("shrink", 0);
    await this.database.flush(columnFamily);
    await this.database.compact(columnFamily);
  }

  /** Bytes of its memtables and its block cache. */
  get memoryBytes(): number {
    const families = this.database.columnFamilies();
    const memtables = families.map(({ id }) => this.#property(id, "rocksdb.cur-size-all-mem-tables"));
    return memtables.reduce((sum, bytes) => sum + bytes, this.#property(CATALOG, "rocksdb.block-cache-usage"));
  }

  /** Refuses new writes and waits for those under way; reads go on. */
  async stopWrites(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled(this.#commits);
  }

  /** Call `stopWrites` first. */
  async close(): Promise<void> {
    clearInterval(this.#marking);
    this.memory.close();
    await this.#raiseMark();
    await this.disk.close();
    await this.database.close();
    // What ran in the background may have changed the manifest until now; all of it is synced.
    await this.#raiseMark(() => findManifest(this.#path));
    await this.#mark.close();
  }

  /** A mark that cannot be written is a fault of the storage like any other: what it says could not be trusted later. */
  #raiseMark(
    manifest: () => Manifest | Promise<Manifest> = () => manifestOf(this.database.syncedManifest()),
  ): Promise<void> {
    this.#marked = this.#marked.then(async () => {
      const lsn = this.#appliedLsn;
      if (this.readOnly) return;
      try {
        const reached = { lsn, ...(await manifest()) };
        if (!(await this.#mark.isBehind(reached)) || this.readOnly) return;
        await this.#mark.raise(reached);
      } catch (error) {
        // Before anything is written: connections hold all file descriptors, until the next look.
        if (!isOutOfFiles(error)) this.#turnReadOnly(error);
      }
    });
    return this.#marked;
  }

  async #changing<T>(change: Promise<T>): Promise<T> {
    try {
      return await change;
    } catch (error) {
      throw this.#writeFailed(error as StoreError, "drop");
    }
  }

  async #commit(
    kind: WriteKind,
    fill: (batch: WriteBatch, lsn: number) => void,
    apply?: (lsn: number) => void,
  ): Promise<number> {
    this.assertWritable();
    this.disk.admit(kind, 0);
    const lsn = ++this.#assignedLsn;
    const batch = new WriteBatch();
    fill(batch, lsn);
    batch.put(CATALOG, LSN_KEY, encodeU64(lsn));
    this.disk.admit(kind, batch.byteLength);
    const release = kind === "grow" ? this.memory.admit(batch.byteLength) : undefined;
    try {
      await this.#write(kind, batch);
      await workTurns.next(batch.byteLength);
      this.#apply(lsn, apply);
    } finally {
      release?.();
    }
    return lsn;
  }

  async #write(kind: WriteKind, batch: WriteBatch): Promise<void> {
    failpoint("before-write");
    try {
      await this.database.write(batch.bytes(), this.disk.leastFree(kind));
    } catch (error) {
      throw this.#writeFailed(error as StoreError, kind);
    }
  }

  #apply(lsn: number, apply: ((lsn: number) => void) | undefined): void {
    try {
      failpoint("after-write");
      apply?.(lsn);
    } catch (error) {
      // Durable but not visible: memory may no longer be trusted to show what is stored.
      throw this.#outcomeUnknown(error);
    }
    this.#appliedLsn = lsn;
    failpoint("after-apply");
  }

  #property(columnFamily: number, name: string): number {
    return Number(this.database.property(columnFamily, name) ?? 0);
  }

  #writeFailed(error: StoreError, kind: WriteKind): QuiverError {
    switch (error.code) {
      case "DISK_FULL":
        return this.disk.foundFull(kind, error);
      case "BUSY":
        return new QuiverError("INGEST_BACKLOG", "Cannot write now: the store is busy flushing", {
          retryAfterMs: RETRY_BUSY_MS,
          cause: error,
        });
      case "OUT_OF_MEMORY":
        return new QuiverError("MEMORY_FULL", "Cannot write: no memory is left", { cause: error });
      case "NOT_FOUND":
        return new QuiverError("INDEX_NOT_FOUND", "Cannot write: the index was deleted", { cause: error });
      case "CLOSED":
        return shuttingDown(error);
      case "INVALID_ARGUMENT":
      case "ALREADY_EXISTS":
      case "LOCKED":
        return new QuiverError("INTERNAL", "Cannot write: the batch was refused", { cause: error });
      case "CORRUPTION":
      case "IO_ERROR":
      case "NO_SPACE":
        return this.#outcomeUnknown(error);
    }
  }

  #outcomeUnknown(cause: unknown): QuiverError {
    this.#turnReadOnly(cause);
    return new QuiverError(
      "WRITE_OUTCOME_UNKNOWN",
      "The write failed in storage and may or may not be applied; the store is read-only now",
      { cause },
    );
  }

  /** After a storage fault nothing is written any more: a failed fsync must not be tried again. */
  #turnReadOnly(fault: unknown): void {
    if (this.readOnly) return;
    this.#fault = fault;
    this.#health.set("storage", readOnly(fault));
  }
}

function readOnly(cause: unknown): QuiverError {
  return new QuiverError(
    "STORAGE_READ_ONLY",
    "The store is read-only after a storage fault: repair the disk and restart the server",
    { cause },
  );
}

/** Refuses a database that must not be opened, before a byte of it changes. */
async function assertWhole(path: string, { onWarning }: StoreOptions): Promise<void> {
  const marked = await readAcknowledged(path);
  await assertManifestWhole(path);
  const header = await peekDatabase(path, HEADER_KEYS).catch((error: StoreError) => {
    if (error.code === "NOT_FOUND") return undefined;
    throw openingFailed(path, error);
  });
  const lsn = (header && headerIn(header, path)?.lsn) ?? 0;
  if (marked !== undefined && lsn < marked) {
    throw await lossOf(path, { marked, lsn });
  }
  if (marked === undefined && lsn > 0) {
    onWarning?.(
      `The file ${ACKNOWLEDGED} is missing in "${path}": whether acknowledged writes are lost cannot be told this time`,
    );
  }
}

/** Says that writes are lost, and where: with a log that is damaged in its middle, the store does not open without the mark either. */
async function lossOf(path: string, { marked, lsn }: { readonly marked: number; readonly lsn: number }) {
  const damage = await findLogDamage(path);
  const loss = `writes up to lsn ${marked} were acknowledged, but only those up to lsn ${lsn} are there`;
  const problem = damage ? `the file "${damage.file}" is damaged: ${loss}` : loss;
  const canOpen = damage === undefined || damage.isTornWrite;
  const acceptance = `; or delete the file "${join(path, ACKNOWLEDGED)}": then what came after lsn ${lsn} is lost, if the store opens`;
  return new QuiverError(
    "CORRUPTION",
    `Cannot open "${path}": ${problem}; copy the directory first, then restore a backup${canOpen ? acceptance : ""}`,
    { metadata: { acknowledged: `${marked}`, found: `${lsn}` } },
  );
}

/** Opens it, and when that fails for a write that a power cut tore, without that write. */
async function openWithoutTornWrite(
  path: string,
  { onWarning }: StoreOptions,
  options: Parameters<typeof openDatabase>[1],
): Promise<Database> {
  try {
    return await openDatabase(path, options);
  } catch (error) {
    const damage = (error as StoreError).code === "CORRUPTION" ? await findLogDamage(path) : undefined;
    if (!damage?.isTornWrite) throw openingFailed(path, error as StoreError, damage?.file);
    await cutTornWrite(path, damage);
    onWarning?.(
      `The last write in "${join(path, damage.file)}" was torn, as by a power cut, and is left out: it was not acknowledged, unless in the last second before that`,
    );
    return await openDatabase(path, options).catch((again: StoreError) => {
      throw openingFailed(path, again);
    });
  }
}

/** Undefined in a new database. Throws CORRUPTION when it is damaged, or of a newer format. */
function headerIn(entries: Entries, path: string): Header | undefined {
  const header = decodeHeader(entries);
  if (header === undefined) throw noHeader(path);
  if (header === "absent") return undefined;
  if (header.formatVersion > FORMAT_VERSION) {
    throw new QuiverError(
      "CORRUPTION",
      `Cannot open "${path}": it has format version ${header.formatVersion}, this release reads up to ${FORMAT_VERSION}; use the release that wrote it`,
    );
  }
  return header;
}

function noHeader(path: string): QuiverError {
  return new QuiverError("CORRUPTION", `Cannot open "${path}": it holds no Quiver data, or its header is damaged`);
}

function isOutOfFiles(error: unknown): boolean {
  return ["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** What a failed read means to the caller. */
export function readFailed(error: unknown): QuiverError {
  if (error instanceof QuiverError) return error;
  switch ((error as StoreError).code) {
    case "CORRUPTION":
      return damaged(`Stored bytes are damaged: ${(error as Error).message}`, error);
    case "NOT_FOUND":
      return new QuiverError("INDEX_NOT_FOUND", "Cannot read: the index was deleted", { cause: error });
    case "CLOSED":
      return shuttingDown(error);
    default:
      return new QuiverError("INTERNAL", "Cannot read from the store", { cause: error });
  }
}

/** A CORRUPTION of the store, with the file that the message is about. */
export function damaged(message: string, cause?: unknown): QuiverError {
  const file = fileIn(message);
  return new QuiverError("CORRUPTION", message, { cause, ...(file !== undefined && { metadata: { file } }) });
}

/** The file of the store that a message is about. */
export function fileIn(message: string): string | undefined {
  return /\b(\d{6,}\.(?:sst|log)|MANIFEST-\d{6,}|CURRENT)\b/.exec(message)?.[0];
}

/** The last lsn; writes the header of a new database, and the version of one that an older release wrote. */
async function readHeader(database: Database, path: string): Promise<number> {
  const { entries: first } = await database.scan({ columnFamily: CATALOG, limit: 1 });
  const header = headerIn(await database.multiGet(CATALOG, HEADER_KEYS), path);
  if (header?.formatVersion === FORMAT_VERSION) return header.lsn;
  if (!header && first.length > 0) throw noHeader(path);
  const batch = new WriteBatch();
  if (!header) batch.put(CATALOG, LSN_KEY, encodeU64(0));
  batch.put(CATALOG, FORMAT_KEY, encodeU32(FORMAT_VERSION));
  await database.write(batch.bytes());
  return header?.lsn ?? 0;
}

/** `log`: the damaged one, which RocksDB does not name. */
function openingFailed(path: string, cause: StoreError, log?: string): QuiverError {
  switch (cause.code) {
    case "LOCKED":
      return new QuiverError(
        "STORAGE_LOCKED",
        `Cannot open "${path}": another process is using it; stop that one or choose another directory with --data`,
        { cause },
      );
    case "CORRUPTION":
      return new QuiverError(
        "CORRUPTION",
        `${cause.message}${log === undefined ? "" : ` in the file "${log}"`}; copy the directory first, then restore a backup`,
        { cause },
      );
    default:
      return new QuiverError("INTERNAL", cause.message, { cause });
  }
}
