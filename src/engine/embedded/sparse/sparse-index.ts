import { setImmediate } from "node:timers/promises";
import { intersect, ordinalsOf, setBit, wordsFor } from "../../../filter/bitmap.ts";
import type { SparseData } from "../../engine.ts";
import { type Accumulator, SparsePostings } from "./sparse-postings.ts";

export interface SparseSearchOptions {
  /** A bitmap: the ordinals that may be answered (bit ordinal & 31 of word ordinal >> 5; beyond its end: none). */
  readonly eligible: Uint32Array;
  /** How many to answer; undefined: all. */
  readonly k: number | undefined;
}

/** What shares a position with the query, and what does not. */
export interface SparseResults {
  /**
   * With k nearest first, equal distances by ordinal, and nothing that is as far as the k-th is left out; without k all, in
   * ascending order.
   */
  readonly ordinals: Uint32Array;
  /** Minus the inner product, of each of `ordinals`; may be infinite, never NaN and never -0. */
  readonly distances: Float32Array;
  /** How many eligible ordinals share a position: distances computed. */
  readonly compared: number;
  /** A bitmap: the eligible ordinals that have sparse values but share no position, so that their distance is 0. */
  readonly apart: Uint32Array;
}

/**
 * The sparse values of one partition by position. Nothing is removed: the caller's bitmap leaves out what is dead, and a
 * rebuilt partition has a new index.
 */
export class SparseIndex {
  #postings: SparsePostings | undefined;
  #holders = new Uint32Array(0);
  #ordinalsEnd = 0;

  /** A bitmap: the ordinals that were added. It grows; read it anew after `add`. */
  get holders(): Uint32Array {
    return this.#holders;
  }

  /** Bytes of memory held. */
  get bytes(): number {
    return this.#holders.byteLength + (this.#postings?.bytes ?? 0);
  }

  /** Adds the values of an ordinal that was not added before. Positions are distinct, values finite. */
  add(ordinal: number, sparse: SparseData): void {
    this.#postings ??= new SparsePostings();
    const { indices, values } = sparse;
    for (let i = 0; i < indices.length; i++) this.#postings.add(indices[i] as number, ordinal, values[i] as number);
    this.#ordinalsEnd = Math.max(this.#ordinalsEnd, ordinal + 1);
    this.#hold(ordinal);
  }

  /**
   * The eligible ordinals by their distance to the query, added up in float64 and rounded to float32 once. Lets other work
   * have its turn every few milliseconds: `eligible` must not change, nor hold what is added meanwhile.
   */
  async search(query: SparseData, options: SparseSearchOptions): Promise<SparseResults> {
    const words = Math.min(options.eligible.length, wordsFor(this.#ordinalsEnd));
    const eligible = options.eligible.subarray(0, words);
    const apart = this.#holders.slice(0, words);
    const sums = takeSums(words);
    await this.#accumulate(query, { ...sums, eligible });
    const touched = sums.touched.subarray(0, words);
    intersect(apart, eligible);
    for (let word = 0; word < words; word++) apart[word] = (apart[word] as number) & ~(touched[word] as number);
    const ordinals = ordinalsOf(touched);
    const distances = takeDistances(sums.scores, ordinals);
    touched.fill(0);
    if (sums.touched.length > freeSums.touched.length) freeSums = sums;
    const nearest = options.k === undefined ? { ordinals, distances } : nearestOf(ordinals, distances, options.k);
    return { ...nearest, compared: ordinals.length, apart };
  }

  async #accumulate({ indices, values }: SparseData, accumulator: Accumulator): Promise<void> {
    let read = 0;
    for (let i = 0; i < indices.length; i++) {
      read += this.#postings?.accumulate(indices[i] as number, values[i] as number, accumulator) ?? 0;
      if (read < TURN_ENTRIES) continue;
      await setImmediate();
      read = 0;
    }
  }

  #hold(ordinal: number): void {
    const words = wordsFor(ordinal + 1);
    if (words > this.#holders.length) {
      const longer = new Uint32Array(Math.max(words, Math.ceil(this.#holders.length * 1.5)));
      longer.set(this.#holders);
      this.#holders = longer;
    }
    setBit(this.#holders, ordinal);
  }
}

/** Entries read before other work has its turn. */
const TURN_ENTRIES = 500_000;

type Sums = Omit<Accumulator, "eligible">;

// Kept for the next search, of whichever index. Between searches it is all zeros, so a search costs what it touches, and
// pages that are never touched take no memory: a Map would be slower for every search that is not tiny.
let freeSums: Sums = { touched: new Uint32Array(0), scores: new Float64Array(0) };

function takeSums(words: number): Sums {
  if (freeSums.touched.length >= words) {
    const sums = freeSums;
    // Whoever fails does not give it back dirty.
    freeSums = { touched: new Uint32Array(0), scores: new Float64Array(0) };
    return sums;
  }
  const length = Math.ceil(words * 1.5);
  return { touched: new Uint32Array(length), scores: new Float64Array(length * 32) };
}

/** The scores of the ordinals as distances; leaves zeros. */
function takeDistances(scores: Float64Array, ordinals: Uint32Array): Float32Array {
  const distances = new Float32Array(ordinals.length);
  for (let i = 0; i < ordinals.length; i++) {
    const ordinal = ordinals[i] as number;
    // Plus 0, for a sum that is 0 or rounds to it must not become -0.
    distances[i] = Math.fround(-(scores[ordinal] as number)) + 0;
    scores[ordinal] = 0;
  }
  return distances;
}

function nearestOf(ordinals: Uint32Array, distances: Float32Array, k: number) {
  const bound = kthLeast(distances, k);
  // Sorted as u64 with the distance in the upper half: without a call of a comparison for each pair.
  let size = 0;
  for (let i = 0; i < distances.length; i++) if ((distances[i] as number) <= bound) size++;
  const words = new Uint32Array(2 * size);
  const bits = new Uint32Array(distances.buffer, distances.byteOffset, distances.length);
  let end = 0;
  for (let i = 0; i < distances.length; i++) {
    if ((distances[i] as number) > bound) continue;
    words[end++] = ordinals[i] as number;
    words[end++] = ascending(bits[i] as number);
  }
  new BigUint64Array(words.buffer).sort();
  const nearest = { ordinals: new Uint32Array(size), distances: new Float32Array(size) };
  const nearestBits = new Uint32Array(nearest.distances.buffer);
  for (let i = 0; i < size; i++) {
    nearest.ordinals[i] = words[2 * i] as number;
    nearestBits[i] = descending(words[2 * i + 1] as number);
  }
  return nearest;
}

const SIGN = 0x8000_0000;

/** The bits of float32, changed so that they ascend as the numbers do. */
function ascending(bits: number): number {
  return bits >= SIGN ? ~bits : bits ^ SIGN;
}

function descending(bits: number): number {
  return bits >= SIGN ? bits ^ SIGN : ~bits;
}

/** The k-th least of the values; infinite when there are no more than k. */
export function kthLeast(values: Float32Array, k: number): number {
  if (values.length <= k) return Number.POSITIVE_INFINITY;
  // A heap of the k least, the greatest in front.
  const heap = values.slice(0, k).sort().reverse();
  for (let i = k; i < values.length; i++) {
    const value = values[i] as number;
    if (value >= (heap[0] as number)) continue;
    let at = 0;
    for (let child = 1; child < k; child = 2 * at + 1) {
      if (child + 1 < k && (heap[child + 1] as number) > (heap[child] as number)) child++;
      if ((heap[child] as number) <= value) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = value;
  }
  return heap[0] as number;
}
