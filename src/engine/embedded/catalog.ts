import type { WriteBatch } from "../../../native/write-batch.ts";
import type { Bucket, Index } from "../engine.ts";
import { BUCKET_KIND, DROPPED_KIND, INDEX_KIND, json, keyAt, storeKey, text, utf8, valueAt } from "./layout.ts";
import { scanRange } from "./scan.ts";
import { CATALOG, type Store } from "./storage/store.ts";

/** An index as the catalog holds it: with the column family that keeps its vectors. */
export interface IndexRecord extends Index {
  readonly columnFamily: string;
}

/** The records of buckets and indexes in the default column family. */
export class Catalog {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** What is stored; `dropped` names the column families of deleted indexes. */
  async load(): Promise<{ buckets: Bucket[]; indexes: IndexRecord[]; dropped: Set<string> }> {
    const buckets: Bucket[] = [];
    const indexes: IndexRecord[] = [];
    const dropped = new Set<string>();
    for await (const { name, value } of this.#records(BUCKET_KIND)) {
      buckets.push({ ...(json(value) as Omit<Bucket, "name">), name });
    }
    for await (const { name, value } of this.#records(INDEX_KIND)) {
      const [bucket = "", index = ""] = name.split("\0");
      indexes.push({ ...(json(value) as Omit<IndexRecord, "bucket" | "index">), bucket, index });
    }
    for await (const { name } of this.#records(DROPPED_KIND)) dropped.add(name);
    return { buckets, indexes, dropped };
  }

  /** `apply` runs once the record is durable, as in Store.commit. */
  async putBucket({ name, ...record }: Bucket, apply: () => void): Promise<void> {
    await this.#store.commit("grow", (batch) => batch.put(CATALOG, storeKey(BUCKET_KIND, name), encode(record)), apply);
  }

  async deleteBucket(name: string, apply: () => void): Promise<void> {
    await this.#store.commit("drop", (batch) => batch.delete(CATALOG, storeKey(BUCKET_KIND, name)), apply);
  }

  /** `also` may add to the batch. */
  async putIndex(
    { bucket, index, ...record }: IndexRecord,
    apply: () => void,
    also: (batch: WriteBatch, lsn: number) => void = () => {},
  ): Promise<void> {
    await this.#store.commit(
      "grow",
      (batch, lsn) => {
        batch.put(CATALOG, storeKey(INDEX_KIND, bucket, index), encode(record));
        also(batch, lsn);
      },
      apply,
    );
  }

  /** Also notes that the index's column family may be dropped. */
  async deleteIndex({ bucket, index, columnFamily }: IndexRecord, apply: () => void): Promise<void> {
    await this.#store.commit(
      "drop",
      (batch) => {
        batch.delete(CATALOG, storeKey(INDEX_KIND, bucket, index));
        batch.put(CATALOG, storeKey(DROPPED_KIND, columnFamily), new Uint8Array());
      },
      apply,
    );
  }

  /** Forgets a column family that is dropped. */
  async forgetDropped(columnFamily: string): Promise<void> {
    await this.#store.commit("drop", (batch) => batch.delete(CATALOG, storeKey(DROPPED_KIND, columnFamily)));
  }

  async *#records(kind: number): AsyncGenerator<{ name: string; value: Uint8Array }> {
    const range = { columnFamily: CATALOG, from: Uint8Array.of(kind), to: Uint8Array.of(kind + 1) };
    for await (const chunk of scanRange(this.#store.database, range)) {
      for (let i = 0; i < chunk.entries.length / 4; i++) {
        yield { name: text(keyAt(chunk, i).subarray(1)), value: valueAt(chunk, i) };
      }
    }
  }
}

function encode(record: object): Uint8Array {
  return utf8(JSON.stringify(record));
}
