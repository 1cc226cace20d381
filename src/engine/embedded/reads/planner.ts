import type { Search } from "../../engine.ts";
import { EF_FAR_MIN } from "../recall/reach.ts";
import type { Walked } from "../recall/recall.ts";
import type { SearchCosts } from "../recall/recall-model.ts";

/** How a query is answered. */
export type SearchPlan = { readonly exact: true } | GraphPlan;

export interface GraphPlan {
  readonly exact: false;
  /** At least topK. */
  readonly efSearch: number;
  /** As in SearchOptions of native/hnsw.ts. */
  readonly visitBudget: number;
  /** Distances that the walk should compute. */
  readonly expected: number;
}

export interface PlanInput {
  readonly search: Search;
  readonly topK: number;
  /** Live vectors in the graph. */
  readonly indexed: number;
  /** Dead vectors that the graph still holds. */
  readonly deleted: number;
  /** Live vectors outside of the graph. */
  readonly unindexed: number;
  /** Of the live vectors, how many the filter allows; undefined without a filter. */
  readonly matching: number | undefined;
  readonly costs: SearchCosts;
}

const EXACT: SearchPlan = { exact: true };

/**
 * The plan that should compare the fewest vectors: all that are eligible, or the graph. Vectors outside of the graph
 * cost the same in either.
 *
 * A walk keeps ef_search candidates that are eligible. Where every s-th vector is, it goes as far as an unfiltered one
 * that keeps ef_search / s (measured: within 5 % on word vectors from 50 to 1 %), and finds no less than with all
 * eligible. A walk that has cost as much as comparing all that is eligible gives up, so it never costs more than twice that.
 */
export function planSearch(input: PlanInput): SearchPlan {
  const { search, topK, costs } = input;
  const eligible = eligibleIn(input);
  if (search.kind === "exact" || eligible <= topK) return EXACT;
  if (search.kind === "recall_target" && search.recallTarget >= 1) return EXACT;
  const efSearch =
    search.kind === "ef_search"
      ? search.efSearch
      : costs.efFor(search.recallTarget, topK, { again: input.matching === undefined });
  return graphPlan(Math.max(topK, efSearch), input);
}

/** A walk that compares so many times what was expected has gone through vectors that the filter does not allow. */
const UNEXPECTED = 3;
/** So many times the candidates cost so many times as much. */
const EF_AGAIN = 2.5;
const AGAIN_COSTS = 2;

/**
 * The plan for a query that the graph has answered, but badly; undefined when the answer may stand. Without a filter:
 * where the answer lies farther away than those the graph was measured with, the walk has to keep as many more candidates
 * as such a query needs. With one: where what it allows lies far away from the query, the walk ends at the border of it,
 * and has to keep more. Of 100,000 clustered vectors of which the half on the other side is allowed, at the target 0.99,
 * walks find 0.993 when they compare 2.5-4 times what was expected, 0.94 when they compare more, and 0.98 with 2.5
 * times the candidates.
 */
export function planAgain(plan: SearchPlan, { compared, reach }: Walked, input: PlanInput): SearchPlan | undefined {
  const { search, matching, unindexed } = input;
  if (plan.exact || search.kind !== "recall_target") return undefined;
  if (matching === undefined) return planFar(plan, reach, input);
  const walked = compared - Math.min(unindexed, matching);
  if (walked < UNEXPECTED * plan.expected) return undefined;
  if (walked * AGAIN_COSTS >= eligibleIn(input)) return EXACT;
  return { ...plan, efSearch: Math.ceil(plan.efSearch * EF_AGAIN) };
}

function planFar(plan: GraphPlan, reach: number | undefined, input: PlanInput): SearchPlan | undefined {
  const times = reach === undefined ? 1 : input.costs.timesFor(reach);
  return times < EF_FAR_MIN ? undefined : graphPlan(Math.ceil(plan.efSearch * times), input);
}

function graphPlan(efSearch: number, input: PlanInput): SearchPlan {
  const { indexed, deleted, costs } = input;
  const eligible = eligibleIn(input);
  const share = eligible / (indexed + deleted);
  const expected = costs.comparedBy(efSearch / share);
  if (!(efSearch <= EF_MAX && expected < eligible)) return EXACT;
  return { exact: false, efSearch, visitBudget: eligible, expected };
}

/** Vectors of the graph that may be found, at most. */
function eligibleIn({ indexed, matching }: PlanInput): number {
  return Math.min(indexed, matching ?? indexed);
}

/** What the native search takes. */
const EF_MAX = 100_000;
