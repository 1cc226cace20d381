import type { ServiceImpl } from "@connectrpc/connect";
import type { BucketService } from "../../../gen/quiver/v1/bucket_service_pb.ts";
import type { Service } from "../../service/service.ts";
import { callerOf } from "../call.ts";
import { toBucket } from "../convert.ts";

export function bucketService({ buckets, policies }: Service): Partial<ServiceImpl<typeof BucketService>> {
  return {
    async createVectorBucket(request, context) {
      return { vectorBucketArn: (await buckets.create(callerOf(context), request)).arn };
    },
    async getVectorBucket(request, context) {
      return { vectorBucket: toBucket(await buckets.get(callerOf(context), request)) };
    },
    async listVectorBuckets(request, context) {
      const { items, nextToken } = await buckets.list(callerOf(context), request);
      return { vectorBuckets: items.map(toBucket), nextToken };
    },
    async deleteVectorBucket(request, context) {
      await buckets.delete(callerOf(context), request);
      return {};
    },
    async putVectorBucketPolicy(request, context) {
      await policies.put(callerOf(context), request);
      return {};
    },
    async getVectorBucketPolicy(request, context) {
      return { policy: await policies.get(callerOf(context), request) };
    },
    async deleteVectorBucketPolicy(request, context) {
      await policies.delete(callerOf(context), request);
      return {};
    },
  };
}
