import { complement, intersect, unite } from "./bitmap.ts";
import type { Bounds, Filter, FilterValue } from "./filter.ts";

/**
 * Which ordinals have which metadata. Each method sets bits of `into` and clears none; ordinals beyond its end are passed
 * over. Bits of ordinals outside of the universe may be set or not.
 */
export interface MetadataPostings {
  /** Those whose value under the key is `value`, or is a list that holds it. */
  addEqual(key: string, value: FilterValue, into: Uint32Array): void;
  /** Those whose value under the key is a number, not a list, within the bounds. */
  addWithin(key: string, bounds: Bounds, into: Uint32Array): void;
  /** Those that have the key. */
  addHaving(key: string, into: Uint32Array): void;
}

/**
 * The ordinals of `universe` that match, as a new bitmap of the same length. Each bit is computed by itself, so that what
 * the postings say of ordinals outside of the universe changes nothing within, under `$not` neither.
 */
export function compileFilter(filter: Filter, postings: MetadataPostings, universe: Uint32Array): Uint32Array {
  const result = new Uint32Array(universe.length);
  new Compiler(postings, universe.length).add(filter, result);
  intersect(result, universe);
  return result;
}

class Compiler {
  readonly #postings: MetadataPostings;
  readonly #length: number;
  /** Bitmaps for use again: a filter of a thousand nodes needs as many as it is deep. */
  readonly #free: Uint32Array[] = [];

  constructor(postings: MetadataPostings, length: number) {
    this.#postings = postings;
    this.#length = length;
  }

  /** Sets the bits of what matches. */
  add(filter: Filter, into: Uint32Array): void {
    switch (filter.kind) {
      case "in":
        for (const value of filter.values) this.#postings.addEqual(filter.key, value, into);
        return;
      case "range":
        this.#postings.addWithin(filter.key, filter.bounds, into);
        return;
      case "exists":
        this.#postings.addHaving(filter.key, into);
        return;
      case "or":
        for (const each of filter.filters) this.add(each, into);
        return;
      case "not":
        this.#with(filter.filter, (matching) => {
          complement(matching);
          unite(into, matching);
        });
        return;
      case "and":
        this.#addAll(filter.filters, into);
    }
  }

  #addAll([first, ...rest]: readonly Filter[], into: Uint32Array): void {
    if (!first) return;
    this.#with(first, (result) => {
      for (const each of rest) this.#with(each, (matching) => intersect(result, matching));
      unite(into, result);
    });
  }

  #with(filter: Filter, use: (matching: Uint32Array) => void): void {
    const bitmap = this.#free.pop()?.fill(0) ?? new Uint32Array(this.#length);
    this.add(filter, bitmap);
    use(bitmap);
    this.#free.push(bitmap);
  }
}
