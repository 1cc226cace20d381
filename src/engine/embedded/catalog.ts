import type { Bucket, Index } from "../engine.ts";
import { BUCKET_KIND, INDEX_KIND, storeKey, text, utf8 } from "./layout.ts";
import { CATALOG, keyAt, type Store, valueAt } from "./store.ts";

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

  async load(): Promise<{ buckets: Bucket[]; indexes: IndexRecord[] }> {
    const buckets: Bucket[] = [];
    const indexes: IndexRecord[] = [];
    await this.#each(BUCKET_KIND, (name, record) => buckets.push({ ...(record as Omit<Bucket, "name">), name }));
    await this.#each(INDEX_KIND, (name, record) => {
      const [bucket = "", index = ""] = name.split("\0");
      indexes.push({ ...(record as Omit<IndexRecord, "bucket" | "index">), bucket, index });
    });
    return { buckets, indexes };
  }

  /** `apply` runs once the record is durable, as in Store.commit. */
  async putBucket({ name, ...record }: Bucket, apply: () => void): Promise<void> {
    await this.#store.commit((batch) => batch.put(CATALOG, storeKey(BUCKET_KIND, name), encode(record)), apply);
  }

  async deleteBucket(name: string, apply: () => void): Promise<void> {
    await this.#store.commit((batch) => batch.delete(CATALOG, storeKey(BUCKET_KIND, name)), apply);
  }

  async putIndex({ bucket, index, ...record }: IndexRecord, apply: () => void): Promise<void> {
    await this.#store.commit((batch) => batch.put(CATALOG, storeKey(INDEX_KIND, bucket, index), encode(record)), apply);
  }

  async deleteIndex(bucket: string, index: string, apply: () => void): Promise<void> {
    await this.#store.commit((batch) => batch.delete(CATALOG, storeKey(INDEX_KIND, bucket, index)), apply);
  }

  async #each(kind: number, use: (name: string, record: unknown) => void): Promise<void> {
    const range = { columnFamily: CATALOG, gte: Uint8Array.of(kind), lt: Uint8Array.of(kind + 1) };
    const chunk = await this.#store.database.scan({ ...range, limit: RECORDS_MAX, maxBytes: RECORD_BYTES_MAX });
    if (!chunk.done) throw new Error("The catalog is larger than this release can load");
    for (let i = 0; i < chunk.entries.length / 4; i++) {
      use(text(keyAt(chunk, i).subarray(1)), JSON.parse(text(valueAt(chunk, i))));
    }
  }
}

const RECORDS_MAX = 1_000_000;
const RECORD_BYTES_MAX = 1 << 28;

function encode(record: object): Uint8Array {
  return utf8(JSON.stringify(record));
}
