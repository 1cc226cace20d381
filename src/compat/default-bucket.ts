import type { Caller } from "../service/access/caller.ts";
import type { CreateIndexRequest, IndexWithArn } from "../service/indexes.ts";
import { LIMITS } from "../service/limits.ts";
import type { Service } from "../service/service.ts";
import { orIf } from "./or-if.ts";

/**
 * Creates an index for an API that knows no buckets; and the bucket of all its indexes when this is the first one. Whoever
 * creates that bucket at the same time does not disturb.
 */
export async function createInBucket(service: Service, caller: Caller, request: CreateIndexRequest): Promise<void> {
  const { vectorBucketName } = request;
  if ((await orIf("BUCKET_NOT_FOUND", service.indexes.create(caller, request), undefined)) !== undefined) return;
  await orIf("BUCKET_EXISTS", service.buckets.create(caller, { vectorBucketName, tags: {} }), undefined);
  await service.indexes.create(caller, request);
}

/** Every index of a bucket that the caller may look at; none as long as there is no bucket, which the first index makes. */
export async function listBucket(
  service: Service,
  caller: Caller,
  vectorBucketName: string,
): Promise<readonly IndexWithArn[]> {
  const indexes: IndexWithArn[] = [];
  const request = { vectorBucketName, vectorBucketArn: "", prefix: "", maxResults: LIMITS.listPageMax };
  for (let nextToken = ""; ; ) {
    const read = service.indexes.list(caller, { ...request, nextToken });
    const page = await orIf("BUCKET_NOT_FOUND", read, { items: [], nextToken: "" });
    indexes.push(...page.items);
    nextToken = page.nextToken;
    if (nextToken === "") return indexes;
  }
}
