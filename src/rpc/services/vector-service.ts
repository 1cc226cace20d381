import type { ServiceImpl } from "@connectrpc/connect";
import type { VectorService } from "../../../gen/quiver/v1/vector_service_pb.ts";
import { QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { callerOf } from "../call.ts";
import {
  fromOnDuplicate,
  fromStruct,
  toMetric,
  toProjection,
  toVector,
  toVectorInput,
  toVectorUpdate,
} from "../convert.ts";
import { toPlan, toQueryInput, toResults } from "../convert-query.ts";
import { toStatus } from "../error.ts";

export function vectorService({ vectors, queries }: Service): Partial<ServiceImpl<typeof VectorService>> {
  return {
    async putVectors(request, context) {
      const { lsn, putCount } = await vectors.put(callerOf(context), {
        ...request,
        vectors: request.vectors.map(toVectorInput),
        onDuplicate: fromOnDuplicate(request.onDuplicate) ?? "error",
      });
      return { lsn: BigInt(lsn), putCount: BigInt(putCount) };
    },
    async updateVectors(request, context) {
      const { lsn, matchedCount, updatedCount } = await vectors.update(callerOf(context), {
        ...request,
        updates: request.updates.map(toVectorUpdate),
        filter: fromStruct(request.filter),
        setMetadata: fromStruct(request.setMetadata),
      });
      return { lsn: BigInt(lsn), matchedCount: BigInt(matchedCount), updatedCount: BigInt(updatedCount) };
    },
    async getVectors(request, context) {
      const answer = await vectors.get(callerOf(context), { ...request, projection: toProjection(request) });
      return { vectors: answer.vectors.map(toVector), lsn: BigInt(answer.lsn) };
    },
    async deleteVectors(request, context) {
      const answer = await vectors.delete(callerOf(context), { ...request, filter: fromStruct(request.filter) });
      const { lsn, deletedCount, notFoundCount } = answer;
      return { lsn: BigInt(lsn), deletedCount: BigInt(deletedCount), notFoundCount: BigInt(notFoundCount) };
    },
    async listVectors(request, context) {
      const { items, nextToken, lsn } = await vectors.list(callerOf(context), {
        ...request,
        filter: fromStruct(request.filter),
        projection: toProjection(request),
      });
      return { vectors: items.map(toVector), nextToken, lsn: BigInt(lsn) };
    },
    async queryVectors(request, context) {
      const answer = await queries.query(callerOf(context), { ...request, ...toQueryInput(request) });
      return {
        vectors: toResults(answer.vectors, request.returnDistance),
        distanceMetric: toMetric(answer.distanceMetric),
        nextToken: answer.nextToken,
        plan: toPlan(answer.plan),
        lsn: BigInt(answer.lsn),
      };
    },
    async batchQueryVectors(request, context) {
      const answer = await queries.batchQuery(callerOf(context), {
        ...request,
        queries: request.queries.map(toQueryInput),
      });
      return {
        results: answer.results.map((result, i) => {
          if (result instanceof QuiverError) return { error: toStatus(result) };
          const returnDistance = request.queries[i]?.returnDistance ?? false;
          return { vectors: toResults(result.vectors, returnDistance), plan: toPlan(result.plan) };
        }),
        distanceMetric: toMetric(answer.distanceMetric),
        lsn: BigInt(answer.lsn),
      };
    },
  };
}
