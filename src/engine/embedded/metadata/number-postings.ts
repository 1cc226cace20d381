import { setBit } from "../../../filter/bitmap.ts";
import type { Bounds } from "../../../filter/filter.ts";
import { NumberRun, type Pair } from "./number-run.ts";

/**
 * Pairs of a number and an ordinal, found by ranges of numbers. New pairs go into a short tail without order; a full tail
 * is sorted into a run, and a run is merged with the one before it unless that is more than twice as large. So there are
 * few runs, each pair is moved a logarithmic number of times, and a query searches each run by halving.
 */
export class NumberPostings {
  readonly #tail: Pair[];
  /** Largest first. */
  readonly #runs: NumberRun[] = [];
  readonly #oncePerOrdinal: boolean;

  /** `oncePerOrdinal`: no two of the pairs have the same ordinal, which lets wide ranges be answered sooner. */
  constructor(first: Pair, { oncePerOrdinal }: { readonly oncePerOrdinal: boolean }) {
    // An array that is filled when it is made has no room to spare: there may be a million keys with one number each.
    this.#tail = [first];
    this.#oncePerOrdinal = oncePerOrdinal;
  }

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
    this.#runs.push(NumberRun.of(this.#tail, this.#oncePerOrdinal));
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
      this.#runs.splice(-2, 2, NumberRun.merge(before, last));
    }
  }
}

const TAIL_MAX = 512;
const TAIL_PAIR_BYTES = 64;
const OBJECT_BYTES = 120;
