import type { ServiceImpl } from "@connectrpc/connect";
import type { BucketService } from "../../../gen/quiver/v1/bucket_service_pb.ts";
import type { Service } from "../../service/service.ts";
import { toBucket } from "../convert.ts";

export function bucketService({ buckets, policies }: Service): Partial<ServiceImpl<typeof BucketService>> {
  return {
    async createVectorBucket(request) {
      return { vectorBucketArn: (await buckets.create(request)).arn };
    },
    async getVectorBucket(request) {
      return { vectorBucket: toBucket(await buckets.get(request)) };
    },
    async listVectorBuckets(request) {
      const { items, nextToken } = await buckets.list(request);
      return { vectorBuckets: items.map(toBucket), nextToken };
    },
    async deleteVectorBucket(request) {
      await buckets.delete(request);
      return {};
    },
    async putVectorBucketPolicy(request) {
      await policies.put(request);
      return {};
    },
    async getVectorBucketPolicy(request) {
      return { policy: await policies.get(request) };
    },
    async deleteVectorBucketPolicy(request) {
      await policies.delete(request);
      return {};
    },
  };
}
