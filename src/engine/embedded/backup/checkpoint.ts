import { join } from "node:path";
import type { Database, StoreError } from "../../../../native/rocksdb.ts";
import { QuiverError } from "../../../errors.ts";
import { damaged, readFailed } from "../storage/store.ts";
import { remove } from "./files.ts";

/** What checkpoints are made for: there is one of each at a time. */
const PURPOSES = ["backup", "verify"] as const;

/**
 * Makes a checkpoint of an open database in the data directory, for the time that `use` takes: links to its files, which
 * stay as they are whatever the database does, and a copy of the end of its write-ahead log.
 */
export async function withCheckpoint<T>(
  database: Database,
  data: string,
  { purpose, use }: { readonly purpose: (typeof PURPOSES)[number]; readonly use: (checkpoint: string) => Promise<T> },
): Promise<T> {
  const path = join(data, nameOf(purpose));
  await removeCheckpoint(path);
  try {
    await database.checkpoint(path).catch((error: StoreError) => {
      throw checkpointFailed(error);
    });
    return await use(path);
  } catch (error) {
    // What is told of has the same name in the data directory, where people can look at it.
    if (!(error instanceof QuiverError) || !error.message.includes(path)) throw error;
    const { reason, message, metadata, cause } = error;
    throw new QuiverError(reason, message.replaceAll(path, data), { metadata, cause });
  } finally {
    await removeCheckpoint(path);
  }
}

/** Removes what a crash left of checkpoints. */
export async function removeCheckpoints(data: string): Promise<void> {
  for (const purpose of PURPOSES) await removeCheckpoint(join(data, nameOf(purpose)));
}

function checkpointFailed(cause: StoreError): QuiverError {
  switch (cause.code) {
    case "NO_SPACE":
      return new QuiverError("DISK_FULL", "Cannot make a checkpoint of the store: the disk is full", { cause });
    // A file that is not there, or that the disk does not give.
    case "IO_ERROR":
      return damaged(`Stored files are damaged: ${cause.message}`, cause);
    default:
      return readFailed(cause);
  }
}

function nameOf(purpose: string): string {
  return `checkpoint-${purpose}`;
}

/** RocksDB makes a checkpoint under another name first. */
async function removeCheckpoint(path: string): Promise<void> {
  await remove(path);
  await remove(`${path}.tmp`);
}
