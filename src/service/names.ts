import { invalidField, quote } from "../errors.ts";
import { LIMITS } from "./limits.ts";

/** Where resources live in ARNs: `arn:aws:s3vectors:<region>:<account>:bucket/<bucket>/index/<index>`. */
export interface ArnScope {
  readonly region: string;
  /** Twelve digits. */
  readonly account: string;
}

export interface BucketReference {
  readonly vectorBucketName: string;
  readonly vectorBucketArn: string;
}

export interface IndexReference {
  readonly vectorBucketName: string;
  readonly indexName: string;
  readonly indexArn: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** The default namespace has two spellings. */
const DEFAULT_NAMESPACE = "__default__";

/** Throws INVALID_FIELD unless `name` is 1 to 63 of [A-Za-z0-9._-], the first a letter or digit. */
export function assertName(field: string, name: string): void {
  if (name.length >= 1 && name.length <= LIMITS.nameLengthMax && NAME.test(name)) return;
  throw invalidField(
    field,
    `Must be 1 to ${LIMITS.nameLengthMax} of letters, digits, ".", "_" and "-", the first a letter or digit, got ${quote(name)}`,
  );
}

/** The namespace that a request means, checked; "" and "__default__" are the default one. */
export function resolveNamespace(namespace: string, field = "namespace"): string {
  if (namespace === "" || namespace === DEFAULT_NAMESPACE) return "";
  assertName(field, namespace);
  return namespace;
}

export function bucketArn({ region, account }: ArnScope, bucket: string): string {
  return `arn:aws:s3vectors:${region}:${account}:bucket/${bucket}`;
}

export function indexArn(scope: ArnScope, bucket: string, index: string): string {
  return `${bucketArn(scope, bucket)}/index/${index}`;
}

/** The bucket that a request names, by name or by ARN but not by both. */
export function resolveBucket(scope: ArnScope, reference: BucketReference): string {
  const { vectorBucketName: name, vectorBucketArn: arn } = reference;
  if ((name === "") === (arn === "")) {
    throw invalidField("vector_bucket_name", "Give either vector_bucket_name or vector_bucket_arn");
  }
  if (arn === "") {
    assertName("vector_bucket_name", name);
    return name;
  }
  const [bucket, ...rest] = parseArn(scope, "vector_bucket_arn", arn);
  if (bucket === undefined || rest.length > 0) throw invalidArn("vector_bucket_arn", arn, bucketArn(scope, "<bucket>"));
  return bucket;
}

/** The index that a request names, by bucket and name or by ARN but not by both. */
export function resolveIndex(scope: ArnScope, reference: IndexReference): { bucket: string; index: string } {
  const { vectorBucketName: bucket, indexName: index, indexArn: arn } = reference;
  if (arn === "") {
    if (index === "") throw invalidField("index_name", "Give either vector_bucket_name and index_name, or index_arn");
    assertName("vector_bucket_name", bucket);
    assertName("index_name", index);
    return { bucket, index };
  }
  if (bucket !== "" || index !== "") {
    throw invalidField("index_arn", "Give either vector_bucket_name and index_name, or index_arn, not both");
  }
  const [arnBucket, arnIndex] = parseArn(scope, "index_arn", arn);
  if (arnBucket === undefined || arnIndex === undefined) {
    throw invalidArn("index_arn", arn, indexArn(scope, "<bucket>", "<index>"));
  }
  return { bucket: arnBucket, index: arnIndex };
}

/** The bucket that an ARN names, and the index when it is that of an index. */
export function resolveResource(
  scope: ArnScope,
  field: string,
  arn: string,
): { readonly bucket: string; readonly index?: string } {
  const [bucket, index] = parseArn(scope, field, arn);
  if (bucket === undefined) {
    throw invalidField(
      field,
      `Must be of the form ${quote(bucketArn(scope, "<bucket>"))} or ${quote(indexArn(scope, "<bucket>", "<index>"))}, got ${quote(arn)}`,
    );
  }
  return index === undefined ? { bucket } : { bucket, index };
}

/** More than the longest one has. */
const ARN_LENGTH_MAX = 512;

/** [bucket], or [bucket, index]; [] when it is no ARN of this server. */
function parseArn(scope: ArnScope, field: string, arn: string): string[] {
  const start = bucketArn(scope, "");
  if (!arn.startsWith(start) || arn.length > ARN_LENGTH_MAX) return [];
  const [bucket = "", kind, index, ...rest] = arn.slice(start.length).split("/");
  if (rest.length > 0 || (kind !== undefined && kind !== "index")) return [];
  assertName(field, bucket);
  if (kind === undefined) return [bucket];
  assertName(field, index ?? "");
  return [bucket, index ?? ""];
}

function invalidArn(field: string, arn: string, expected: string) {
  return invalidField(field, `Must be of the form ${quote(expected)}, got ${quote(arn)}`);
}
