import { ABSENT, type Database, type Entries, type Snapshot } from "../../../native/rocksdb.ts";
import type { WriteBatch } from "../../../native/write-batch.ts";
import type { Projection, Vector, VectorInput } from "../engine.ts";
import {
  bytesOfSparse,
  decodeMetadata,
  decodeSparse,
  decodeU64,
  decodeVector,
  encodeSparse,
  endOfPrefix,
  endsOfKeys,
  IDEMPOTENCY_KIND,
  json,
  keyAt,
  METADATA_KIND,
  metadataHeader,
  metadataJson,
  NAMESPACE_KIND,
  namespaceRange,
  SPARSE_KIND,
  storeKey,
  storeKeys,
  storeKeyText,
  successor,
  text,
  utf8,
  VECTOR_KIND,
  valueAt,
  vectorHeader,
} from "./layout.ts";
import type { ProcessMemory } from "./memory/process-memory.ts";
import { scanRange } from "./scan.ts";
import type { SetLoader } from "./set/set-loader.ts";
import type { DataRecord, SetRestorer } from "./set/set-restorer.ts";

/** Metadata records read per turn while listing. */
const LIST_CHUNK_RECORDS = 1_000;
/** When one page of fewer is wanted it is read alone, in pieces that stay in the cache. */
const PAGE_RECORDS_MAX = 1_001;
const PAGE_BYTES = 1024 * 1024;

/** A vector with its metadata as it will be stored. */
export interface PreparedVector extends Omit<VectorInput, "ifVersion"> {
  readonly metadataJson: Uint8Array;
  /** Of key, data, sparse values and metadata, as quotas count them. */
  readonly bytes: number;
}

export function prepareVector({ key, data, sparse, metadata }: VectorInput): PreparedVector {
  const encoded = metadataJson(metadata);
  const bytes =
    Buffer.byteLength(key) + (data?.byteLength ?? 0) + (sparse ? bytesOfSparse(sparse) : 0) + encoded.length;
  return { key, data, sparse, metadata, metadataJson: encoded, bytes };
}

/** Keys of a namespace in ascending byte order, with their metadata records. */
export interface MetadataChunk {
  readonly keys: readonly string[];
  record(i: number): Uint8Array;
}

interface MetadataOptions {
  readonly prefix: string;
  readonly after: string | undefined;
  readonly snapshot: Snapshot;
  /** How many are wanted. */
  readonly count: number;
}

/** Bytes in memory for each of stored metadata that is answered: as objects, and as the message that they become. */
const DECODED_TIMES = 16;

/** The stored records of the vectors of one index: what is on disk, whatever memory shows. */
export class Records {
  readonly #database: Database;
  readonly #columnFamily: number;
  /** Only then a vector may have a sparse record, or no data record. */
  readonly #allowsSparse: boolean;
  /** Refuses to load so many bytes more into memory. */
  readonly assertLoadable: (bytes: number) => Promise<void>;
  readonly #takeMemory: ProcessMemory["take"];

  constructor(
    database: Database,
    columnFamily: number,
    options: Pick<Records, "assertLoadable"> & {
      readonly allowsSparse: boolean;
      readonly takeMemory: ProcessMemory["take"];
    },
  ) {
    this.#database = database;
    this.#columnFamily = columnFamily;
    this.#allowsSparse = options.allowsSparse;
    this.assertLoadable = options.assertLoadable;
    this.#takeMemory = options.takeMemory;
  }

  /** `replaces`: the key may have records, of which those must go that the vector has not. */
  put(
    batch: WriteBatch,
    vectors: readonly PreparedVector[],
    at: { readonly namespace: string; readonly version: number; readonly replaces: (key: string) => boolean },
  ): void {
    const { namespace, version, replaces } = at;
    const family = this.#columnFamily;
    let header: Uint8Array | undefined;
    for (const { key, data, sparse } of vectors) {
      const dataKey = storeKeyText(VECTOR_KIND, namespace, key);
      if (data) {
        // All data of an index has one dimension.
        header ??= vectorHeader(version, data.length);
        batch.put(family, dataKey, header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      } else if (replaces(key)) batch.delete(family, dataKey);
      if (!this.#allowsSparse) continue;
      const sparseKey = storeKeyText(SPARSE_KIND, namespace, key);
      if (sparse) batch.put(family, sparseKey, encodeSparse(version, sparse));
      else if (replaces(key)) batch.delete(family, sparseKey);
    }
    this.putMetadata(batch, vectors, at);
  }

  putMetadata(
    batch: WriteBatch,
    vectors: readonly Pick<PreparedVector, "key" | "metadataJson">[],
    { namespace, version }: { readonly namespace: string; readonly version: number },
  ): void {
    const header = metadataHeader(version);
    for (const { key, metadataJson: encoded } of vectors) {
      batch.put(this.#columnFamily, storeKeyText(METADATA_KIND, namespace, key), header, encoded);
    }
  }

  delete(batch: WriteBatch, namespace: string, key: string): void {
    for (const kind of this.#kinds) batch.delete(this.#columnFamily, storeKeyText(kind, namespace, key));
  }

  /** Deletes every vector of a namespace. */
  clear(batch: WriteBatch, namespace: string): void {
    for (const kind of this.#kinds) this.#deleteRange(batch, kind, namespace);
  }

  putNamespace(batch: WriteBatch, namespace: string, createdAt: number): void {
    const record = utf8(JSON.stringify({ createdAt }));
    batch.put(this.#columnFamily, storeKey(NAMESPACE_KIND, namespace), record);
  }

  /** Deletes the namespace's own record, and what writes with idempotency keys answered. */
  deleteNamespace(batch: WriteBatch, namespace: string): void {
    this.clear(batch, namespace);
    this.#deleteRange(batch, IDEMPOTENCY_KIND, namespace);
    batch.delete(this.#columnFamily, storeKey(NAMESPACE_KIND, namespace));
  }

  /** Entry i is the vector of keys[i], or undefined when it is absent; all as of one moment. */
  async get(
    namespace: string,
    keys: readonly string[],
    { projection, snapshot }: { readonly projection: Projection; readonly snapshot?: Snapshot },
  ): Promise<(Vector | undefined)[]> {
    const kinds = projection.data ? [METADATA_KIND, ...this.#dataKinds] : [METADATA_KIND];
    const [metadata, data, sparse] = await this.#look(kinds, namespace, keys, snapshot);
    const records = keys.map((_, i) => metadata?.(i));
    if (projection.metadata) await this.#takeDecoded(records);
    return keys.map((key, i) => {
      const record = records[i];
      return record && toVector({ key, record, data: data?.(i), sparse: sparse?.(i) }, projection);
    });
  }

  /** The vectors whose metadata records were read already, with the parts that are asked for. */
  async complete(
    namespace: string,
    found: readonly { readonly key: string; readonly record: Uint8Array }[],
    { projection, snapshot }: { readonly projection: Projection; readonly snapshot: Snapshot },
  ): Promise<Vector[]> {
    const keys = found.map(({ key }) => key);
    const [data, sparse] = projection.data ? await this.#look(this.#dataKinds, namespace, keys, snapshot) : [];
    if (projection.metadata) await this.#takeDecoded(found.map(({ record }) => record));
    return found.map((each, i) => toVector({ ...each, data: data?.(i), sparse: sparse?.(i) }, projection));
  }

  async #takeDecoded(records: readonly (Uint8Array | undefined)[]): Promise<void> {
    await this.#takeMemory(DECODED_TIMES * records.reduce((sum, record) => sum + (record?.length ?? 0), 0));
  }

  /** The metadata records of keys that start with `prefix` and come after `after`, chunk by chunk. */
  async *metadata(
    namespace: string,
    { prefix, after, snapshot, ...options }: MetadataOptions,
  ): AsyncGenerator<MetadataChunk> {
    const from = storeKey(METADATA_KIND, namespace, prefix);
    const afterKey = after === undefined ? from : successor(storeKey(METADATA_KIND, namespace, after));
    const first = Buffer.compare(afterKey, from) > 0 ? afterKey : from;
    const offset = storeKey(METADATA_KIND, namespace, "").length;
    const isPage = options.count < PAGE_RECORDS_MAX;
    const size = isPage ? { limit: options.count + 1, maxBytes: PAGE_BYTES } : { limit: LIST_CHUNK_RECORDS };
    const range = { from: first, to: endOfPrefix(from), snapshot, ...size };
    for await (const chunk of scanRange(this.#database, { ...range, columnFamily: this.#columnFamily })) {
      yield { keys: endsOfKeys(chunk, offset), record: (i) => valueAt(chunk, i) };
    }
  }

  /** The metadata records of some keys, given in ascending byte order; absent ones are left out. */
  async *metadataOf(
    namespace: string,
    keys: readonly string[],
    { snapshot }: { readonly snapshot: Snapshot },
  ): AsyncGenerator<MetadataChunk> {
    for (let at = 0; at < keys.length; at += LIST_CHUNK_RECORDS) {
      const some = keys.slice(at, at + LIST_CHUNK_RECORDS);
      const [recordOf] = await this.#look([METADATA_KIND], namespace, some, snapshot);
      const records = some.flatMap((key, i) => {
        const record = recordOf?.(i);
        return record ? [{ key, record }] : [];
      });
      yield { keys: records.map(({ key }) => key), record: (i) => (records[i] as (typeof records)[0]).record };
    }
  }

  /** The namespaces but the default one. */
  async *namespaces(): AsyncGenerator<{ name: string; createdAt: number }> {
    const range = { from: Uint8Array.of(NAMESPACE_KIND), to: Uint8Array.of(NAMESPACE_KIND + 1) };
    for await (const chunk of scanRange(this.#database, { ...range, columnFamily: this.#columnFamily })) {
      for (let i = 0; i < chunk.entries.length / 4; i++) {
        const { createdAt } = json(valueAt(chunk, i)) as { createdAt: number };
        yield { name: text(keyAt(chunk, i).subarray(1)), createdAt };
      }
    }
  }

  /**
   * Hands everything that is stored, as of the moment of the call, to the loaders of its namespaces; of `only` one of them
   * when it is given, or of all `but` some. Ends early when `isCancelled`.
   */
  async load(
    loaderOf: (namespace: string) => SetLoader,
    options: { readonly only?: string; readonly but?: readonly string[]; readonly isCancelled: () => boolean },
  ): Promise<void> {
    const { only, but = [], isCancelled } = options;
    const snapshot = this.#database.snapshot();
    try {
      for (const kind of [VECTOR_KIND, SPARSE_KIND, METADATA_KIND]) {
        for (const range of only === undefined ? rangesBut(kind, but) : [namespaceRange(kind, only)]) {
          for await (const chunk of this.#scan(range, snapshot)) {
            if (isCancelled()) return;
            loadChunk(kind, chunk, loaderOf);
          }
        }
      }
    } finally {
      snapshot.release();
    }
  }

  /** Brings what was restored from a saved graph to what is stored now. Ends early when `isCancelled`. */
  async restore(namespace: string, restorer: SetRestorer, isCancelled: () => boolean): Promise<void> {
    const snapshot = this.#database.snapshot();
    try {
      const readData = (keys: readonly string[]) => this.#dataOf(namespace, keys, snapshot);
      for await (const chunk of this.#scan(namespaceRange(METADATA_KIND, namespace), snapshot)) {
        if (isCancelled()) return;
        const records = recordsOf(chunk).map(({ key, record }) => ({ key, ...decodeMetadata(record) }));
        await restorer.loadMetadata(records, readData);
      }
      restorer.deleteAbsent();
      for await (const chunk of this.#scan(namespaceRange(SPARSE_KIND, namespace), snapshot)) {
        if (isCancelled()) return;
        restorer.loadSparse(recordsOf(chunk).map(({ key, record }) => ({ key, sparse: decodeSparse(record) })));
      }
      restorer.finish();
    } finally {
      snapshot.release();
    }
  }

  /** The data records of keys, of those that have one. */
  async #dataOf(namespace: string, keys: readonly string[], snapshot: Snapshot): Promise<Map<string, DataRecord>> {
    const [recordOf] = await this.#look([VECTOR_KIND], namespace, keys, snapshot);
    return new Map(
      keys.flatMap((key, i) => {
        const record = recordOf?.(i);
        return record ? [[key, decodeVector(record)] as const] : [];
      }),
    );
  }

  /** What is to be loaded into memory, chunk by chunk, each when there is room for it. */
  async *#scan(range: { readonly from: Uint8Array; readonly to: Uint8Array }, snapshot: Snapshot) {
    for await (const chunk of scanRange(this.#database, { ...range, columnFamily: this.#columnFamily, snapshot })) {
      await this.assertLoadable(chunk.data.byteLength);
      yield chunk;
    }
  }

  get #kinds(): readonly number[] {
    return [METADATA_KIND, ...this.#dataKinds];
  }

  get #dataKinds(): readonly number[] {
    return this.#allowsSparse ? [VECTOR_KIND, SPARSE_KIND] : [VECTOR_KIND];
  }

  #deleteRange(batch: WriteBatch, kind: number, namespace: string): void {
    const { from, to } = namespaceRange(kind, namespace);
    batch.deleteRange(this.#columnFamily, from, to);
  }

  /** For each kind, what tells the record of keys[i]; all as of one moment. */
  async #look(
    kinds: readonly number[],
    namespace: string,
    keys: readonly string[],
    snapshot?: Snapshot,
  ): Promise<((i: number) => Uint8Array<ArrayBuffer> | undefined)[]> {
    const wanted = kinds.flatMap((kind) => storeKeys(kind, namespace, keys));
    const found = await this.#database.multiGet(this.#columnFamily, wanted, snapshot);
    return kinds.map((_, kind) => (i) => recordAt(found, kind * keys.length + i));
  }
}

/** The ranges of all records of a kind but those of some namespaces. */
function rangesBut(kind: number, namespaces: readonly string[]): { from: Uint8Array; to: Uint8Array }[] {
  const left = namespaces.map((namespace) => namespaceRange(kind, namespace));
  left.sort((a, b) => Buffer.compare(a.from, b.from));
  const starts = [Uint8Array.of(kind), ...left.map(({ to }) => to)];
  const ends = [...left.map(({ from }) => from), Uint8Array.of(kind + 1)];
  return starts.map((from, i) => ({ from, to: ends[i] as Uint8Array }));
}

/** The records of one chunk: views that live as long as the chunk. */
function recordsOf(chunk: Entries): { namespace: string; key: string; record: Uint8Array<ArrayBuffer> }[] {
  return Array.from({ length: chunk.entries.length / 4 }, (_, i) => {
    const storedKey = text(keyAt(chunk, i));
    const separator = storedKey.indexOf("\0");
    return { namespace: storedKey.slice(1, separator), key: storedKey.slice(separator + 1), record: valueAt(chunk, i) };
  });
}

/** Hands the records of one chunk on, namespace by namespace. */
function loadChunk(kind: number, chunk: Entries, loaderOf: (namespace: string) => SetLoader): void {
  const records = recordsOf(chunk);
  for (const [namespace, group] of Map.groupBy(records, (record) => record.namespace)) {
    const loader = loaderOf(namespace);
    if (kind === VECTOR_KIND) loader.loadData(group.map(({ key, record }) => ({ key, ...decodeVector(record) })));
    else if (kind === SPARSE_KIND) {
      loader.loadSparse(group.map(({ key, record }) => ({ key, sparse: decodeSparse(record) })));
    } else loader.loadMetadata(group.map(({ key, record }) => ({ key, ...decodeMetadata(record) })));
  }
}

function recordAt(entries: Entries, i: number): Uint8Array<ArrayBuffer> | undefined {
  return entries.entries[4 * i + 2] === ABSENT ? undefined : valueAt(entries, i);
}

interface StoredParts {
  readonly key: string;
  /** Of its metadata. */
  readonly record: Uint8Array;
  readonly data: Uint8Array<ArrayBuffer> | undefined;
  readonly sparse: Uint8Array<ArrayBuffer> | undefined;
}

function toVector({ key, record, data, sparse }: StoredParts, projection: Projection): Vector {
  const { version, metadata } = projection.metadata ? decodeMetadata(record) : { version: decodeU64(record) };
  return {
    key,
    version,
    ...(metadata && { metadata }),
    ...(data && { data: decodeVector(data).data }),
    ...(sparse && { sparse: decodeSparse(sparse) }),
  };
}
