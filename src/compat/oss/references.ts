import { invalidField, quote } from "../../errors.ts";
import type { RequestHead } from "../facade.ts";
import { ossError } from "./errors.ts";
import { hostOf } from "./host.ts";
import { OSS_LIMITS } from "./limits.ts";

const BUCKET_NAME = /^[a-z0-9][a-z0-9-]*[a-z0-9]$/;

/** The bucket that a request is about. Throws InvalidVectorBucketName. */
export function bucketOf(head: RequestHead): string {
  const { endpoint, bucket } = hostOf(head);
  if (bucket === undefined) {
    throw invalidName(`The host must be <bucket>-<account>.<endpoint> to name a vector bucket, got ${quote(endpoint)}`);
  }
  if (isBucketName(bucket.name)) return bucket.name;
  const { bucketNameMin: min, bucketNameMax: max } = OSS_LIMITS;
  throw invalidName(
    `The name of a vector bucket must be ${min} to ${max} lower-case letters, digits and hyphens, without a hyphen at its ends, got ${quote(bucket.name)}`,
  );
}

/** Whether a client of OSS can name such a bucket. */
export function isBucketName(name: string): boolean {
  return name.length >= OSS_LIMITS.bucketNameMin && name.length <= OSS_LIMITS.bucketNameMax && BUCKET_NAME.test(name);
}

const INDEX_NAME = /^[A-Za-z][A-Za-z0-9]*$/;

/** Whether a client of OSS can name such an index. */
export function isIndexName(name: string): boolean {
  return name.length <= OSS_LIMITS.indexNameMax && INDEX_NAME.test(name);
}

/** Throws INVALID_FIELD. */
export function assertIndexName(name: string): void {
  if (isIndexName(name)) return;
  throw invalidField(
    "indexName",
    `Must be 1 to ${OSS_LIMITS.indexNameMax} letters and digits, the first a letter, got ${quote(name)}`,
  );
}

function invalidName(message: string) {
  return ossError("INVALID_FIELD", "InvalidVectorBucketName", message);
}
