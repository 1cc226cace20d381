import type { ServiceImpl } from "@connectrpc/connect";
import { OnDuplicate } from "../../../gen/quiver/v1/resources_pb.ts";
import {
  QueryStrategy,
  type QueryVectorsRequest,
  type VectorService,
} from "../../../gen/quiver/v1/vector_service_pb.ts";
import type { Search } from "../../engine/engine.ts";
import { DEFAULTS, LIMITS } from "../../service/limits.ts";
import type { Service } from "../../service/service.ts";
import { assertImplemented, fromFloats, toMetric, toScoredVector, toVector, toVectorInput } from "../convert.ts";

export function vectorService({ vectors }: Service): Partial<ServiceImpl<typeof VectorService>> {
  return {
    async putVectors(request) {
      assertImplemented({
        idempotency_key: request.idempotencyKey !== "",
        "vectors.sparse": request.vectors.some(({ sparse }) => sparse !== undefined),
        "vectors.if_version": request.vectors.some(({ ifVersion }) => ifVersion !== undefined),
      });
      const { lsn, putCount } = await vectors.put({
        ...request,
        vectors: request.vectors.map(toVectorInput),
        onDuplicate: request.onDuplicate === OnDuplicate.LAST_WINS ? "last_wins" : "error",
      });
      return { lsn: BigInt(lsn), putCount: BigInt(putCount) };
    },
    async getVectors(request) {
      const answer = await vectors.get({ ...request, projection: projectionOf(request) });
      return { vectors: answer.vectors.map(toVector), lsn: BigInt(answer.lsn) };
    },
    async deleteVectors(request) {
      assertImplemented({
        filter: request.filter !== undefined,
        all: request.all,
        idempotency_key: request.idempotencyKey !== "",
      });
      const { lsn, deletedCount, notFoundCount } = await vectors.delete(request);
      return { lsn: BigInt(lsn), deletedCount: BigInt(deletedCount), notFoundCount: BigInt(notFoundCount) };
    },
    async listVectors(request) {
      assertImplemented({ filter: request.filter !== undefined });
      const { items, nextToken, lsn } = await vectors.list({ ...request, projection: projectionOf(request) });
      return { vectors: items.map(toVector), nextToken, lsn: BigInt(lsn) };
    },
    async queryVectors(request) {
      assertImplemented({
        filter: request.filter !== undefined,
        query_key: request.queryKey !== "",
        query_sparse: request.querySparse !== undefined,
        dense_weight: request.denseWeight !== undefined,
        next_token: request.nextToken !== "",
        top_k: request.topK > LIMITS.queryPageMax && request.topK <= LIMITS.topKMax,
      });
      const answer = await vectors.query({
        ...request,
        data: fromFloats(request.queryVector?.float32 ?? []),
        search: searchOf(request),
        projection: projectionOf(request),
      });
      const { strategy, compared, exact } = answer.plan;
      return {
        vectors: answer.vectors.map((vector) => toScoredVector(vector, request.returnDistance)),
        distanceMetric: toMetric(answer.distanceMetric),
        plan: { strategy: STRATEGIES[strategy], compared: BigInt(compared), exact },
        lsn: BigInt(answer.lsn),
      };
    },
  };
}

const STRATEGIES = {
  exact: QueryStrategy.EXACT,
  graph: QueryStrategy.GRAPH,
  filtered_graph: QueryStrategy.FILTERED_GRAPH,
} as const;

function projectionOf({ returnData, returnMetadata }: { returnData: boolean; returnMetadata: boolean }) {
  return { data: returnData, metadata: returnMetadata };
}

function searchOf({ search }: QueryVectorsRequest): Search {
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
