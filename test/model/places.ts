import type { IndexModel, Place } from "./model.ts";
import type { Context } from "./operation.ts";
import { chance } from "./values.ts";

/** The names that operations choose from; some are not there at any moment. */
export const BUCKETS: readonly string[] = ["a", "B.2"];
export const INDEXES: readonly string[] = ["i", "j", "K_3"];
export const NAMESPACES: readonly string[] = ["", "", "n", "N-1.x"];

/** Of calls that go to the large index. */
const BIG_SHARE = 0.06;

/** Where the next call goes: mostly to an index that is there. */
export function pickPlace({ random, model }: Context, options: { readonly exists?: boolean } = {}): Place {
  const indexes = [...model.buckets.values()].flatMap((bucket) => [...bucket.indexes.values()]);
  const isBig = chance(random, BIG_SHARE);
  const index = random.pick(indexes.filter(({ bucket }) => (bucket === "big") === isBig)) as IndexModel | undefined;
  if (!index || chance(random, 0.02)) {
    return { bucket: random.pick(BUCKETS), index: random.pick(INDEXES), namespace: random.pick(NAMESPACES) };
  }
  const existing = [...index.partitions.keys()];
  const namespace = options.exists && chance(random, 0.9) ? random.pick(existing) : random.pick(NAMESPACES);
  return { bucket: index.bucket, index: index.name, namespace };
}

export function bucketArn(bucket: string): string {
  return `arn:aws:s3vectors:us-east-1:000000000000:bucket/${bucket}`;
}

export function indexArn(bucket: string, index: string): string {
  return `${bucketArn(bucket)}/index/${index}`;
}

/** The fields that name a bucket, in one of the two ways. */
export function bucketFields({ random }: Context, bucket: string) {
  return chance(random, 0.3) ? { vectorBucketArn: bucketArn(bucket) } : { vectorBucketName: bucket };
}

/** The fields that name an index, in one of the two ways. */
export function indexFields({ random }: Context, { bucket, index }: Pick<Place, "bucket" | "index">) {
  return chance(random, 0.3) ? { indexArn: indexArn(bucket, index) } : { vectorBucketName: bucket, indexName: index };
}

/** The fields that name a namespace of an index; the default one has two spellings. */
export function placeFields(context: Context, place: Place) {
  const namespace = place.namespace === "" && chance(context.random, 0.3) ? "__default__" : place.namespace;
  return { ...indexFields(context, place), namespace };
}
