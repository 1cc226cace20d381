import { setImmediate } from "node:timers/promises";
import type { GraphStats, SearchOptions, SearchResults } from "../../../native/hnsw.ts";
import type { Recall, RecallMeasurement } from "../engine.ts";

/** What recall is measured on: the graph of one set of vectors, with its unindexed tail. */
export interface SearchableGraph {
  search(queries: Float32Array, options: SearchOptions): Promise<SearchResults>;
  stats(): GraphStats;
  /** As it is held, normalised for cosine; undefined when it is not live or has no data. */
  get(ordinal: number): Float32Array | undefined;
  /** Up to `count` distinct ordinals of live vectors that have data. `random`: in [0, 1). */
  sample(count: number, random: () => number): readonly number[];
}

/** Queries, and for each the stored vector that its answer leaves out. */
export interface RecallQueries {
  readonly data: readonly Float32Array[];
  /** One for each query, or none at all. */
  readonly without?: readonly number[];
}

/** How the measured searches go: as SearchOptions of native/hnsw.ts. */
export interface MeasuredSearch {
  readonly topK: number;
  readonly efSearch: number;
  readonly allowed?: Uint32Array | undefined;
}

export interface MeasureOptions extends MeasuredSearch {
  /** True: queries of this kind are answered by comparing everything, so that there is nothing to measure but that. */
  readonly exact?: boolean;
  /** As in SearchOptions of native/hnsw.ts. */
  readonly visitBudget?: number | undefined;
  /** Says how a query is searched again for which so many vectors were compared; undefined: its answer stands. */
  readonly again?: (
    compared: number,
  ) => { readonly exact: true } | { readonly exact: false; readonly efSearch: number } | undefined;
  /** Ends the measurement between two batches, with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Takes stored vectors as queries, each left out of its own answer. */
export function sampleQueries(graph: SearchableGraph, count: number, random: () => number): RecallQueries {
  const data: Float32Array[] = [];
  const without: number[] = [];
  for (const ordinal of graph.sample(count, random)) {
    const vector = graph.get(ordinal);
    if (!vector) continue;
    data.push(vector);
    without.push(ordinal);
  }
  return { data, without };
}

/**
 * Measures recall: the share of the exact top_k that the graph finds, the mean over the queries. A vector as near as the
 * last of the exact top_k counts as found whichever of its equals was. Recall is 1 where there is nothing to find.
 */
export async function measureRecall(
  graph: SearchableGraph,
  queries: RecallQueries,
  { exact, signal, again, ...search }: MeasureOptions,
): Promise<RecallMeasurement> {
  const shares: number[] = [];
  let comparedGraph = 0;
  let comparedExact = 0;
  for (const batch of batchesOf(queries)) {
    signal?.throwIfAborted();
    const truth = await searchExactly(graph, batch, search);
    const found = exact ? truth.results : await searchGraph(graph, batch, search);
    const shared = sharesFound(truth, found, search.topK);
    comparedGraph += sum(found.compared);
    for (const [i, compared] of exact ? [] : found.compared.entries()) {
      const next = found.exact[i] === 1 ? undefined : again?.(compared);
      if (!next) continue;
      const one = {
        data: batch.data.slice(i, i + 1),
        ...(batch.without && { without: batch.without.slice(i, i + 1) }),
      };
      const oneTruth = await searchExactly(graph, one, search);
      const better = next.exact
        ? oneTruth.results
        : await searchGraph(graph, one, { ...search, efSearch: next.efSearch });
      shared[i] = sharesFound(oneTruth, better, search.topK)[0] ?? 1;
      comparedGraph += sum(better.compared);
    }
    shares.push(...shared);
    comparedExact += sum(truth.results.compared);
    await setImmediate();
  }
  const count = Math.max(1, shares.length);
  return {
    ...recallOf(shares),
    topK: search.topK,
    efSearch: search.efSearch,
    meanComparedGraph: comparedGraph / count,
    meanComparedExact: comparedExact / count,
  };
}

/** What exact searches found for a batch of queries. */
export interface Truth {
  readonly results: SearchResults;
}

/** Small, so that a user's search waits little behind it, and no less than what native scans compare side by side. */
const BATCH_QUERIES = 16;

export function batchesOf({ data, without }: RecallQueries): RecallQueries[] {
  const batches: RecallQueries[] = [];
  for (let from = 0; from < data.length; from += BATCH_QUERIES) {
    const to = from + BATCH_QUERIES;
    batches.push({ data: data.slice(from, to), ...(without && { without: without.slice(from, to) }) });
  }
  return batches;
}

export async function searchExactly(
  graph: SearchableGraph,
  queries: RecallQueries,
  { topK, allowed }: Pick<MeasuredSearch, "topK" | "allowed">,
): Promise<Truth> {
  return { results: await search(graph, queries, { k: topK, exact: true, ...(allowed && { allowed }) }) };
}

export function searchGraph(
  graph: SearchableGraph,
  queries: RecallQueries,
  { topK, efSearch, allowed, visitBudget }: MeasuredSearch & Pick<MeasureOptions, "visitBudget">,
): Promise<SearchResults> {
  const limits = { ...(allowed && { allowed }), ...(visitBudget !== undefined && { visitBudget }) };
  return search(graph, queries, { k: topK, efSearch, ...limits });
}

function search(graph: SearchableGraph, { data, without }: RecallQueries, options: SearchOptions) {
  const dimension = data[0]?.length ?? 0;
  const all = new Float32Array(data.length * dimension);
  for (const [i, query] of data.entries()) all.set(query, i * dimension);
  return graph.search(all, { ...options, ...(without && { without: Uint32Array.from(without) }) });
}

/** For each query the share of its exact topK that was found; `truth` may hold more than topK. */
export function sharesFound(truth: Truth, found: SearchResults, topK: number): number[] {
  let exactAt = 0;
  let foundAt = 0;
  return Array.from(truth.results.counts, (exactCount, query) => {
    const foundCount = found.counts[query] ?? 0;
    const wanted = Math.min(topK, exactCount);
    const farthest = truth.results.distances[exactAt + wanted - 1] ?? 0;
    let hits = 0;
    for (let i = 0; i < Math.min(foundCount, wanted); i++) {
      if ((found.distances[foundAt + i] ?? Number.POSITIVE_INFINITY) <= farthest) hits++;
    }
    exactAt += exactCount;
    foundAt += foundCount;
    return wanted === 0 ? 1 : hits / wanted;
  });
}

/** The mean of the queries' recall, with its 95 % confidence interval. */
export function recallOf(
  shares: readonly number[],
): Pick<Recall, "recall" | "confidenceLow" | "confidenceHigh" | "queryCount"> {
  if (shares.length === 0) return { recall: 1, confidenceLow: 1, confidenceHigh: 1, queryCount: 0 };
  const recall = mean(shares);
  const [confidenceLow, confidenceHigh] = wilsonInterval(recall, effectiveSampleSize(shares));
  return { recall, confidenceLow, confidenceHigh, queryCount: shares.length };
}

/** 97.5 % quantile of the normal distribution. */
const Z_95 = 1.96;

/**
 * Wilson's score interval (E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22,
 * 1927): unlike the normal one it stays within 0-1 and does not vanish when nothing was missed.
 */
function wilsonInterval(share: number, sampleSize: number): [low: number, high: number] {
  const z2 = Z_95 ** 2 / sampleSize;
  const center = (share + z2 / 2) / (1 + z2);
  const half = Math.sqrt(share * (1 - share) * z2 + z2 ** 2 / 4) / (1 + z2);
  return [Math.min(share, Math.max(0, center - half)), Math.max(share, Math.min(1, center + half))];
}

/**
 * How many independent trials tell as much as these queries: each has topK neighbors, but those of one query are found
 * or missed together (the design effect of a cluster sample: L. Kish, Survey Sampling, 1965). One more query that finds
 * nothing is imagined, so that a sample without a miss counts no more than its queries.
 */
function effectiveSampleSize(shares: readonly number[]): number {
  const imagined = [...shares, 0];
  const recall = mean(imagined);
  const variance = mean(imagined.map((share) => (share - recall) ** 2));
  return variance === 0 ? shares.length : Math.max(shares.length, (shares.length * recall * (1 - recall)) / variance);
}

export function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

export function sum(values: Uint32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
