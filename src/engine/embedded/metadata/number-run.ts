import { setBit } from "../../../filter/bitmap.ts";
import { PrefixBitmaps } from "./prefix-bitmaps.ts";

export interface Pair {
  readonly value: number;
  readonly ordinal: number;
}

/** Where a range begins or ends. */
export interface RangeEnd {
  /** May be infinite. */
  readonly value: number;
  readonly inclusive: boolean;
}

/** Pairs in ascending order of number, then ordinal. A removed pair keeps its place, with a mark, until half are marked. */
export class NumberRun {
  #values: Float64Array;
  #ordinals: Uint32Array;
  #removed: Uint8Array | undefined;
  #removedCount = 0;
  /** Only where an ordinal stands once. */
  #prefixes: PrefixBitmaps | undefined;
  readonly #oncePerOrdinal: boolean;

  private constructor(values: Float64Array, ordinals: Uint32Array, oncePerOrdinal: boolean) {
    this.#values = values;
    this.#ordinals = ordinals;
    this.#oncePerOrdinal = oncePerOrdinal;
    this.#prefixes = oncePerOrdinal ? PrefixBitmaps.of(ordinals) : undefined;
  }

  /** Of pairs in order. */
  static of(pairs: readonly Pair[], oncePerOrdinal: boolean): NumberRun {
    return new NumberRun(
      Float64Array.from(pairs, ({ value }) => value),
      Uint32Array.from(pairs, ({ ordinal }) => ordinal),
      oncePerOrdinal,
    );
  }

  /** The pairs of both, without the removed ones. Neither is to be used any more. */
  static merge(a: NumberRun, b: NumberRun): NumberRun {
    a.#compact();
    b.#compact();
    const length = a.size + b.size;
    const values = new Float64Array(length);
    const ordinals = new Uint32Array(length);
    let left = 0;
    let right = 0;
    for (let i = 0; i < length; i++) {
      const takesLeft = right === b.size || (left < a.size && a.#compare(left, b, right) < 0);
      const from = takesLeft ? a : b;
      const at = takesLeft ? left++ : right++;
      values[i] = from.#values[at] as number;
      ordinals[i] = from.#ordinals[at] as number;
    }
    return new NumberRun(values, ordinals, a.#oncePerOrdinal);
  }

  get size(): number {
    return this.#ordinals.length - this.#removedCount;
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    const marks = this.#removed?.byteLength ?? 0;
    return RUN_BYTES + this.#values.byteLength + this.#ordinals.byteLength + marks + (this.#prefixes?.bytes ?? 0);
  }

  /** False when the pair is not there. */
  remove(value: number, ordinal: number): boolean {
    const at = this.#position(value, ordinal);
    if (this.#values[at] !== value || this.#ordinals[at] !== ordinal || this.#removed?.[at] === 1) return false;
    this.#removed ??= new Uint8Array(this.#ordinals.length);
    this.#removed[at] = 1;
    this.#removedCount++;
    this.#prefixes?.clear(at, ordinal);
    if (this.#removedCount * 2 > this.#ordinals.length) {
      this.#compact();
      this.#prefixes = this.#prefixes && PrefixBitmaps.of(this.#ordinals);
    }
    return true;
  }

  /** Sets the bits of the ordinals of all numbers between the ends. */
  addWithin(low: RangeEnd, high: RangeEnd, into: Uint32Array): void {
    const start = this.#position(low.value, low.inclusive ? 0 : AFTER_ALL);
    const end = this.#position(high.value, high.inclusive ? AFTER_ALL : 0);
    const whole = this.#prefixes?.addWithin(start, end, into);
    if (!whole) {
      this.#addPairs(start, end, into);
      return;
    }
    this.#addPairs(start, whole.start, into);
    this.#addPairs(whole.end, end, into);
  }

  #addPairs(start: number, end: number, into: Uint32Array): void {
    const ordinals = this.#ordinals;
    const removed = this.#removed;
    for (let i = start; i < end; i++) {
      if (removed?.[i] !== 1) setBit(into, ordinals[i] as number);
    }
  }

  #compare(i: number, other: NumberRun, j: number): number {
    const difference = (this.#values[i] as number) - (other.#values[j] as number);
    return difference || (this.#ordinals[i] as number) - (other.#ordinals[j] as number);
  }

  /** Of the first pair that is not before this one. */
  #position(value: number, ordinal: number): number {
    let low = 0;
    let high = this.#ordinals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#values[middle] as number;
      if (at < value || (at === value && (this.#ordinals[middle] as number) < ordinal)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compact(): void {
    const removed = this.#removed;
    if (!removed) return;
    this.#values = this.#values.filter((_, i) => removed[i] !== 1);
    this.#ordinals = this.#ordinals.filter((_, i) => removed[i] !== 1);
    this.#removed = undefined;
    this.#removedCount = 0;
  }
}

const AFTER_ALL = Number.POSITIVE_INFINITY;
const RUN_BYTES = 400;
