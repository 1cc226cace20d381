import { setImmediate } from "node:timers/promises";
import type { GraphStats, SearchOptions, SearchResults } from "../../../../native/hnsw.ts";
import type { DistanceMetric, Recall, RecallMeasurement } from "../../engine.ts";
import { REACH_RANK, reachOf, walkedFor } from "./reach.ts";

/** What recall is measured on: the graph of one set of vectors, with its unindexed tail. */
export interface SearchableGraph {
  readonly metric: DistanceMetric;
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

/** What a walk through the graph tells about its query. */
export interface Walked {
  readonly compared: number;
  /** Undefined when too few were found to tell. */
  readonly reach: number | undefined;
}

export type SearchAgain = (
  walked: Walked,
) => { readonly exact: true } | { readonly exact: false; readonly efSearch: number } | undefined;

export interface MeasureOptions extends MeasuredSearch {
  /** True: queries of this kind are answered by comparing everything, so that there is nothing to measure but that. */
  readonly exact?: boolean;
  /** As in SearchOptions of native/hnsw.ts. */
  readonly visitBudget?: number | undefined;
  /** Says how a query is searched again; undefined: its answer stands. */
  readonly again?: SearchAgain | undefined;
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
    const first = exact ? truth : await searchGraph(graph, batch, search);
    const found = again ? await searchAgain(graph, { queries: batch, first, again, search }) : first;
    for (const [i, { distances, compared }] of found.entries()) {
      const exactly = truth[i] as Answer;
      shares.push(shareFound(exactly.distances, distances, search.topK));
      comparedGraph += compared;
      comparedExact += exactly.compared;
    }
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

interface FirstAnswers {
  readonly queries: RecallQueries;
  readonly first: readonly Answer[];
  readonly again: SearchAgain;
  readonly search: MeasuredSearch;
}

async function searchAgain(
  graph: SearchableGraph,
  { queries, first, again, search }: FirstAnswers,
): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  for (const [i, answer] of first.entries()) {
    const data = queries.data[i] as Float32Array;
    const distance = answer.distances[REACH_RANK - 1];
    const reach = distance === undefined ? undefined : reachOf(graph.metric, data, distance);
    const next = answer.exact ? undefined : again({ compared: answer.compared, reach });
    if (!next) {
      answers.push(answer);
      continue;
    }
    const query = { data: [data], ...(queries.without && { without: queries.without.slice(i, i + 1) }) };
    const [better] = next.exact
      ? await searchExactly(graph, query, search)
      : await searchGraph(graph, query, { ...search, efSearch: next.efSearch });
    answers.push({ ...(better as Answer), compared: answer.compared + (better as Answer).compared });
  }
  return answers;
}

/** What one query found. */
export interface Answer {
  /** Nearest first. */
  readonly distances: Float32Array;
  readonly compared: number;
  /** True when every eligible vector was compared. */
  readonly exact: boolean;
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

export function searchExactly(
  graph: SearchableGraph,
  queries: RecallQueries,
  { topK, allowed }: Pick<MeasuredSearch, "topK" | "allowed">,
): Promise<Answer[]> {
  return search(graph, queries, { k: topK, exact: true, ...(allowed && { allowed }) });
}

export function searchGraph(
  graph: SearchableGraph,
  queries: RecallQueries,
  { topK, efSearch, allowed, visitBudget }: MeasuredSearch & Pick<MeasureOptions, "visitBudget">,
): Promise<Answer[]> {
  const limits = { ...(allowed && { allowed }), ...(visitBudget !== undefined && { visitBudget }) };
  const k = walkedFor({ topK, efSearch, filtered: allowed !== undefined });
  return search(graph, queries, { k, efSearch, ...limits });
}

async function search(
  graph: SearchableGraph,
  { data, without }: RecallQueries,
  options: SearchOptions,
): Promise<Answer[]> {
  const dimension = data[0]?.length ?? 0;
  const all = new Float32Array(data.length * dimension);
  for (const [i, query] of data.entries()) all.set(query, i * dimension);
  return answersOf(await graph.search(all, { ...options, ...(without && { without: Uint32Array.from(without) }) }));
}

function answersOf({ counts, distances, compared, exact }: SearchResults): Answer[] {
  let at = 0;
  return Array.from(counts, (count, i) => {
    at += count;
    return { distances: distances.subarray(at - count, at), compared: compared[i] ?? 0, exact: exact[i] === 1 };
  });
}

/** The share of the exact topK that was found; `exact` may hold more. Both nearest first. */
export function shareFound(exact: Float32Array, found: Float32Array, topK: number): number {
  const wanted = Math.min(topK, exact.length);
  const farthest = exact[wanted - 1] ?? 0;
  const hits = found.subarray(0, wanted).filter((distance) => distance <= farthest).length;
  return wanted === 0 ? 1 : hits / wanted;
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

export function standardError(values: readonly number[]): number {
  if (values.length < 2) return 1;
  const center = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - center) ** 2)) / (values.length - 1));
}
