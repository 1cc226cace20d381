import { invalidField, quote } from "../../errors.ts";
import type { RequestHead } from "../facade.ts";
import { ossError } from "./errors.ts";
import { OSS_LIMITS } from "./limits.ts";

/** What a request says by its host: `<bucket>-<account>.<endpoint>`, or `<endpoint>` alone. */
export interface OssHost {
  readonly endpoint: string;
  readonly bucket?: { readonly name: string; readonly account: string };
}

const BUCKET_NAME = /^[a-z0-9][a-z0-9-]*[a-z0-9]$/;
const ACCOUNT = /^\d{1,32}$/;

/** A host that names no bucket is all endpoint. */
export function hostOf({ url }: RequestHead): OssHost {
  const host = url.slice(url.indexOf("://") + 3);
  const dot = host.indexOf(".");
  const label = host.slice(0, Math.max(dot, 0));
  const at = label.lastIndexOf("-");
  const account = label.slice(at + 1);
  if (at < 1 || !ACCOUNT.test(account)) return { endpoint: host };
  return { endpoint: host.slice(dot + 1), bucket: { name: label.slice(0, at), account } };
}

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

export function isBucketName(name: string): boolean {
  return name.length >= OSS_LIMITS.bucketNameMin && name.length <= OSS_LIMITS.bucketNameMax && BUCKET_NAME.test(name);
}

const INDEX_NAME = /^[A-Za-z][A-Za-z0-9]*$/;

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
