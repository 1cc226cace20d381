import type { SearchOptions } from "../../../../native/hnsw.ts";
import { countBits } from "../../../filter/bitmap.ts";
import type { QueryPlan, Search, SparseData } from "../../engine.ts";
import { compareKeys } from "../key-order.ts";
import { REACH_RANK, reachOf, walkedFor } from "../recall/reach.ts";
import type { SearchAgain, Walked } from "../recall/recall.ts";
import type { DenseFound, Found, VectorSet } from "../set/vector-set.ts";
import { type GraphPlan, type PlanInput, planAgain, planSearch, type SearchPlan } from "./planner.ts";

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

/** What the event loop multiplies itself, some 0.1 ms of it: to hand that over to another thread costs as much. */
const SHORT_PRODUCTS_MAX = 250_000;

/** What the native search allows. */
const SEARCH_K_MAX = 20_000;

/** Searches the data of one set, by graph or exactly, whichever should compare fewer vectors. */
export async function searchDense(set: VectorSet, request: SearchRequest): Promise<SearchAnswer> {
  const planned = planRequest(set, request);
  return complete(set, planned, await searchOne(set, planned));
}

/**
 * Searches for several dense targets, those that are asked for alike in one native call. Entry i of the answer is that of
 * requests[i].
 */
export async function searchDenseForMany(set: VectorSet, requests: readonly SearchRequest[]): Promise<SearchAnswer[]> {
  const answers = new Map<SearchRequest, SearchAnswer>();
  const alike = Map.groupBy(requests, ({ search, topK, allowed }) => JSON.stringify([search, topK, bitmapId(allowed)]));
  for (const group of alike.values()) {
    const planned = planRequest(set, group[0] as SearchRequest);
    const { request, plan } = planned;
    const results = await searchTogether(set, {
      requests: group,
      plan,
      k: kOf(request, plan),
      isShort: group.length * productsOf(set, planned) <= SHORT_PRODUCTS_MAX,
    });
    for (const [i, each] of group.entries()) {
      answers.set(each, await complete(set, { ...planned, request: each }, results[i] as DenseFound));
    }
  }
  return requests.map((request) => answers.get(request) as SearchAnswer);
}

interface Planned {
  readonly request: SearchRequest;
  readonly inputs: PlanInput;
  readonly plan: SearchPlan;
}

function planRequest(set: VectorSet, request: SearchRequest): Planned {
  const inputs = planInputs(set, request);
  return { request, inputs, plan: planSearch(inputs) };
}

/** Cuts what was found to an answer, and improves one of which the planner says that the graph has found too little. */
async function complete(set: VectorSet, planned: Planned, result: DenseFound): Promise<SearchAnswer> {
  const { request, inputs, plan } = planned;
  if (!plan.exact) noticeQuery(set, { request, inputs, plan });
  const better = result.exact ? undefined : planAgain(plan, walkedIn(set, request, result), inputs);
  if (!better) return cutAnswer(set, planned, result);
  const again = await searchOne(set, { request, inputs, plan: better });
  const both = { ...again, compared: again.compared + result.compared };
  return cutAnswer(set, { ...planned, plan: better }, both);
}

function walkedIn(set: VectorSet, { target }: SearchRequest, { found, compared }: DenseFound): Walked {
  const last = found[REACH_RANK - 1];
  return { compared, reach: target.data && last && reachOf(set.metric, target.data, last.distance) };
}

/** Lets the graph's recall be watched with queries as they come. */
function noticeQuery(set: VectorSet, { request, inputs, plan }: Planned & { readonly plan: GraphPlan }): void {
  const { target, topK, search, allowed } = request;
  if (!target.data || target.except !== undefined || allowed || search.kind !== "recall_target") return;
  const again: SearchAgain = (walked) => planAgain(plan, walked, inputs);
  const { recallTarget } = search;
  set.recall.noticeQuery({ data: target.data, topK, efSearch: plan.efSearch, recallTarget, again });
}

async function searchOne(set: VectorSet, planned: Planned): Promise<DenseFound> {
  const { request, plan } = planned;
  const isShort = productsOf(set, planned) <= SHORT_PRODUCTS_MAX;
  const [result] = await searchTogether(set, { requests: [request], plan, k: kOf(request, plan), isShort });
  return result as DenseFound;
}

/** Products that one query should take. */
function productsOf({ dimension }: VectorSet, { plan, inputs }: Planned): number {
  const { indexed, unindexed, matching } = inputs;
  return dimension * (unindexed + (plan.exact ? (matching ?? indexed) : plan.expected));
}

interface SearchTogether {
  readonly requests: readonly SearchRequest[];
  readonly plan: SearchPlan;
  readonly k: number;
  /** So that the event loop may do it itself. */
  readonly isShort: boolean;
}

/**
 * A key that is left out is searched for as one more result and dropped: a walk must go through its node, which may be
 * the only way from one side of it to the other.
 */
async function searchTogether(set: VectorSet, { requests, plan, k, isShort }: SearchTogether): Promise<DenseFound[]> {
  const queries = new Float32Array(requests.length * set.dimension);
  for (const [i, { target }] of requests.entries()) queries.set(target.data ?? [], i * set.dimension);
  const allowed = requests[0]?.allowed;
  const leavesOut = requests.some(({ target }) => target.except !== undefined);
  const options: SearchOptions = {
    k: Math.min(leavesOut ? k + 1 : k, SEARCH_K_MAX),
    ...(allowed && { allowed }),
    ...(plan.exact ? { exact: true } : { efSearch: plan.efSearch, visitBudget: plan.visitBudget }),
  };
  const results = await set.search(queries, options, isShort);
  return results.map((result, i) => {
    const except = requests[i]?.target.except;
    if (except === undefined && result.found.length <= k) return result;
    return { ...result, found: result.found.filter(({ key }) => key !== except).slice(0, k) };
  });
}

/** For exact answers one more than asked for, to see whether ties go on. */
function kOf({ topK, allowed }: SearchRequest, plan: SearchPlan): number {
  if (plan.exact) return Math.min(topK + 1, SEARCH_K_MAX);
  return walkedFor({ topK, efSearch: plan.efSearch, filtered: allowed !== undefined });
}

/** Which of the vectors as far as the last one stay is decided by their keys: when some were cut off, more are looked for. */
async function cutAnswer(set: VectorSet, { request, plan }: Planned, result: DenseFound): Promise<SearchAnswer> {
  const { found, compared, exact } = result;
  const { topK, allowed } = request;
  const tiesMayGoOn = found.length > topK && found[topK - 1]?.distance === found[topK]?.distance;
  if (plan.exact && tiesMayGoOn) return searchThroughTies(set, request);
  const graph = allowed ? ("filtered_graph" as const) : ("graph" as const);
  return { found: nearest(found, topK), plan: { strategy: exact ? "exact" : graph, compared, exact } };
}

async function searchThroughTies(set: VectorSet, request: SearchRequest): Promise<SearchAnswer> {
  const { topK } = request;
  for (let k = 2 * (topK + 1); ; k *= 2) {
    const plan = { exact: true } as const;
    const options = { requests: [request], plan, k: Math.min(k, SEARCH_K_MAX), isShort: false };
    const [result] = (await searchTogether(set, options)) as [DenseFound];
    const { found, compared } = result;
    const isCut = k < SEARCH_K_MAX && found.length >= k;
    if (isCut && found[topK - 1]?.distance === found.at(-1)?.distance) continue;
    return { found: nearest(found, topK), plan: { strategy: "exact", compared, exact: true } };
  }
}

export function planInputs(
  set: VectorSet,
  { topK, search, allowed }: Pick<SearchRequest, "topK" | "search" | "allowed">,
): PlanInput {
  const { indexed, unindexed, deleted } = set.graphStats;
  const matching = allowed && countBits(allowed);
  return { search, topK, indexed, unindexed, deleted, matching, costs: set.recall.model };
}

const bitmapIds = new WeakMap<Uint32Array, number>();
let bitmaps = 0;

function bitmapId(bitmap: Uint32Array | undefined): number {
  if (!bitmap) return 0;
  const id = bitmapIds.get(bitmap) ?? ++bitmaps;
  bitmapIds.set(bitmap, id);
  return id;
}

/** The topK nearest, nearest first, equal distances by key. */
export function nearest(found: Found[], topK: number): Found[] {
  // Not by subtraction: distances may be infinite.
  const compare = (a: Found, b: Found) =>
    a.distance === b.distance ? compareKeys(a.key, b.key) : a.distance < b.distance ? -1 : 1;
  return found.sort(compare).slice(0, topK);
}
