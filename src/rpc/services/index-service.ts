import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type IndexService, IndexState } from "../../../gen/quiver/v1/index_service_pb.ts";
import type { IndexStats } from "../../engine/engine.ts";
import { shuttingDown } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { callerOf, callKey } from "../call.ts";
import { assertDataType, fromData, fromMetric, fromStruct, toIndex } from "../convert.ts";
import { fromSearch } from "../convert-query.ts";
import { endOfCall } from "../end-of-call.ts";
import { untilAborted } from "../until-aborted.ts";

export function indexService({ indexes, recall }: Service): Partial<ServiceImpl<typeof IndexService>> {
  return {
    async createIndex(request, context) {
      assertDataType(request.dataType);
      const { arn } = await indexes.create(callerOf(context), {
        vectorBucketName: request.vectorBucketName,
        vectorBucketArn: request.vectorBucketArn,
        indexName: request.indexName,
        dimension: request.dimension,
        distanceMetric: fromMetric(request.distanceMetric),
        nonFilterableMetadataKeys: request.metadataConfiguration?.nonFilterableMetadataKeys ?? [],
        m: request.hnsw?.m ?? 0,
        efConstruction: request.hnsw?.efConstruction ?? 0,
        deletionProtection: request.deletionProtection,
        tags: request.tags,
      });
      return { indexArn: arn };
    },
    async getIndex(request, context) {
      return { index: toIndex(await indexes.get(callerOf(context), request)) };
    },
    async listIndexes(request, context) {
      const { items, nextToken } = await indexes.list(callerOf(context), request);
      return { indexes: items.map(toIndex), nextToken };
    },
    async updateIndex(request, context) {
      const index = await indexes.update(callerOf(context), {
        ...request,
        deletionProtection: request.deletionProtection,
        m: request.hnsw?.m ?? 0,
        efConstruction: request.hnsw?.efConstruction ?? 0,
      });
      return { index: toIndex(index) };
    },
    async deleteIndex(request, context) {
      await indexes.delete(callerOf(context), request);
      return {};
    },
    async getIndexStats(request, context) {
      const stats = await indexes.stats(callerOf(context), request);
      const { vectors, graph, keys, metadata, disk, reclaimable } = stats.bytes;
      return {
        vectorCount: BigInt(stats.vectorCount),
        unindexedVectors: BigInt(stats.unindexedVectors),
        deletedVectors: BigInt(stats.deletedVectors),
        bytes: {
          vectors: BigInt(vectors),
          graph: BigInt(graph),
          keys: BigInt(keys),
          metadata: BigInt(metadata),
          disk: BigInt(disk),
          reclaimable: BigInt(reclaimable),
        },
        ...(stats.recall && { recall: toRecall(stats.recall) }),
        state: STATES[stats.state],
      };
    },
    async measureRecall(request, context) {
      const { shutdown } = context.values.get(callKey);
      const measuring = recall.measure(callerOf(context), {
        ...request,
        queries: request.queries.map(fromData),
        filter: fromStruct(request.filter),
        search: fromSearch(request.search),
        signal: endOfCall(context),
      });
      const { meanComparedGraph, meanComparedExact, ...measured } = await untilAborted(
        measuring,
        shutdown,
        shuttingDown,
      );
      return { ...measured, meanComparedGraph, meanComparedExact, queryCount: BigInt(measured.queryCount) };
    },
  };
}

function toRecall({ measuredAt, queryCount, ...recall }: NonNullable<IndexStats["recall"]>) {
  return { ...recall, queryCount: BigInt(queryCount), measureTime: timestampFromMs(measuredAt) };
}

const STATES = {
  loading: IndexState.LOADING,
  building: IndexState.BUILDING,
  ready: IndexState.READY,
  failed: IndexState.FAILED,
} as const;
