import { ABSENT, type Database, openDatabase, type Snapshot, type StoreError } from "../../../../native/rocksdb.ts";
import { WriteBatch } from "../../../../native/write-batch.ts";
import { QuiverError, shuttingDown } from "../../../errors.ts";
import { decodeU32, decodeU64, encodeU32, encodeU64, FORMAT_KEY, FORMAT_VERSION, LSN_KEY, valueAt } from "../layout.ts";
import { DiskGuard, type WriteKind } from "./disk-guard.ts";
import type { HealthReport } from "./health.ts";

/** The catalog's column family. */
export const CATALOG = 0;

const RETRY_BUSY_MS = 1000;

const DEFAULT_WRITE_BUFFER = 128 * 1024 * 1024;

export interface StoreOptions {
  /** Bytes of memtables. Default 128 MiB. */
  readonly writeBuffer?: number | undefined;
  /** Is told what is wrong with the storage. */
  readonly health: HealthReport;
}

/**
 * The database with its sequence number: the only way to write. Batches commit in the order of their lsn; `apply` runs
 * right after its batch is durable, in the same order, so memory never shows what a crash could take back.
 */
export class Store {
  readonly database: Database;
  /** What may be written to the disk. */
  readonly disk: DiskGuard;
  readonly #health: HealthReport;
  readonly #commits = new Set<Promise<number>>();
  #assignedLsn: number;
  #appliedLsn: number;
  #fault: unknown;
  #closing = false;

  private constructor(
    database: Database,
    { lsn, disk, health }: { readonly lsn: number; readonly disk: DiskGuard; readonly health: HealthReport },
  ) {
    this.database = database;
    this.disk = disk;
    this.#assignedLsn = lsn;
    this.#appliedLsn = lsn;
    this.#health = health;
  }

  /** Opens or creates the database; fails with one clear sentence when it is locked, damaged or of another format. */
  static async open(path: string, { writeBuffer = DEFAULT_WRITE_BUFFER, health }: StoreOptions): Promise<Store> {
    const opening: { store?: Store } = {};
    const database = await openDatabase(path, {
      createIfMissing: true,
      dbWriteBufferBytes: writeBuffer,
      maxTotalWalBytes: 2 * writeBuffer,
      onBackgroundError: (error) => {
        if (opening.store) opening.store.#turnReadOnly(error);
      },
    }).catch((error: StoreError) => {
      throw openingFailed(path, error);
    });
    try {
      const lsn = await readHeader(database, path);
      const disk = await DiskGuard.start({ path, writeBuffer, onChange: (problem) => health.set("disk", problem) });
      opening.store = new Store(database, { lsn, disk, health });
      return opening.store;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  /** The sequence number of the last write that memory shows. */
  get lsn(): number {
    return this.#appliedLsn;
  }

  /** The sequence number of the last write that a read snapshot holds. */
  async lsnAt(snapshot: Snapshot): Promise<number> {
    return decodeU64(valueAt(await this.database.multiGet(CATALOG, [LSN_KEY], snapshot), 0));
  }

  get readOnly(): boolean {
    return this.#fault !== undefined;
  }

  /**
   * Commits what `fill` puts into the batch and then calls `apply`; both get the write's lsn. Resolves to it. Without an
   * await before the batch is handed over, so calls made in one turn keep their order. The disk decides whether a write
   * of this kind is admitted.
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

  /** Refuses new writes and waits for those under way; reads go on. */
  async stopWrites(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled(this.#commits);
  }

  /** Call `stopWrites` first. */
  async close(): Promise<void> {
    this.disk.close();
    await this.database.close();
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
    try {
      await this.database.write(batch.bytes());
    } catch (error) {
      throw this.#writeFailed(error as StoreError);
    }
    try {
      apply?.(lsn);
    } catch (error) {
      // Durable but not visible: memory may no longer be trusted to show what is stored.
      throw this.#outcomeUnknown(error);
    }
    this.#appliedLsn = lsn;
    return lsn;
  }

  #writeFailed(error: StoreError): QuiverError {
    switch (error.code) {
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

/** What a failed read means to the caller. */
export function readFailed(error: unknown): QuiverError {
  if (error instanceof QuiverError) return error;
  switch ((error as StoreError).code) {
    case "CORRUPTION":
      return new QuiverError("CORRUPTION", `Stored bytes are damaged: ${(error as Error).message}`, { cause: error });
    case "NOT_FOUND":
      return new QuiverError("INDEX_NOT_FOUND", "Cannot read: the index was deleted", { cause: error });
    case "CLOSED":
      return shuttingDown(error);
    default:
      return new QuiverError("INTERNAL", "Cannot read from the store", { cause: error });
  }
}

/** Checks the format version, writing it into a new database, and returns the last lsn. */
async function readHeader(database: Database, path: string): Promise<number> {
  const { entries: first } = await database.scan({ columnFamily: CATALOG, limit: 1 });
  if (first.length === 0) {
    const batch = new WriteBatch();
    batch.put(CATALOG, FORMAT_KEY, encodeU32(FORMAT_VERSION));
    batch.put(CATALOG, LSN_KEY, encodeU64(0));
    await database.write(batch.bytes());
    return 0;
  }
  const header = await database.multiGet(CATALOG, [FORMAT_KEY, LSN_KEY]);
  const [version, lsn] = [0, 1].map((i) => (header.entries[4 * i + 2] === ABSENT ? undefined : valueAt(header, i)));
  if (version?.length !== 4 || lsn?.length !== 8) {
    throw new QuiverError("CORRUPTION", `Cannot open "${path}": it holds no Quiver data, or its header is damaged`);
  }
  if (decodeU32(version) < FORMAT_VERSION) {
    const batch = new WriteBatch();
    batch.put(CATALOG, FORMAT_KEY, encodeU32(FORMAT_VERSION));
    await database.write(batch.bytes());
  } else if (decodeU32(version) > FORMAT_VERSION) {
    throw new QuiverError(
      "CORRUPTION",
      `Cannot open "${path}": it has format version ${decodeU32(version)}, this release reads up to ${FORMAT_VERSION}; use the release that wrote it`,
    );
  }
  return decodeU64(lsn);
}

function openingFailed(path: string, cause: StoreError): QuiverError {
  switch (cause.code) {
    case "LOCKED":
      return new QuiverError(
        "STORAGE_LOCKED",
        `Cannot open "${path}": another process is using it; stop that one or choose another directory with --data`,
        { cause },
      );
    case "CORRUPTION":
      return new QuiverError("CORRUPTION", `${cause.message}; restore a backup`, { cause });
    default:
      return new QuiverError("INTERNAL", cause.message, { cause });
  }
}
