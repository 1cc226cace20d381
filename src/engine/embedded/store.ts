import { type Database, type Entries, openDatabase, type StoreError } from "../../../native/rocksdb.ts";
import { WriteBatch } from "../../../native/write-batch.ts";
import { QuiverError } from "../../errors.ts";
import { decodeU32, decodeU64, encodeU32, encodeU64, FORMAT_KEY, FORMAT_VERSION, LSN_KEY } from "./layout.ts";

/** The catalog's column family. */
export const CATALOG = 0;

const RETRY_BUSY_MS = 1000;
const IO_ERROR = { code: "IO_ERROR" } as const;

/**
 * The database with its sequence number: the only way to write. Batches commit in the order of their lsn; `apply` runs
 * right after its batch is durable, in the same order, so memory never shows what a crash could take back.
 */
export class Store {
  readonly database: Database;
  #assignedLsn: number;
  #appliedLsn: number;
  #readOnly: QuiverError | undefined;
  #closing = false;

  private constructor(database: Database, lsn: number) {
    this.database = database;
    this.#assignedLsn = lsn;
    this.#appliedLsn = lsn;
  }

  /** Opens or creates the database; fails with one clear sentence when it is locked, damaged or of another format. */
  static async open(path: string): Promise<Store> {
    const opening: { store?: Store } = {};
    const database = await openDatabase(path, {
      createIfMissing: true,
      onBackgroundError: (error) => opening.store?.turnReadOnly(error),
    }).catch((error: StoreError) => {
      throw openingFailed(path, error);
    });
    try {
      const lsn = await readHeader(database, path);
      opening.store = new Store(database, lsn);
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

  get readOnly(): boolean {
    return this.#readOnly !== undefined;
  }

  /**
   * Commits what `fill` puts into the batch and then calls `apply`; both get the write's lsn. Resolves to it. Without an
   * await before the batch is handed over, so calls made in one turn keep their order.
   */
  async commit(fill: (batch: WriteBatch, lsn: number) => void, apply: (lsn: number) => void): Promise<number> {
    this.assertWritable();
    const lsn = ++this.#assignedLsn;
    const batch = new WriteBatch();
    fill(batch, lsn);
    batch.put(CATALOG, LSN_KEY, encodeU64(lsn));
    try {
      await this.database.write(batch.bytes());
    } catch (error) {
      throw this.#writeFailed(error as StoreError);
    }
    try {
      apply(lsn);
    } catch (error) {
      // Durable but not visible: memory may no longer be trusted to show what is stored.
      throw this.#writeFailed(Object.assign(new Error("Memory could not take the write", { cause: error }), IO_ERROR));
    }
    this.#appliedLsn = lsn;
    return lsn;
  }

  assertWritable(): void {
    if (this.#closing) throw new QuiverError("SHUTTING_DOWN", "The server is shutting down", { retryAfterMs: 1000 });
    if (this.#readOnly) {
      throw new QuiverError(this.#readOnly.reason, this.#readOnly.message, { cause: this.#readOnly.cause });
    }
  }

  /** After a storage fault nothing is written any more: a failed fsync must not be tried again. */
  turnReadOnly(cause: StoreError): void {
    this.#readOnly ??= new QuiverError(
      "STORAGE_READ_ONLY",
      "The store is read-only after a storage fault; repair the disk and restart the server",
      { cause },
    );
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.database.close();
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
        return new QuiverError("SHUTTING_DOWN", "The server is shutting down", { retryAfterMs: 1000, cause: error });
      case "INVALID_ARGUMENT":
      case "ALREADY_EXISTS":
      case "LOCKED":
        return new QuiverError("INTERNAL", "Cannot write: the batch was refused", { cause: error });
      case "CORRUPTION":
      case "IO_ERROR":
      case "NO_SPACE":
        this.turnReadOnly(error);
        return new QuiverError(
          "WRITE_OUTCOME_UNKNOWN",
          "The write failed in storage and may or may not be applied; the store is read-only now",
          { cause: error },
        );
    }
  }
}

/** What a failed read means to the caller. */
export function readFailed(error: unknown): QuiverError {
  if (error instanceof QuiverError) return error;
  const code = (error as StoreError).code;
  switch (code) {
    case "CORRUPTION":
      return new QuiverError("CORRUPTION", `Stored bytes are damaged: ${(error as Error).message}`, { cause: error });
    case "NOT_FOUND":
      return new QuiverError("INDEX_NOT_FOUND", "Cannot read: the index was deleted", { cause: error });
    case "CLOSED":
      return new QuiverError("SHUTTING_DOWN", "The server is shutting down", { retryAfterMs: 1000, cause: error });
    default:
      return new QuiverError("INTERNAL", "Cannot read from the store", { cause: error });
  }
}

/** The key of entry i. */
export function keyAt({ data, entries }: Entries, i: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data, entries[4 * i], entries[4 * i + 1]);
}

/** The value of entry i; only for entries that are present. */
export function valueAt({ data, entries }: Entries, i: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data, entries[4 * i + 2], entries[4 * i + 3]);
}

/** Checks the format version, writing it into a new database, and returns the last lsn. */
async function readHeader(database: Database, path: string): Promise<number> {
  const header = await database.scan({ columnFamily: CATALOG, limit: 2 });
  if (header.entries.length === 0) {
    const batch = new WriteBatch();
    batch.put(CATALOG, FORMAT_KEY, encodeU32(FORMAT_VERSION));
    batch.put(CATALOG, LSN_KEY, encodeU64(0));
    await database.write(batch.bytes());
    return 0;
  }
  const isOurs = keyAt(header, 0)[0] === FORMAT_KEY[0] && valueAt(header, 0).length === 4;
  const version = isOurs ? decodeU32(valueAt(header, 0)) : undefined;
  if (version !== FORMAT_VERSION) {
    const found = version === undefined ? "no format version" : `format version ${version}`;
    throw new QuiverError(
      "CORRUPTION",
      `Cannot open "${path}": it has ${found}, this release reads ${FORMAT_VERSION}; use the release that wrote it`,
    );
  }
  return decodeU64(valueAt(header, 1));
}

function openingFailed(path: string, error: StoreError): QuiverError {
  switch (error.code) {
    case "LOCKED":
      return new QuiverError(
        "STORAGE_READ_ONLY",
        `Cannot open "${path}": another process is using it; stop that one or choose another directory with --data`,
        { cause: error },
      );
    case "CORRUPTION":
      return new QuiverError("CORRUPTION", `Cannot open "${path}": ${error.message}; restore a backup`, {
        cause: error,
      });
    default:
      return new QuiverError("INTERNAL", `Cannot open "${path}": ${error.message}`, { cause: error });
  }
}
