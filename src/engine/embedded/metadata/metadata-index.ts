import { setBit } from "../../../filter/bitmap.ts";
import { compileFilter } from "../../../filter/compile.ts";
import type { Bounds, Filter, FilterValue } from "../../../filter/filter.ts";
import type { Metadata, MetadataValue } from "../../engine.ts";
import { LargeMap } from "./large-map.ts";
import { NumberPostings } from "./number-postings.ts";
import { OrdinalSet } from "./ordinal-set.ts";

/**
 * The filterable metadata of one partition, by value. It need not be told of vectors that die: what it holds of them is
 * passed over by `select`, and goes away when the partition is built anew.
 */
export class MetadataIndex {
  readonly #nonFilterableKeys: ReadonlySet<string>;
  readonly #fields = new LargeMap<string, Field>();
  #bytes = 0;

  /** `nonFilterableKeys` are not indexed. */
  constructor(nonFilterableKeys: readonly string[]) {
    this.#nonFilterableKeys = new Set(nonFilterableKeys);
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return this.#bytes;
  }

  /** An ordinal that has metadata must be removed with it first. */
  add(ordinal: number, metadata: Metadata): void {
    for (const [key, value] of Object.entries(metadata)) {
      if (this.#nonFilterableKeys.has(key)) continue;
      let field = this.#fields.get(key);
      if (!field) {
        field = new Field();
        this.#fields.set(key, field);
        this.#bytes += entryBytes(key) + field.bytes;
      }
      const before = field.bytes;
      field.add(ordinal, value);
      this.#bytes += field.bytes - before;
    }
  }

  /** `metadata` is what the ordinal was added with. */
  remove(ordinal: number, metadata: Metadata): void {
    for (const [key, value] of Object.entries(metadata)) {
      const field = this.#fields.get(key);
      if (!field) continue;
      const before = field.bytes;
      field.remove(ordinal, value);
      this.#bytes += field.bytes - before;
      if (!field.isEmpty) continue;
      this.#fields.delete(key);
      this.#bytes -= entryBytes(key) + field.bytes;
    }
  }

  /** The ordinals of the bitmap `live` whose metadata matches, as a new bitmap of its length. */
  select(filter: Filter, live: Uint32Array): Uint32Array {
    return compileFilter(
      filter,
      {
        addEqual: (key, value, into) => this.#fields.get(key)?.addEqual(value, into),
        addWithin: (key, bounds, into) => this.#fields.get(key)?.addWithin(bounds, into),
        addHaving: (key, into) => this.#fields.get(key)?.addHaving(into),
      },
      live,
    );
  }
}

/** Ordinals; one alone needs no object, as in a field where every value is another. */
type Postings = number | OrdinalSet;

/** What is known of one metadata key. Numbers stand in ranges, apart from numbers in lists, which no range matches. */
class Field {
  #having: Postings | undefined;
  #true: Postings | undefined;
  #false: Postings | undefined;
  #strings: LargeMap<string, Postings> | undefined;
  #numbers: NumberPostings | undefined;
  #listedNumbers: NumberPostings | undefined;
  bytes = FIELD_BYTES;

  get isEmpty(): boolean {
    return this.#having === undefined;
  }

  add(ordinal: number, value: MetadataValue): void {
    this.#having = this.#with(this.#having, ordinal);
    for (const element of elementsOf(value)) {
      if (typeof element === "string") this.#addString(ordinal, element);
      else if (typeof element === "number") this.#addNumber(ordinal, element, Array.isArray(value));
      else if (element === true) this.#true = this.#with(this.#true, ordinal);
      else if (element === false) this.#false = this.#with(this.#false, ordinal);
    }
  }

  remove(ordinal: number, value: MetadataValue): void {
    this.#having = this.#without(this.#having, ordinal);
    for (const element of elementsOf(value)) {
      if (typeof element === "string") this.#removeString(ordinal, element);
      else if (typeof element === "number") this.#removeNumber(ordinal, element, Array.isArray(value));
      else if (element === true) this.#true = this.#without(this.#true, ordinal);
      else if (element === false) this.#false = this.#without(this.#false, ordinal);
    }
  }

  addEqual(value: FilterValue, into: Uint32Array): void {
    if (typeof value === "string") addTo(this.#strings?.get(value), into);
    else if (typeof value === "boolean") addTo(value ? this.#true : this.#false, into);
    else {
      const only = { gte: value, lte: value };
      this.#numbers?.addWithin(only, into);
      this.#listedNumbers?.addWithin(only, into);
    }
  }

  addWithin(bounds: Bounds, into: Uint32Array): void {
    this.#numbers?.addWithin(bounds, into);
  }

  addHaving(into: Uint32Array): void {
    addTo(this.#having, into);
  }

  #addString(ordinal: number, text: string): void {
    this.#strings ??= new LargeMap();
    const before = this.#strings.get(text);
    const after = this.#with(before, ordinal);
    if (before === undefined) this.bytes += entryBytes(text);
    if (after !== before) this.#strings.set(text, after);
  }

  #removeString(ordinal: number, text: string): void {
    const before = this.#strings?.get(text);
    if (before === undefined || this.#without(before, ordinal) !== undefined) return;
    this.#strings?.delete(text);
    this.bytes -= entryBytes(text);
  }

  #addNumber(ordinal: number, value: number, listed: boolean): void {
    const numbers = listed ? this.#listedNumbers : this.#numbers;
    if (numbers) {
      const before = numbers.bytes;
      numbers.add(value, ordinal);
      this.bytes += numbers.bytes - before;
      return;
    }
    const created = new NumberPostings({ value, ordinal }, { oncePerOrdinal: !listed });
    this.bytes += created.bytes;
    if (listed) this.#listedNumbers = created;
    else this.#numbers = created;
  }

  #removeNumber(ordinal: number, value: number, listed: boolean): void {
    const numbers = listed ? this.#listedNumbers : this.#numbers;
    if (!numbers) return;
    const before = numbers.bytes;
    numbers.remove(value, ordinal);
    this.bytes += (numbers.isEmpty ? 0 : numbers.bytes) - before;
    if (!numbers.isEmpty) return;
    if (listed) this.#listedNumbers = undefined;
    else this.#numbers = undefined;
  }

  #with(postings: Postings | undefined, ordinal: number): Postings {
    if (postings === undefined || postings === ordinal) return ordinal;
    if (typeof postings === "number") {
      const set = new OrdinalSet();
      set.add(postings);
      set.add(ordinal);
      this.bytes += set.bytes;
      return set;
    }
    const before = postings.bytes;
    postings.add(ordinal);
    this.bytes += postings.bytes - before;
    return postings;
  }

  /** Undefined when none is left. */
  #without(postings: Postings | undefined, ordinal: number): Postings | undefined {
    if (postings === undefined || typeof postings === "number") return postings === ordinal ? undefined : postings;
    postings.remove(ordinal);
    if (postings.size > 0) return postings;
    this.bytes -= postings.bytes;
    return undefined;
  }
}

/** Each element of a list once; a value that is no list is its own element. */
function elementsOf(value: MetadataValue): Iterable<MetadataValue> {
  return Array.isArray(value) ? new Set<MetadataValue>(value) : [value];
}

function addTo(postings: Postings | undefined, into: Uint32Array): void {
  if (typeof postings === "number") setBit(into, postings);
  else postings?.addTo(into);
}

const FIELD_BYTES = 100;

/** Of a string as a key of a map: the map's entry, the string's header and its characters, one byte each. */
function entryBytes(text: string): number {
  return 40 + 16 + text.length;
}
