import { QuiverError } from "../../../errors.ts";
import type { Metadata, SparseData } from "../../engine.ts";
import { bytesOfSparse } from "../layout.ts";
import type { HeldVector, LoadedMetadata, MetadataChange, VectorSet } from "./vector-set.ts";

/**
 * Fills a vector set with what a read snapshot of the store holds, while writes that came after the snapshot go on:
 * what they touched is not loaded any more. First all data, then all sparse values, then all metadata.
 */
export class SetLoader {
  readonly set: VectorSet;
  readonly #touched = new Set<string>();
  readonly #changed = new Map<string, { metadata: Metadata; version: number; bytes: number }>();
  #loading = true;
  #abandoned = false;

  constructor(set: VectorSet) {
    this.set = set;
  }

  get isLoaded(): boolean {
    return !this.#loading;
  }

  /** True when nobody waits for the set any more: loading may stop. */
  get isAbandoned(): boolean {
    return this.#abandoned;
  }

  loadData(vectors: readonly { readonly key: string; readonly data: Float32Array }[]): void {
    const untouched = vectors.filter(({ key }) => !this.#touched.has(key));
    this.set.put(untouched.map(({ key, data }) => withoutMetadata(this.set, key, data)));
  }

  loadSparse(vectors: readonly { readonly key: string; readonly sparse: SparseData }[]): void {
    const untouched = vectors.filter(({ key }) => !this.#touched.has(key));
    for (const { key, sparse } of untouched) if (this.set.has(key)) this.set.completeSparse(key, sparse);
    const withoutData = untouched.filter(({ key }) => !this.set.has(key));
    this.set.put(withoutData.map(({ key, sparse }) => bare(key, bytesOfSparse(sparse), { sparse })));
  }

  loadMetadata(vectors: readonly (LoadedMetadata & { readonly key: string })[]): void {
    for (const { key, ...loaded } of vectors) {
      if (this.#touched.has(key)) continue;
      if (!this.set.has(key)) throw incomplete("metadata but no data");
      this.set.completeMetadata(key, this.#changed.get(key) ?? loaded);
    }
  }

  /** Throws CORRUPTION when a vector has no metadata record. */
  finish(): void {
    for (const key of this.set.keys()) if (this.set.versionOf(key) === 0) throw incomplete("data but no metadata");
    this.#loading = false;
    this.#touched.clear();
    this.#changed.clear();
  }

  put(vectors: readonly HeldVector[]): void {
    this.#touch(vectors.map(({ key }) => key));
    this.set.put(vectors);
  }

  delete(keys: readonly string[]): void {
    this.#touch(keys);
    this.set.delete(keys);
  }

  setMetadata(key: string, change: MetadataChange, bytes: number): void {
    const loaded = this.set.versionOf(key);
    // The read snapshot held the change already: it was durable, though memory had not shown it yet.
    if (loaded >= change.version) return;
    if (!this.#loading || loaded > 0) this.set.setMetadata(key, change);
    else this.#changed.set(key, { metadata: change.after, version: change.version, bytes });
  }

  /** Frees the memory. */
  abandon(): void {
    this.#abandoned = true;
    this.set.dispose();
  }

  #touch(keys: readonly string[]): void {
    if (this.#loading) for (const key of keys) this.#touched.add(key);
  }
}

/** A vector as it is put before its metadata is known. Throws CORRUPTION when the data does not fit the set. */
export function withoutMetadata(set: VectorSet, key: string, data: Float32Array | undefined): HeldVector {
  if (data && data.length !== set.dimension) {
    throw new QuiverError("CORRUPTION", `The stored vector ${JSON.stringify(key)} has ${data.length} values`);
  }
  return bare(key, data?.byteLength ?? 0, data ? { data } : {});
}

function bare(key: string, bytes: number, parts: Pick<HeldVector, "data" | "sparse">): HeldVector {
  return { key, version: 0, metadata: {}, bytes: Buffer.byteLength(key) + bytes, ...parts };
}

export function incomplete(what: string): QuiverError {
  return new QuiverError("CORRUPTION", `A stored vector has ${what}; stop the server and restore a backup`);
}
