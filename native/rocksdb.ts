/**
 * The RocksDB half of the native addon: one database, its column families, atomic fsynced batches, chunked scans.
 * Mechanisms only; which bytes are stored is decided in src/engine/embedded.
 *
 * Every method rejects (or throws, where it is synchronous) with a {@link StoreError}; no argument can end the process.
 */
import { addon } from "./addon.ts";

/** What went wrong, as a stable word; messages may change. */
export type StoreErrorCode =
  /** A wrong argument, or a batch that is not well formed. Nothing was done. */
  | "INVALID_ARGUMENT"
  /** The column family, or the database to open, does not exist (any more). Nothing was done. */
  | "NOT_FOUND"
  /** The column family exists already. Nothing was done. */
  | "ALREADY_EXISTS"
  /** The database is open already, in this process or in another. */
  | "LOCKED"
  /** Stored bytes fail their checksum, or a file is missing. */
  | "CORRUPTION"
  /** Less is free on the disk than the write asked for. Nothing was written; retry later. */
  | "DISK_FULL"
  /** Writing would have to wait for flushes, compactions or 1 GiB of earlier batches. Nothing was written; retry later. */
  | "BUSY"
  /** The disk is full; of `compact`: or would be. */
  | "NO_SPACE"
  /**
   * Reading or writing a file failed. The outcome of a failed write (also NO_SPACE, CORRUPTION) is unknown until the
   * next open; every later write, creation and drop fails with IO_ERROR, for a failed fsync must not be tried again.
   */
  | "IO_ERROR"
  /** Memory for the call cannot be had. Nothing was done. */
  | "OUT_OF_MEMORY"
  /** The database is closed or closing. */
  | "CLOSED";

/** The error of every failure in this half. */
export interface StoreError extends Error {
  readonly code: StoreErrorCode;
}

export interface OpenOptions {
  /** Create the database when the directory holds none. Default false. */
  createIfMissing?: boolean;
  /** Bytes of all memtables together, at least 1 MiB. Default 128 MiB. */
  dbWriteBufferBytes?: number;
  /** Bytes of write-ahead log after which memtables are flushed, at least 1 MiB. Default 256 MiB. */
  maxTotalWalBytes?: number;
  /** Bytes of the block cache, at least 1 MiB. Default 64 MiB. */
  blockCacheBytes?: number;
  /** Called on the JavaScript thread when RocksDB reports a background error; the database is read-only from then on. */
  onBackgroundError?: (error: StoreError) => void;
}

/**
 * Many entries in one buffer. Entry i is the four numbers entries[4i .. 4i+3]: key offset, key length, value offset,
 * value length, in bytes of `data`. Value offsets are multiples of 8, so that a value that starts with floats can be
 * viewed without a copy. A value that is absent (only from `multiGet`) has the offset `ABSENT`.
 */
export interface Entries {
  readonly data: ArrayBuffer;
  readonly entries: Uint32Array;
}

/** The value offset of a key that `multiGet` did not find. */
export const ABSENT = 0xffffffff;

export interface ScanOptions {
  columnFamily: number;
  /** First key, inclusive, at most 65,536 bytes. Absent: from the start. */
  gte?: Uint8Array;
  /** End, exclusive, at most 65,536 bytes. Absent: to the end. */
  lt?: Uint8Array;
  /** Entries at most, 1 to 1,000,000. Default 100,000. */
  limit?: number;
  /** Stops after the entry that reaches so many bytes, 1 to 268,435,456. Default 4 MiB. */
  maxBytes?: number;
  /** Leave the values out (their length is 0). Default false. */
  keysOnly?: boolean;
  snapshot?: Snapshot;
}

export interface ScanChunk extends Entries {
  /** True when the range ended; false when `limit` or `maxBytes` stopped the scan: go on after the last key. */
  readonly done: boolean;
}

/** A read snapshot: reads that are given it see the database as it was. Holds back compaction until it is released. */
export interface Snapshot {
  /** Releasing twice does nothing. */
  release(): void;
}

/**
 * An open database. Column families are named by numbers that stay valid until the family is dropped or the database is
 * closed, and are never reused while it is open; 0 is the default family.
 */
export interface Database {
  /** Name and number of every column family, the default one ("default", 0) included. */
  columnFamilies(): { name: string; id: number }[];
  /** Creates a column family of a name of 1 to 255 bytes; resolves to its number once it is durable. */
  createColumnFamily(name: string): Promise<number>;
  /**
   * Drops a column family (not the default one) with all that it holds. Batches already handed to `write` are committed first; later ones that
   * name it are rejected whole with NOT_FOUND. Scans under way finish or reject; none crashes.
   */
  dropColumnFamily(columnFamily: number): Promise<void>;
  /**
   * Commits one batch (see WriteBatch) atomically over all families that it names and resolves once it is fsynced.
   * Batches commit, and their promises settle, in the order of the calls; batches that wait together share one fsync.
   * A batch that is refused (INVALID_ARGUMENT, NOT_FOUND) does not touch its neighbours. The bytes, at most 1 GiB and
   * 1 MiB, are copied before the call returns. DISK_FULL when the file system has not its bytes and `leastFree` more
   * free right before it is written. Default 0: it is not asked.
   */
  write(batch: Uint8Array, leastFree?: number): Promise<void>;
  /**
   * Looks up at most 1,000,000 keys of 1 to 65,535 bytes, all in one state of the database; entry i of the answer is
   * key i (its key length is 0). INVALID_ARGUMENT when the values are more than 1 GiB together.
   */
  multiGet(columnFamily: number, keys: readonly Uint8Array[], snapshot?: Snapshot): Promise<Entries>;
  /** One chunk of a range in ascending key order. Holds no iterator between calls. */
  scan(options: ScanOptions): Promise<ScanChunk>;
  snapshot(): Snapshot;
  /**
   * Makes an openable copy in a new directory (hard links where the file system allows). INVALID_ARGUMENT when it
   * exists already or its parent does not.
   */
  checkpoint(path: string): Promise<void>;
  /** Writes the memtables of one family, or of all, to files. */
  flush(columnFamily?: number): Promise<void>;
  /**
   * Compacts one family wholly; gives back the space of deleted and overwritten entries. Closing the database cuts it
   * short; it then rejects with CLOSED.
   */
  compact(columnFamily: number): Promise<void>;
  /** Compactions that would write more bytes wait until they are told that there is more room. Default: none waits. */
  limitCompactions(room: number): void;
  /** RocksDB's number for the last write. */
  latestSequenceNumber(): bigint;
  /** A RocksDB property such as "rocksdb.total-sst-files-size"; undefined when RocksDB has none of that name. */
  property(columnFamily: number, name: string): string | undefined;
  /** The file that lists the tables, such as "MANIFEST-000005", and how much of it RocksDB has synced. */
  syncedManifest(): { readonly name: string; readonly bytes: number };
  /** Counters since open: { "rocksdb.wal.synced": 12n, ... }. */
  statistics(): Record<string, bigint>;
  /**
   * Waits for work in flight, releases snapshots, closes. Later calls reject with CLOSED; closing twice is fine. When it
   * rejects, because the last bytes could not be written, the database is closed nevertheless.
   */
  close(): Promise<void>;
}

/** Opens a database with all of its column families, replaying the write-ahead log. */
export function openDatabase(path: string, options: OpenOptions = {}): Promise<Database> {
  return addon.openDatabase(path, options);
}

/** Names of the column families of a database that is not open, "default" included. */
export function listColumnFamilies(path: string): Promise<string[]> {
  return addon.listColumnFamilies(path);
}

/**
 * Looks up keys as `multiGet` does, in the default family of a database that is not open, and changes no byte of it.
 * NOT_FOUND when there is none, LOCKED when it is open.
 */
export function peekDatabase(path: string, keys: readonly Uint8Array[]): Promise<Entries> {
  return addon.peekDatabase(path, keys);
}

/** Makes a file whose blocks are all there. NO_SPACE when they are not; IO_ERROR also where a file system cannot. */
export function allocateFile(path: string, bytes: number): Promise<void> {
  return addon.allocateFile(path, bytes);
}

/**
 * Reads a table file, of a database that is open or not, and compares every checksum in it: the name of its column family,
 * absent when it cannot be read, and what is wrong, absent when nothing is. IO_ERROR, or CORRUPTION where there is no such
 * file, when it cannot be read at all.
 */
export function checkTable(path: string): Promise<{ readonly columnFamily?: string; readonly damage?: string }> {
  return addon.checkTable(path);
}
