import type { MeasureRecallOptions, RecallMeasurement } from "../../engine.ts";
import type { Partition } from "../partition.ts";
import { planInputs } from "../reads/dense-search.ts";
import { planAgain, planSearch } from "../reads/planner.ts";
import type { VectorSet } from "../set/vector-set.ts";
import { measureRecall, sampleQueries } from "./recall.ts";

/** Measures how much of the exact answer queries of a kind find in a namespace; anew when its set is built anew meanwhile. */
export async function measurePartition(
  partition: Partition,
  options: MeasureRecallOptions,
): Promise<RecallMeasurement> {
  for (;;) {
    const { set } = partition;
    try {
      return await measureSet(set, options);
    } catch (error) {
      if (options.signal?.aborted || partition.isDisposed || partition.set === set) throw error;
    }
  }
}

function measureSet(
  set: VectorSet,
  { topK, queries, filter, search, signal }: MeasureRecallOptions,
): Promise<RecallMeasurement> {
  const { graph, model } = set.recall;
  const measured =
    "sampleSize" in queries ? sampleQueries(graph, queries.sampleSize, set.recall.random) : { data: queries };
  const allowed = filter && set.select(filter);
  const inputs = planInputs(set, { topK, search, allowed });
  const plan = planSearch(inputs);
  if (plan.exact) {
    const wanted =
      search.kind === "ef_search"
        ? search.efSearch
        : search.kind === "exact"
          ? topK
          : model.efFor(search.recallTarget, topK, { again: !filter });
    const efSearch = Number.isFinite(wanted) ? Math.max(topK, wanted) : topK;
    return measureRecall(graph, measured, { topK, efSearch, allowed, exact: true, signal });
  }
  const { efSearch, visitBudget } = plan;
  return measureRecall(graph, measured, {
    topK,
    efSearch,
    allowed,
    visitBudget,
    signal,
    again: (walked) => planAgain(plan, walked, inputs),
  });
}
