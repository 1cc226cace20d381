import type { Database, Entries, Snapshot } from "../../../../native/rocksdb.ts";
import { keyAt, namespaceRange, valueAt } from "../layout.ts";
import { scanRange } from "../scan.ts";

/** Few enough that decoding them does not hold the event loop for long. */
export const CHUNK_RECORDS = 1_000;

/** Goes through the records of one kind in one namespace, in the order of their keys. */
export class RecordCursor {
  /** The key, in UTF-8; undefined at the end. */
  key: Uint8Array | undefined;
  readonly #offset: number;
  readonly #chunks: AsyncIterator<Entries>;
  #chunk: Entries | undefined;
  #at = -1;

  private constructor(offset: number, chunks: AsyncIterator<Entries>) {
    this.#offset = offset;
    this.#chunks = chunks;
  }

  /** At the first record. */
  static async open(
    database: Database,
    { kind, namespace, ...where }: { kind: number; namespace: string; columnFamily: number; snapshot: Snapshot },
  ): Promise<RecordCursor> {
    const range = { ...namespaceRange(kind, namespace), ...where, limit: CHUNK_RECORDS };
    const cursor = new RecordCursor(range.from.length, scanRange(database, range));
    await cursor.next();
    return cursor;
  }

  /** The record's value; only while there is a key. */
  get value(): Uint8Array<ArrayBuffer> {
    return valueAt(this.#chunk as Entries, this.#at);
  }

  /** Goes on; true when that took a read, after which other calls have had their turn. */
  async next(): Promise<boolean> {
    const reads = !this.#chunk || this.#at + 1 >= this.#chunk.entries.length / 4;
    if (reads) {
      const { value, done } = await this.#chunks.next();
      this.#chunk = done === true ? undefined : value;
      this.#at = -1;
    }
    this.#at++;
    this.key = this.#chunk && keyAt(this.#chunk, this.#at).subarray(this.#offset);
    return reads;
  }
}
