import type { SearchResults } from "../../native/hnsw.ts";
import type { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";

export interface Hit {
  ordinal: number;
  distance: number;
}

/** How much the long tests do; less where everything is slow. */
export const effort = rounds("CALLS", { quick: 20_000, full: 100_000 });

/** 0, 1, ... length - 1. */
export function sequence(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}

export function concatenate(vectors: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const all = new Float32Array(vectors.reduce((length, vector) => length + vector.length, 0));
  let offset = 0;
  for (const vector of vectors) {
    all.set(vector, offset);
    offset += vector.length;
  }
  return all;
}

export function bitmapOf(ordinals: Iterable<number>): Uint32Array<ArrayBuffer> {
  const words: number[] = [];
  for (const ordinal of ordinals) words[ordinal >> 5] = (words[ordinal >> 5] ?? 0) | (1 << (ordinal & 31));
  return Uint32Array.from(words, (word) => word ?? 0);
}

/** The results of one query of a batch. */
export function resultsOf(results: SearchResults, query: number): Hit[] {
  const start = results.counts.subarray(0, query).reduce((sum, count) => sum + count, 0);
  return sequence(results.counts[query] ?? 0).map((i) => ({
    ordinal: results.ordinals[start + i] as number,
    distance: results.distances[start + i] as number,
  }));
}

/** Vectors around a hundred centers, as embeddings of real things are. */
export function clustered(random: Random, count: number, dimension: number): Float32Array<ArrayBuffer> {
  const centers = sequence(100).map(() => random.vector(dimension));
  const vectors = sequence(count).map(() => {
    const center = random.pick(centers);
    return random.vector(dimension).map((value, i) => (center[i] as number) + 0.5 * value);
  });
  return concatenate(vectors);
}

/** The share of `expected`'s results that `found` holds, over all queries. */
export function recall(expected: SearchResults, found: SearchResults): number {
  let hits = 0;
  for (const query of expected.counts.keys()) {
    const ordinals = new Set(resultsOf(found, query).map(({ ordinal }) => ordinal));
    hits += resultsOf(expected, query).filter(({ ordinal }) => ordinals.has(ordinal)).length;
  }
  return hits / expected.ordinals.length;
}
