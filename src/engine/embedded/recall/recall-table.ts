import { setImmediate } from "node:timers/promises";
import type { Recall } from "../../engine.ts";
import { EF_FAR_MIN, fitReach, REACH_RANK, type Reach, reachOf, timesAt } from "./reach.ts";
import {
  type Answer,
  batchesOf,
  mean,
  type RecallQueries,
  recallOf,
  type SearchableGraph,
  searchExactly,
  searchGraph,
  shareFound,
  standardError,
} from "./recall.ts";

/** What was measured at one ef_search. */
export interface Step extends Recall {
  /** What recall certainly is, about. */
  readonly low: number;
  readonly compared: number;
}

/** By topK, then by efSearch, ascending. */
export type Curves = readonly (readonly Step[])[];

/** What was measured of one graph with the same queries. */
export interface Table {
  readonly curves: Curves;
  /** What is found where queries that reach far walk again. */
  readonly curvesAgain: Curves;
  readonly reach: Reach | undefined;
  readonly indexed: number;
  readonly deleted: number;
  readonly measuredAt: number;
}

/** What is measured: queries enough for a mean share, fewer where each has more neighbors. */
const MEASURED = [
  { topK: 10, queries: 256 },
  { topK: 100, queries: 160 },
  { topK: 1_000, queries: 32 },
] as const;

/** Queries that a measurement needs. */
export const MODEL_QUERIES = MEASURED[0].queries;

const EF_STEP = 1.6;
/** Beyond, so few queries tell nothing. */
const RECALL_MEASURED_MAX = 0.996;
/** Recall is taken to be so many standard errors less than was measured. */
const STANDARD_ERRORS = 2;
/** Walks that compare a larger share of the graph lose against the exact scan. */
const WALK_SHARE_MAX = 0.6;
/** A query whose exact answer is known. */
interface KnownQuery {
  readonly data: Float32Array;
  readonly without: number | undefined;
  /** Distances of the nearest, nearest first. */
  readonly nearest: Float32Array;
}

/** What some queries found, and at which price, as ef_search grew. */
interface Ladder {
  readonly topK: number;
  readonly efSearches: readonly number[];
  readonly compared: readonly number[];
  /** Of each query, the share that it found at each ef_search. */
  readonly shares: readonly (readonly number[])[];
}

interface TableOptions {
  /** Undefined: as these queries show it. */
  readonly reach: Reach | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Measures how much queries find at which ef_search, and what it costs. */
export async function measureTable(
  graph: SearchableGraph,
  queries: RecallQueries,
  { reach: known, signal }: TableOptions,
): Promise<Table> {
  const { indexed, deleted } = graph.stats();
  const wanted = MEASURED.filter(({ topK }) => topK <= MEASURED[0].topK || topK * 4 <= indexed);
  const answered = await answerExactly(graph, queries, { wanted, signal });
  const ladders: Ladder[] = [];
  for (const { topK, queries: count } of wanted) {
    ladders.push(await measureLadder(graph, answered.slice(0, count), { topK, indexed, signal }));
  }
  const reaches = answered.map((query) => reachIn(graph, query));
  const reach = known ?? fitReach(reaches, ladders[0] as Ladder);
  const times = reaches.map((each) => timesAt(reach, each));
  const curves = ladders.map((ladder) => curveOf(ladder, []));
  const curvesAgain = ladders.map((ladder) => curveOf(ladder, times));
  return { curves, curvesAgain, reach, indexed, deleted, measuredAt: Date.now() };
}

async function answerExactly(
  graph: SearchableGraph,
  queries: RecallQueries,
  { wanted, signal }: { wanted: readonly { topK: number; queries: number }[]; signal: AbortSignal | undefined },
): Promise<KnownQuery[]> {
  const answered: KnownQuery[] = [];
  for (const batch of batchesOf(queries)) {
    signal?.throwIfAborted();
    const topK = Math.max(...wanted.filter((each) => each.queries > answered.length).map((each) => each.topK), 1);
    for (const [i, { distances }] of (await searchExactly(graph, batch, { topK })).entries()) {
      answered.push({ data: batch.data[i] as Float32Array, without: batch.without?.[i], nearest: distances.slice() });
    }
    await setImmediate();
  }
  return answered;
}

function reachIn({ metric }: SearchableGraph, { data, nearest }: KnownQuery): number | undefined {
  const distance = nearest[REACH_RANK - 1];
  return distance === undefined ? undefined : reachOf(metric, data, distance);
}

/** Well within what the native search takes. */
const EF_MAX = 20_000;
/** Queries that walk at every step, for what a walk costs; of the others, those that have found everything walk no more. */
const ALWAYS_WALKED = 32;

async function measureLadder(
  graph: SearchableGraph,
  queries: readonly KnownQuery[],
  { topK, indexed, signal }: { topK: number; indexed: number; signal: AbortSignal | undefined },
): Promise<Ladder> {
  const shares: number[][] = queries.map(() => []);
  const efSearches: number[] = [];
  const compared: number[] = [];
  for (let ef = topK; ; ef *= EF_STEP) {
    const efSearch = Math.round(ef);
    const walking = [...queries.keys()].filter((i) => i < ALWAYS_WALKED || shares[i]?.at(-1) !== 1);
    const answers: Answer[] = [];
    for (const some of batchesOf(queriesAt(queries, walking))) {
      signal?.throwIfAborted();
      answers.push(...(await searchGraph(graph, some, { topK, efSearch })));
      await setImmediate();
    }
    const byQuery = new Map(walking.map((query, i) => [query, answers[i]]));
    for (const [i, query] of queries.entries()) {
      const found = byQuery.get(i)?.distances;
      shares[i]?.push(found ? shareFound(query.nearest, found, topK) : 1);
    }
    efSearches.push(efSearch);
    // The tail, which every search compares, is no part of the walk.
    const tail = graph.stats().unindexed;
    const price = mean(answers.slice(0, ALWAYS_WALKED).map((answer) => Math.max(1, answer.compared - tail)));
    compared.push(price);
    if (
      lowOf(
        shares.map((each) => each.at(-1) ?? 1),
        topK,
      ) >= RECALL_MEASURED_MAX
    )
      break;
    if (price > indexed * WALK_SHARE_MAX || efSearch > EF_MAX) break;
  }
  return { topK, efSearches, compared, shares };
}

/** What is found in the mean at each ef_search, where query i walks again with times[i] times as much. */
function curveOf({ topK, efSearches, compared, shares }: Ladder, times: readonly number[]): Step[] {
  const ahead = shares.map((_, i) => {
    const timesEf = times[i] ?? 1;
    return timesEf < EF_FAR_MIN ? 0 : Math.floor(Math.log(timesEf) / Math.log(EF_STEP));
  });
  let least = 0;
  return efSearches.map((efSearch, step) => {
    const found = shares.map((each, i) => each[Math.min(step + (ahead[i] ?? 0), each.length - 1)] ?? 1);
    least = Math.max(least, lowOf(found, topK));
    return { ...recallOf(found), topK, efSearch, low: least, compared: compared[step] ?? 0 };
  });
}

function lowOf(shares: readonly number[], topK: number): number {
  return Math.min(mean(shares) - STANDARD_ERRORS * standardError(shares), 1 - 1 / (shares.length * topK + 1));
}

function queriesAt(queries: readonly KnownQuery[], indexes: readonly number[]): RecallQueries {
  const picked = indexes.map((i) => queries[i] as KnownQuery);
  const without = picked.flatMap(({ without }) => without ?? []);
  return { data: picked.map(({ data }) => data), ...(without.length === picked.length && { without }) };
}
