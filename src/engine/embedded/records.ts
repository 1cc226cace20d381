import { ABSENT, type Database, type Entries, type Snapshot } from "../../../native/rocksdb.ts";
import type { WriteBatch } from "../../../native/write-batch.ts";
import type { ListOptions, Projection, Vector, VectorInput } from "../engine.ts";
import {
  decodeMetadata,
  decodeVector,
  decodeVersion,
  encodeMetadata,
  encodeVector,
  endOfPrefix,
  keyAt,
  METADATA_KIND,
  NAMESPACE_KIND,
  storeKey,
  successor,
  text,
  utf8,
  VECTOR_KIND,
  valueAt,
} from "./layout.ts";
import { scanRange } from "./scan.ts";

/** Records read per turn while listing. */
const LIST_CHUNK_RECORDS = 1_000;

/** The stored records of the vectors of one index: what is on disk, whatever memory shows. */
export class Records {
  readonly #database: Database;
  readonly #columnFamily: number;
  readonly #dataBytes: number;

  constructor(database: Database, columnFamily: number, dimension: number) {
    this.#database = database;
    this.#columnFamily = columnFamily;
    this.#dataBytes = dimension * Float32Array.BYTES_PER_ELEMENT;
  }

  put(batch: WriteBatch, namespace: string, version: number, { key, data, metadata }: VectorInput): void {
    batch.put(this.#columnFamily, storeKey(VECTOR_KIND, namespace, key), encodeVector(version, data));
    batch.put(this.#columnFamily, storeKey(METADATA_KIND, namespace, key), encodeMetadata(version, metadata));
  }

  delete(batch: WriteBatch, namespace: string, key: string): void {
    batch.delete(this.#columnFamily, storeKey(VECTOR_KIND, namespace, key));
    batch.delete(this.#columnFamily, storeKey(METADATA_KIND, namespace, key));
  }

  /** Entry i is the vector of keys[i], or undefined when it is absent; all as of one moment. */
  async get(namespace: string, keys: readonly string[], projection: Projection): Promise<(Vector | undefined)[]> {
    const snapshot = this.#database.snapshot();
    try {
      const [metadata, data] = await Promise.all([
        this.#multiGet(METADATA_KIND, namespace, keys, snapshot),
        projection.data ? this.#multiGet(VECTOR_KIND, namespace, keys, snapshot) : undefined,
      ]);
      return keys.map((key, i) => {
        const record = recordAt(metadata, i);
        return record && toVector(key, record, data && recordAt(data, i), projection);
      });
    } finally {
      snapshot.release();
    }
  }

  /** A page of vectors in ascending byte order of their keys. */
  async list(namespace: string, options: ListOptions): Promise<{ items: Vector[]; more: boolean }> {
    const snapshot = this.#database.snapshot();
    try {
      const page = new ListPage(options, options.projection.data ? this.#dataBytes : 0);
      for await (const { keys, chunk } of this.#metadataChunks(namespace, options, snapshot)) {
        const chosen = [...keys.entries()].filter(([, key]) => inSegment(key, options.segment)).slice(0, page.room);
        const chosenKeys = chosen.map(([, key]) => key);
        const data = options.projection.data
          ? await this.#multiGet(VECTOR_KIND, namespace, chosenKeys, snapshot)
          : undefined;
        for (const [at, [i, key]] of chosen.entries()) {
          const record = valueAt(chunk, i);
          if (page.isFull) return { items: page.items, more: true };
          page.add(toVector(key, record, data && recordAt(data, at), options.projection), record.length);
        }
      }
      return { items: page.items, more: false };
    } finally {
      snapshot.release();
    }
  }

  putNamespace(batch: WriteBatch, namespace: string): void {
    const record = utf8(JSON.stringify({ createdAt: Date.now() }));
    batch.put(this.#columnFamily, storeKey(NAMESPACE_KIND, namespace), record);
  }

  /** The names of all namespaces but the default one. */
  async *namespaces(): AsyncGenerator<string> {
    for await (const chunk of this.#chunks(Uint8Array.of(NAMESPACE_KIND), Uint8Array.of(NAMESPACE_KIND + 1))) {
      for (let i = 0; i < chunk.entries.length / 4; i++) yield text(keyAt(chunk, i).subarray(1));
    }
  }

  /** Every vector of the index with its namespace, in chunks; the data are views that live as long as the chunk. */
  async *scan(): AsyncGenerator<{ namespace: string; key: string; version: number; data: Float32Array }[]> {
    for await (const chunk of this.#chunks(Uint8Array.of(VECTOR_KIND), Uint8Array.of(VECTOR_KIND + 1))) {
      yield Array.from({ length: chunk.entries.length / 4 }, (_, i) => {
        const storedKey = text(keyAt(chunk, i));
        const separator = storedKey.indexOf("\0");
        const namespace = storedKey.slice(1, separator);
        return { namespace, key: storedKey.slice(separator + 1), ...decodeVector(valueAt(chunk, i)) };
      });
    }
  }

  async *#metadataChunks(namespace: string, { prefix, after }: ListOptions, snapshot: Snapshot) {
    const from = storeKey(METADATA_KIND, namespace, prefix);
    const afterKey = after === undefined ? from : successor(storeKey(METADATA_KIND, namespace, after));
    const first = Buffer.compare(afterKey, from) > 0 ? afterKey : from;
    const keyOffset = storeKey(METADATA_KIND, namespace, "").length;
    for await (const chunk of this.#chunks(first, endOfPrefix(from), { snapshot, limit: LIST_CHUNK_RECORDS })) {
      const keys = Array.from({ length: chunk.entries.length / 4 }, (_, i) =>
        text(keyAt(chunk, i).subarray(keyOffset)),
      );
      yield { keys, chunk };
    }
  }

  #chunks(from: Uint8Array, to: Uint8Array, options: { snapshot?: Snapshot; limit?: number } = {}) {
    return scanRange(this.#database, { ...options, columnFamily: this.#columnFamily, from, to });
  }

  #multiGet(kind: number, namespace: string, keys: readonly string[], snapshot: Snapshot): Promise<Entries> {
    const storeKeys = keys.map((key) => storeKey(kind, namespace, key));
    return this.#database.multiGet(this.#columnFamily, storeKeys, snapshot);
  }
}

/** Collects a page until it is full by number or by bytes. */
class ListPage {
  readonly items: Vector[] = [];
  readonly #options: ListOptions;
  readonly #dataBytes: number;
  #bytes = 0;

  /** `dataBytes`: what the data of one vector adds. */
  constructor(options: ListOptions, dataBytes: number) {
    this.#options = options;
    this.#dataBytes = dataBytes;
  }

  get isFull(): boolean {
    return this.items.length >= this.#options.maxResults || this.#bytes >= this.#options.maxBytes;
  }

  /** How many vectors are worth reading: one more than can fit tells whether another page follows. */
  get room(): number {
    const byNumber = this.#options.maxResults - this.items.length;
    const byBytes = Math.ceil((this.#options.maxBytes - this.#bytes) / Math.max(1, this.#dataBytes));
    return Math.max(0, Math.min(byNumber, byBytes)) + 1;
  }

  add(vector: Vector, metadataBytes: number): void {
    this.items.push(vector);
    this.#bytes += Buffer.byteLength(vector.key) + this.#dataBytes + (vector.metadata ? metadataBytes : 0);
  }
}

function recordAt(entries: Entries, i: number): Uint8Array<ArrayBuffer> | undefined {
  return entries.entries[4 * i + 2] === ABSENT ? undefined : valueAt(entries, i);
}

function toVector(
  key: string,
  metadataRecord: Uint8Array<ArrayBuffer>,
  vectorRecord: Uint8Array<ArrayBuffer> | undefined,
  projection: Projection,
): Vector {
  return {
    key,
    version: decodeVersion(metadataRecord),
    ...(vectorRecord && { data: decodeVector(vectorRecord).data }),
    ...(projection.metadata && { metadata: decodeMetadata(metadataRecord) }),
  };
}

/** Segments part the keys by a hash, so that they are even whatever the keys look like: FNV-1a over UTF-16 units. */
function inSegment(key: string, segment: ListOptions["segment"]): boolean {
  if (!segment) return true;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % segment.count === segment.index;
}
