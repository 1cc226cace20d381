import { hasBit, setBit, uniteDifference } from "../../../filter/bitmap.ts";
import type { SparseData } from "../../engine.ts";
import { UnusableGraph } from "./key-file.ts";
import { incomplete, withoutMetadata } from "./set-loader.ts";
import type { LoadedMetadata, VectorSet } from "./vector-set.ts";

/** Vectors whose data is read at once. */
const READ_VECTORS = 1_000;

/** A metadata record, which every stored vector has. */
export interface MetadataRecord extends LoadedMetadata {
  readonly key: string;
}

/** A data record; its version is that of the write that put the data, which may be older than the metadata's. */
export interface DataRecord {
  readonly version: number;
  readonly data: Float32Array;
}

/**
 * Brings a set that was restored from a saved graph to what the store holds. Whatever was written after the moment of
 * the save has a version above its lsn: such vectors are taken from the store, all others must be in the graph already.
 *
 *     every metadata record, in chunks: await loadMetadata
 *     deleteAbsent()
 *     every sparse record, in chunks: loadSparse
 *     finish()
 *
 * Throws UnusableGraph where graph and store contradict each other, CORRUPTION where stored records do. Nobody may use
 * or write to the set meanwhile.
 */
export class SetRestorer {
  readonly set: VectorSet;
  readonly #lsn: number;
  /** Bitmaps of ordinals: found in the store; found to have sparse values there. */
  #stored: Uint32Array;
  #withSparse = new Uint32Array(0);

  /** `lsn`: that of the save. */
  constructor(set: VectorSet, lsn: number) {
    this.set = set;
    this.#lsn = lsn;
    this.#stored = new Uint32Array(set.live.length);
  }

  /** `read` answers the data records of keys, of those that have one. */
  async loadMetadata(
    records: readonly MetadataRecord[],
    read: (keys: readonly string[]) => Promise<ReadonlyMap<string, DataRecord>>,
  ): Promise<void> {
    // One look-up of each key: a million of them take a second.
    const ordinals = records.map(({ key }) => this.set.ordinalOf(key));
    const changed = records.filter((record, i) => this.#isChanged(record, ordinals[i])).map(({ key }) => key);
    for (let at = 0; at < changed.length; at += READ_VECTORS) {
      const some = changed.slice(at, at + READ_VECTORS);
      const data = await read(some);
      const changedToo = some.filter((key) => !this.#holds(key, data.get(key)));
      this.set.put(changedToo.map((key) => withoutMetadata(this.set, key, data.get(key)?.data)));
    }
    if (this.#stored.length < this.set.live.length) this.#stored = grown(this.#stored, this.set.live.length);
    for (const [i, record] of records.entries()) {
      const ordinal = record.version > this.#lsn ? this.set.ordinalOf(record.key) : ordinals[i];
      if (ordinal === undefined) continue;
      this.set.completeAt(ordinal, record);
      setBit(this.#stored, ordinal);
    }
  }

  /** Takes away what was deleted since the save. After all metadata. */
  deleteAbsent(): void {
    const absent = new Uint32Array(this.set.live.length);
    uniteDifference(absent, this.set.live, this.#stored, 0);
    const keys = this.set.keysOf(absent);
    if (keys.length > 0) this.set.delete(keys);
    this.#withSparse = new Uint32Array(this.set.live.length);
  }

  loadSparse(vectors: readonly { readonly key: string; readonly sparse: SparseData }[]): void {
    for (const { key, sparse } of vectors) {
      const ordinal = this.set.ordinalOf(key);
      if (ordinal === undefined) throw incomplete("data but no metadata");
      this.set.completeSparse(key, sparse);
      setBit(this.#withSparse, ordinal);
    }
  }

  finish(): void {
    const { live, withData } = this.set;
    for (let word = 0; word < live.length; word++) {
      const held = (withData[word] ?? 0) | (this.#withSparse[word] ?? 0);
      if ((live[word] ?? 0) & ~held) throw incomplete("metadata but no data");
    }
    this.set.recall.notice();
  }

  #isChanged({ key, version }: MetadataRecord, ordinal: number | undefined): boolean {
    if (version > this.#lsn) return true;
    if (ordinal !== undefined && this.set.versionAt(ordinal) === version) return false;
    throw new UnusableGraph(`it does not know version ${version} of the vector ${JSON.stringify(key)}`);
  }

  /** True when only the metadata of a vector was written to since the save. */
  #holds(key: string, record: DataRecord | undefined): boolean {
    const ordinal = this.set.ordinalOf(key);
    if (ordinal === undefined || record === undefined) return false;
    return record.version <= this.#lsn && hasBit(this.set.withData, ordinal);
  }
}

function grown(bitmap: Uint32Array, words: number): Uint32Array<ArrayBuffer> {
  const all = new Uint32Array(words);
  all.set(bitmap);
  return all;
}
