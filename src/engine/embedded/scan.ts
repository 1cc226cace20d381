import type { Database, Entries, Snapshot } from "../../../native/rocksdb.ts";
import { keyAt, successor } from "./layout.ts";

export interface Range {
  readonly columnFamily: number;
  /** Inclusive. */
  readonly from: Uint8Array;
  /** Exclusive. */
  readonly to: Uint8Array;
  readonly snapshot?: Snapshot;
  /** Records per chunk. Default: as many as fit, at most 100,000. */
  readonly limit?: number;
  /** Of the records of a chunk, about; above 1 MiB they do not stay in the cache. Default 4 MiB. */
  readonly maxBytes?: number;
}

/** Every record of a range in the order of the keys, chunk by chunk; no chunk is empty. */
export async function* scanRange(database: Database, { from, to, ...options }: Range): AsyncGenerator<Entries> {
  for (let gte = from; ; ) {
    const chunk = await database.scan({ ...options, gte, lt: to });
    const count = chunk.entries.length / 4;
    if (count > 0) yield chunk;
    if (chunk.done) return;
    gte = successor(keyAt(chunk, count - 1));
  }
}
