import { setImmediate } from "node:timers/promises";
import { clearBit, countBits, intersect, ordinalsOf } from "../../filter/bitmap.ts";
import type { QueryPlan, Search, SparseData } from "../engine.ts";
import { compareKeys } from "./key-order.ts";
import { planSearch, type SearchPlan } from "./planner.ts";
import type { DenseFound, Found, VectorSet } from "./vector-set.ts";

/** What is looked for, with the parts of stored vectors filled in. */
export interface Target {
  readonly data: Float32Array | undefined;
  readonly sparse: SparseData | undefined;
  /** Of a hybrid target; undefined: the plain sum. */
  readonly denseWeight: number | undefined;
  /** The key that is left out of the answer. */
  readonly except: string | undefined;
}

export interface SearchRequest {
  readonly target: Target;
  readonly topK: number;
  readonly search: Search;
  /** A bitmap of live ordinals that match the filter; undefined: all. */
  readonly allowed: Uint32Array | undefined;
}

export interface SearchAnswer {
  /** Nearest first, equal distances by key. */
  readonly found: Found[];
  readonly plan: QueryPlan;
}

/** Ordinals looked at before other work has its turn. */
const TURN_ORDINALS = 20_000;

/** What the native search allows. */
const SEARCH_K_MAX = 20_000;

/** Searches one set for one target. */
export function searchSet(set: VectorSet, request: SearchRequest): Promise<SearchAnswer> {
  const { data, sparse } = request.target;
  if (sparse && data) return searchHybrid(set, request, { data, sparse });
  if (sparse) return searchSparse(set, request, sparse);
  return searchDense(set, request);
}

/**
 * Searches for several dense targets, those that are planned alike in one native call. Entry i of the answer is that of
 * requests[i].
 */
export async function searchSetForMany(set: VectorSet, requests: readonly SearchRequest[]): Promise<SearchAnswer[]> {
  const answers = new Map<SearchRequest, SearchAnswer>();
  const planned = requests.map((request) => ({ request, plan: planFor(set, request) }));
  const alike = Map.groupBy(planned, ({ request, plan }) =>
    JSON.stringify([plan, request.topK, bitmapId(request.allowed), request.target.except === undefined]),
  );
  for (const group of alike.values()) {
    const first = group[0] as (typeof group)[0];
    const queries = new Float32Array(group.length * set.dimension);
    for (const [i, { request }] of group.entries()) queries.set(request.target.data ?? [], i * set.dimension);
    const results = await set.search(queries, optionsFor(first.request, first.plan));
    for (const [i, { request, plan }] of group.entries()) {
      const result = results[i] as DenseFound;
      const cut = plan.exact ? cutExactly(result, request) : cutByDistance(result, request);
      answers.set(request, cut ?? (await searchDense(set, request)));
    }
  }
  return requests.map((request) => answers.get(request) as SearchAnswer);
}

const bitmapIds = new WeakMap<Uint32Array, number>();
let bitmaps = 0;

function bitmapId(bitmap: Uint32Array | undefined): number {
  if (!bitmap) return 0;
  const id = bitmapIds.get(bitmap) ?? ++bitmaps;
  bitmapIds.set(bitmap, id);
  return id;
}

function planFor(set: VectorSet, { topK, search, allowed }: SearchRequest): SearchPlan {
  return planSearch({
    search,
    topK,
    indexed: set.graphStats.indexed,
    matching: allowed && countBits(allowed),
  });
}

/** One more than asked for, for the key that is left out, and for exact answers one more, to see whether ties go on. */
function optionsFor({ topK, allowed, target }: SearchRequest, plan: SearchPlan) {
  const k = topK + (target.except === undefined ? 0 : 1);
  const eligible = allowed && { allowed };
  return plan.exact
    ? { k: Math.min(k + 1, SEARCH_K_MAX), exact: true, ...eligible }
    : { k, efSearch: Math.max(k, plan.efSearch), ...eligible, visitBudget: plan.visitBudget };
}

async function searchDense(set: VectorSet, request: SearchRequest): Promise<SearchAnswer> {
  const data = request.target.data as Float32Array;
  const plan = planFor(set, request);
  const options = optionsFor(request, plan);
  const [result] = await set.search(data, options);
  if (!plan.exact) return cutByDistance(result as DenseFound, request);
  return cutExactly(result as DenseFound, request) ?? searchThroughTies(set, request, options.k);
}

function cutByDistance({ found, compared, exact }: DenseFound, request: SearchRequest): SearchAnswer {
  const graph = request.allowed ? ("filtered_graph" as const) : ("graph" as const);
  return {
    found: nearest(without(found, request.target.except), request.topK),
    plan: { strategy: exact ? "exact" : graph, compared, exact },
  };
}

/** Undefined when vectors as far as the last one were cut off: which of them stay is decided by their keys. */
function cutExactly({ found, compared }: DenseFound, request: SearchRequest): SearchAnswer | undefined {
  const { topK, target } = request;
  const k = topK + (target.except === undefined ? 1 : 2);
  const others = without(found, target.except);
  const tiesMayGoOn = found.length >= k && others[topK - 1]?.distance === others.at(-1)?.distance;
  if (tiesMayGoOn && k < SEARCH_K_MAX) return undefined;
  return { found: nearest(others, topK), plan: { strategy: "exact", compared, exact: true } };
}

async function searchThroughTies(set: VectorSet, request: SearchRequest, from: number): Promise<SearchAnswer> {
  const { topK, allowed, target } = request;
  const data = target.data as Float32Array;
  for (let k = 2 * from; ; k *= 2) {
    const options = { k: Math.min(k, SEARCH_K_MAX), exact: true, ...(allowed && { allowed }) };
    const [result] = (await set.search(data, options)) as [DenseFound];
    const others = without(result.found, target.except);
    const isCut = k < SEARCH_K_MAX && result.found.length >= k;
    if (isCut && others[topK - 1]?.distance === others.at(-1)?.distance) continue;
    return { found: nearest(others, topK), plan: { strategy: "exact", compared: result.compared, exact: true } };
  }
}

async function searchSparse(set: VectorSet, request: SearchRequest, sparse: SparseData): Promise<SearchAnswer> {
  const { topK } = request;
  const index = set.sparse;
  if (!index) return { found: [], plan: { strategy: "exact", compared: 0, exact: true } };
  const { ordinals, distances, compared, apart } = await index.search(sparse, {
    eligible: eligibleOf(set, request),
    k: topK,
  });
  const near = toFound(set, ordinals, (i) => distances[i] as number);
  const nearer = near.filter(({ distance }) => distance < 0).length;
  const zeros = nearer < topK ? await firstByKey(set, apart, topK) : [];
  return { found: nearest([...near, ...zeros], topK), plan: { strategy: "exact", compared, exact: true } };
}

/** Exact for vectors that share a position with the sparse part; the others are found by their data alone. */
async function searchHybrid(
  set: VectorSet,
  request: SearchRequest,
  { data, sparse }: { readonly data: Float32Array; readonly sparse: SparseData },
): Promise<SearchAnswer> {
  const { topK, search, target } = request;
  const denseWeight = target.denseWeight ?? 1;
  const sparseWeight = target.denseWeight === undefined ? 1 : 1 - target.denseWeight;
  const rest = eligibleOf(set, request);
  const sharing = await set.sparse?.search(sparse, { eligible: rest, k: undefined });
  const ordinals = sharing?.ordinals ?? new Uint32Array();
  for (const ordinal of ordinals) clearBit(rest, ordinal);

  const dense = await set.distances(data, ordinals);
  const near = toFound(set, ordinals, (i) => {
    const denseDistance = dense[i] as number;
    const densePart = Number.isNaN(denseDistance) ? 0 : partOf(denseWeight, denseDistance);
    const sum = densePart + partOf(sparseWeight, distanceAt(sharing, i));
    // Both infinite, with different signs: farthest away, as the native distances have it.
    return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : Math.fround(sum) + 0;
  });

  const byData = { ...request, target: { ...target, sparse: undefined }, allowed: rest, search };
  const others =
    denseWeight === 0
      ? { found: [], plan: { strategy: "exact" as const, compared: 0, exact: true } }
      : await searchDense(set, byData);
  const weighted = others.found.map((each) => ({ ...each, distance: Math.fround(denseWeight * each.distance) + 0 }));
  // What has no data is at distance 0, as is everything when data counts nothing.
  const zeros = rest.slice();
  if (denseWeight !== 0) for (let i = 0; i < zeros.length; i++) zeros[i] = (zeros[i] ?? 0) & ~(set.withData[i] ?? 0);
  const found = [...near, ...weighted, ...(await firstByKey(set, zeros, topK))];
  const compared = ordinals.length + others.plan.compared;
  return { found: nearest(found, topK), plan: { ...others.plan, compared } };
}

/** A part without weight counts nothing, infinite or not. */
function partOf(weight: number, distance: number): number {
  return weight === 0 ? 0 : weight * distance;
}

function distanceAt(results: { readonly distances: Float32Array } | undefined, i: number): number {
  return results?.distances[i] ?? 0;
}

/** A copy: the live ordinals that may be answered. */
function eligibleOf(set: VectorSet, { allowed, target }: SearchRequest): Uint32Array {
  const eligible = (allowed ?? set.live).slice();
  if (allowed) intersect(eligible, set.live);
  const except = target.except === undefined ? undefined : set.ordinalOf(target.except);
  if (except !== undefined) clearBit(eligible, except);
  return eligible;
}

function toFound(set: VectorSet, ordinals: Uint32Array, distanceOf: (i: number) => number): Found[] {
  const found: Found[] = [];
  for (const [i, ordinal] of ordinals.entries()) {
    const each = set.found(ordinal, distanceOf(i));
    if (each) found.push(each);
  }
  return found;
}

/** The first `count` by key of a bitmap's vectors, at distance 0. */
async function firstByKey(set: VectorSet, bitmap: Uint32Array, count: number): Promise<Found[]> {
  let first: Found[] = [];
  const ordinals = ordinalsOf(bitmap);
  for (let at = 0; at < ordinals.length; at += TURN_ORDINALS) {
    if (at > 0) await setImmediate();
    const some = toFound(set, ordinals.subarray(at, at + TURN_ORDINALS), () => 0);
    const last = first.length >= count ? first.at(-1)?.key : undefined;
    const better = last === undefined ? some : some.filter(({ key }) => compareKeys(key, last) < 0);
    if (better.length > 0) first = nearest([...first, ...better], count);
  }
  return first;
}

function without(found: Found[], except: string | undefined): Found[] {
  return except === undefined ? found : found.filter(({ key }) => key !== except);
}

function nearest(found: Found[], topK: number): Found[] {
  // Not by subtraction: distances may be infinite.
  const compare = (a: Found, b: Found) =>
    a.distance === b.distance ? compareKeys(a.key, b.key) : a.distance < b.distance ? -1 : 1;
  return found.sort(compare).slice(0, topK);
}
