import type { JsonObject } from "@bufbuild/protobuf";
import type { SparseVector, VectorData } from "../../gen/quiver/v1/resources_pb.ts";
import { QueryStrategy, type SearchOptions } from "../../gen/quiver/v1/vector_service_pb.ts";
import type * as domain from "../engine/engine.ts";
import { DEFAULTS } from "../service/limits.ts";
import type { QueryInput } from "../service/query-input.ts";
import { fromData, fromSparse, fromStruct, toProjection, toVector } from "./convert.ts";

/** What QueryVectorsRequest and BatchQuery have in common. */
interface QueryMessage {
  readonly queryVector?: VectorData | undefined;
  readonly queryKey: string;
  readonly querySparse?: SparseVector | undefined;
  readonly denseWeight?: number | undefined;
  readonly topK: number;
  readonly filter?: JsonObject | undefined;
  readonly search?: SearchOptions | undefined;
  readonly returnData: boolean;
  readonly returnMetadata: boolean;
}

export function toQueryInput(message: QueryMessage): QueryInput {
  const { queryVector, queryKey, querySparse, denseWeight, topK, filter, search } = message;
  return {
    data: queryVector && fromData(queryVector),
    key: queryKey,
    sparse: querySparse && fromSparse(querySparse),
    denseWeight,
    topK,
    search: fromSearch(search),
    filter: fromStruct(filter),
    projection: toProjection(message),
  };
}

/** Absent, or `exact: false`: the default recall target. */
export function fromSearch(search: SearchOptions | undefined): domain.Search {
  const mode = search?.mode;
  switch (mode?.case) {
    case "exact":
      return mode.value ? { kind: "exact" } : { kind: "recall_target", recallTarget: DEFAULTS.recallTarget };
    case "efSearch":
      return { kind: "ef_search", efSearch: mode.value };
    case "recallTarget":
      return { kind: "recall_target", recallTarget: mode.value };
    case undefined:
      return { kind: "recall_target", recallTarget: DEFAULTS.recallTarget };
  }
}

const STRATEGIES: Readonly<Record<domain.QueryPlan["strategy"], QueryStrategy>> = {
  exact: QueryStrategy.EXACT,
  graph: QueryStrategy.GRAPH,
  filtered_graph: QueryStrategy.FILTERED_GRAPH,
};

export function toPlan({ strategy, compared, exact }: domain.QueryPlan) {
  return { strategy: STRATEGIES[strategy], compared: BigInt(compared), exact };
}

export function toResults(vectors: readonly domain.ScoredVector[], returnDistance: boolean) {
  return vectors.map((vector) =>
    Object.assign(toVector(vector), { distance: returnDistance ? vector.distance : undefined }),
  );
}
