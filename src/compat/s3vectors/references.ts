import type { BucketReference, IndexReference } from "../../service/names.ts";
import type { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";

// As the service model has them; buckets are given dots there that no name of a bucket may have.
const NAME = "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]";
const BUCKET_ARN = `arn:aws[-a-z0-9]*:s3vectors:[a-z0-9-]+:[0-9]{12}:bucket/${NAME}`;
const INDEX_ARN = `${BUCKET_ARN}/index/${NAME}`;

const BUCKET_NAME = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
const INDEX_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** Whether a client of Amazon's can name such a bucket. */
export function isBucketName(name: string): boolean {
  return BUCKET_NAME.test(name);
}

/** Whether a client of Amazon's can name such an index. */
export function isIndexName(name: string): boolean {
  return INDEX_NAME.test(name);
}

/** The name of a bucket; "" when it is absent. */
export function bucketNameOf(input: Input, isRequired = false): string {
  const name = input.string("vectorBucketName", { length: S3_LIMITS.name, isRequired });
  input.rule(name === "" || isBucketName(name), "vectorBucketName", "Invalid vector bucket name");
  return name;
}

/** The name of an index; "" when it is absent. */
export function indexNameOf(input: Input, isRequired = false): string {
  const name = input.string("indexName", { length: S3_LIMITS.name, isRequired });
  input.rule(name === "" || isIndexName(name), "indexName", "Invalid index name");
  return name;
}

/** A bucket by its name or its ARN. */
export function bucketOf(input: Input): BucketReference {
  const vectorBucketName = bucketNameOf(input);
  const vectorBucketArn = input.string("vectorBucketArn", { pattern: BUCKET_ARN });
  input.rule(
    (vectorBucketName === "") !== (vectorBucketArn === ""),
    "vectorBucketName",
    "Must specify either vectorBucketName or vectorBucketArn but not both",
  );
  return { vectorBucketName, vectorBucketArn };
}

/** An index by its bucket's name and its own, or by its ARN. */
export function indexOf(input: Input): IndexReference {
  const vectorBucketName = bucketNameOf(input);
  const indexName = indexNameOf(input);
  const indexArn = input.string("indexArn", { pattern: INDEX_ARN });
  const names = [vectorBucketName, indexName].filter((name) => name !== "").length;
  input.rule(
    names === (indexArn === "" ? 2 : 0),
    "indexArn",
    "Must specify either indexArn or both vectorBucketName and indexName",
  );
  return { vectorBucketName, indexName, indexArn };
}

/** What a request is about, for logs: "bucket/index". */
export function placeOf(reference: Partial<BucketReference & IndexReference>): string {
  const { vectorBucketName = "", indexName = "", vectorBucketArn = "", indexArn = "" } = reference;
  const arn = indexArn || vectorBucketArn;
  if (arn !== "") return arn.slice(arn.indexOf(":bucket/") + ":bucket/".length).replace("/index/", "/");
  return indexName === "" ? vectorBucketName : `${vectorBucketName}/${indexName}`;
}
