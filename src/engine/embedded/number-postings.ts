import { setBit } from "../../filter/bitmap.ts";
import type { Bounds } from "../../filter/filter.ts";

/**
 * Pairs of a number and an ordinal, found by ranges of numbers. New pairs go into a short tail without order; a full tail
 * is sorted into a run, and a run is merged with the one before it unless that is more than twice as large. So there are
 * few runs, each pair is moved a logarithmic number of times, and a query searches each run by halving.
 */
export class NumberPostings {
  readonly #tail: Pair[] = [];
  /** Largest first. */
  readonly #runs: Run[] = [];

  get isEmpty(): boolean {
    return this.#tail.length === 0 && this.#runs.length === 0;
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return this.#runs.reduce((sum, run) => sum + run.bytes, OBJECT_BYTES + this.#tail.length * TAIL_PAIR_BYTES);
  }

  /** The pair must not be there yet. */
  add(value: number, ordinal: number): void {
    this.#tail.push({ value, ordinal });
    if (this.#tail.length < TAIL_MAX) return;
    this.#tail.sort((a, b) => a.value - b.value || a.ordinal - b.ordinal);
    this.#runs.push(Run.of(this.#tail));
    this.#tail.length = 0;
    this.#mergeRuns();
  }

  /** Removing what is not there changes nothing. */
  remove(value: number, ordinal: number): void {
    const at = this.#tail.findIndex((pair) => pair.ordinal === ordinal && pair.value === value);
    if (at >= 0) {
      this.#tail.splice(at, 1);
      return;
    }
    const run = this.#runs.findIndex((each) => each.remove(value, ordinal));
    if (run >= 0 && this.#runs[run]?.size === 0) this.#runs.splice(run, 1);
  }

  /** Sets the bits of the ordinals of all numbers within the bounds; those beyond the bitmap's end are passed over. */
  addWithin(bounds: Bounds, into: Uint32Array): void {
    const { gt, gte, lt, lte } = bounds;
    const low = { value: gt ?? gte ?? Number.NEGATIVE_INFINITY, inclusive: gt === undefined };
    const high = { value: lt ?? lte ?? Number.POSITIVE_INFINITY, inclusive: lt === undefined };
    for (const run of this.#runs) run.addWithin(low, high, into);
    for (const { value, ordinal } of this.#tail) {
      if (value < low.value || value > high.value) continue;
      if ((value === low.value && !low.inclusive) || (value === high.value && !high.inclusive)) continue;
      setBit(into, ordinal);
    }
  }

  #mergeRuns(): void {
    for (;;) {
      const last = this.#runs.at(-1);
      const before = this.#runs.at(-2);
      if (!last || !before || before.size > 2 * last.size) return;
      this.#runs.splice(-2, 2, Run.merge(before, last));
    }
  }
}

interface Pair {
  readonly value: number;
  readonly ordinal: number;
}

interface End {
  readonly value: number;
  readonly inclusive: boolean;
}

const TAIL_MAX = 512;
const TAIL_PAIR_BYTES = 48;
const OBJECT_BYTES = 120;
const RUN_BYTES = 400;

/** Pairs in ascending order of number, then ordinal. A removed pair keeps its place, with a mark, until half are marked. */
class Run {
  #values: Float64Array;
  #ordinals: Uint32Array;
  #removed: Uint8Array | undefined;
  #removedCount = 0;

  private constructor(values: Float64Array, ordinals: Uint32Array) {
    this.#values = values;
    this.#ordinals = ordinals;
  }

  static of(pairs: readonly Pair[]): Run {
    return new Run(
      Float64Array.from(pairs, ({ value }) => value),
      Uint32Array.from(pairs, ({ ordinal }) => ordinal),
    );
  }

  static merge(a: Run, b: Run): Run {
    a.#drop();
    b.#drop();
    const length = a.size + b.size;
    const values = new Float64Array(length);
    const ordinals = new Uint32Array(length);
    let left = 0;
    let right = 0;
    for (let i = 0; i < length; i++) {
      const takesLeft = right === b.size || (left < a.size && compare(a, left, b, right) < 0);
      const from = takesLeft ? a : b;
      const at = takesLeft ? left++ : right++;
      values[i] = from.#values[at] as number;
      ordinals[i] = from.#ordinals[at] as number;
    }
    return new Run(values, ordinals);

    function compare(x: Run, i: number, y: Run, j: number): number {
      const difference = (x.#values[i] as number) - (y.#values[j] as number);
      return difference || (x.#ordinals[i] as number) - (y.#ordinals[j] as number);
    }
  }

  get size(): number {
    return this.#ordinals.length - this.#removedCount;
  }

  get bytes(): number {
    return RUN_BYTES + this.#values.byteLength + this.#ordinals.byteLength + (this.#removed?.byteLength ?? 0);
  }

  /** False when the pair is not there. */
  remove(value: number, ordinal: number): boolean {
    const at = this.#position(value, ordinal);
    if (this.#values[at] !== value || this.#ordinals[at] !== ordinal || this.#removed?.[at] === 1) return false;
    this.#removed ??= new Uint8Array(this.#ordinals.length);
    this.#removed[at] = 1;
    this.#removedCount++;
    if (this.#removedCount * 2 > this.#ordinals.length) this.#drop();
    return true;
  }

  addWithin(low: End, high: End, into: Uint32Array): void {
    const end = this.#position(high.value, high.inclusive ? AFTER_ALL : 0);
    const ordinals = this.#ordinals;
    const removed = this.#removed;
    for (let i = this.#position(low.value, low.inclusive ? 0 : AFTER_ALL); i < end; i++) {
      if (removed?.[i] !== 1) setBit(into, ordinals[i] as number);
    }
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

  #drop(): void {
    const removed = this.#removed;
    if (!removed) return;
    this.#values = this.#values.filter((_, i) => removed[i] !== 1);
    this.#ordinals = this.#ordinals.filter((_, i) => removed[i] !== 1);
    this.#removed = undefined;
    this.#removedCount = 0;
  }
}

const AFTER_ALL = Number.POSITIVE_INFINITY;
