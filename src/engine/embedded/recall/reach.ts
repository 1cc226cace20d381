import type { DistanceMetric } from "../../engine.ts";

/** What the distance of an answer says about its query. */
export interface Reach {
  /** The reach at which a query needs the ef_search of the mean. */
  readonly from: number;
  /** How the logarithm of the ef_search that is needed grows with the reach. */
  readonly slope: number;
}

/** The reach of a query is how far away its nearest of this rank lies, whatever its top_k. */
export const REACH_RANK = 10;

/** How many a walk looks for, so that its reach is known: it compares no more for it. A filter may allow fewer. */
export function walkedFor({ topK, efSearch, filtered }: { topK: number; efSearch: number; filtered: boolean }): number {
  return filtered || efSearch < REACH_RANK ? topK : Math.max(topK, REACH_RANK);
}

/** How far away an answer lies; the length of a query says nothing about it, which dot_product alone multiplies by. */
export function reachOf(metric: DistanceMetric, query: Float32Array, distance: number): number {
  return metric === "dot_product" ? distance / (Math.hypot(...query) || 1) : distance;
}

interface ReachedQuery {
  readonly reach: number;
  /** Found at each ef_search. */
  readonly shares: readonly number[];
}

/** The share that the halves are compared at: high enough to need more than the least ef_search, and soon measured. */
const SHARE_COMPARED_AT = 0.98;
/** Fewer say nothing about either half. */
const QUERIES_MIN = 40;

/** The nearer half finds so much with the least ef_search that the slope is taken to be more. */
const SLOPE_RESERVE = 1.5;

/**
 * Compares the half of the queries that reach farther with the other half: the farther one lies away from all vectors,
 * the less its neighbors stand out. Stored words and words of another kind that reach as far find the same share (60,000
 * word vectors at ef_search 64: 0.94 where the tenth nearest is 0.5-0.6 away, 0.76-0.78 where it is 0.6-0.7). Undefined
 * when reach tells nothing. `shares`: of each query, what it found at each ef_search.
 */
export function fitReach(
  reaches: readonly (number | undefined)[],
  { efSearches, shares }: { readonly efSearches: readonly number[]; readonly shares: readonly (readonly number[])[] },
): Reach | undefined {
  const queries = reaches.flatMap((reach, i) => (reach === undefined ? [] : { reach, shares: shares[i] ?? [] }));
  if (queries.length < QUERIES_MIN) return undefined;
  const sorted = queries.toSorted((a, b) => a.reach - b.reach);
  const middle = Math.floor(sorted.length / 2);
  const [near, far] = [sorted.slice(0, middle), sorted.slice(middle)];
  const efAll = efNeeded(sorted, efSearches);
  const efNear = efNeeded(near, efSearches);
  const efFar = efNeeded(far, efSearches);
  const farther = meanReach(far) - meanReach(near);
  if (!(efAll && efNear && efFar && efFar > efNear && farther > 0)) return undefined;
  const slope = (SLOPE_RESERVE * Math.log(efFar / efNear)) / farther;
  return { from: meanReach(far) - Math.log(efFar / efAll) / slope, slope };
}

function meanReach(queries: readonly ReachedQuery[]): number {
  return queries.reduce((total, { reach }) => total + reach, 0) / queries.length;
}

function efNeeded(queries: readonly ReachedQuery[], efSearches: readonly number[]): number | undefined {
  const missed = efSearches.map(
    (_, step) => 1 - queries.reduce((total, { shares }) => total + (shares[step] ?? 0), 0) / queries.length,
  );
  const wanted = 1 - SHARE_COMPARED_AT;
  const at = missed.findIndex((share) => share <= wanted);
  if (at <= 0) return efSearches[at];
  const [before, after] = [missed[at - 1] as number, Math.max(missed[at] as number, wanted / 10)];
  const [efBefore, efAfter] = [efSearches[at - 1] as number, efSearches[at] as number];
  return efBefore * (efAfter / efBefore) ** (Math.log(before / wanted) / Math.log(before / after));
}

/** A query walks again when it needs so many times the ef_search. */
export const EF_FAR_MIN = 1.5;
/** More is not worth it. */
const EF_FAR_MAX = 16;

/** At least 1: what a query needs that reaches so far, as far as it is worth it. */
export function timesAt(reach: Reach | undefined, at: number | undefined): number {
  const times = reach && at !== undefined ? Math.exp(Math.max(0, reach.slope * (at - reach.from))) : 1;
  return Math.min(times, EF_FAR_MAX);
}
