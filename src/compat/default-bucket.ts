import { QuiverError } from "../errors.ts";
import type { Caller } from "../service/access/caller.ts";
import type { Service } from "../service/service.ts";

/**
 * Creates an index, by `create`, for an API that knows no buckets; and the bucket of all its indexes when this is the first
 * one. Whoever creates that bucket at the same time does not disturb.
 */
export async function createInBucket<Created>(
  service: Service,
  caller: Caller,
  vectorBucketName: string,
  create: () => Promise<Created>,
): Promise<Created> {
  try {
    return await create();
  } catch (error) {
    if (!isReason(error, "BUCKET_NOT_FOUND")) throw error;
  }
  try {
    await service.buckets.create(caller, { vectorBucketName, tags: {} });
  } catch (error) {
    if (!isReason(error, "BUCKET_EXISTS")) throw error;
  }
  return create();
}

function isReason(error: unknown, reason: QuiverError["reason"]): boolean {
  return error instanceof QuiverError && error.reason === reason;
}
