import type { BucketWithArn } from "../../service/buckets.ts";
import type { Service } from "../../service/service.ts";
import type { Operation } from "../facade.ts";
import { toTimestamp } from "./convert.ts";
import { assertEncryption, ENCRYPTION } from "./encryption.ts";
import { S3_LIMITS } from "./limits.ts";
import { operation } from "./operation.ts";
import { bucketNameOf, bucketOf, isBucketName, placeOf } from "./references.ts";
import { tagsOf } from "./tag-rules.ts";

export function bucketOperations({ buckets, policies }: Service): readonly Operation[] {
  return [
    operation("CreateVectorBucket", "write", async (input, { caller, note }) => {
      const vectorBucketName = bucketNameOf(input, true);
      assertEncryption(input);
      const tags = tagsOf(input);
      input.assertValid();
      note(vectorBucketName);
      const { arn } = await buckets.create(caller, { vectorBucketName, tags });
      return { vectorBucketArn: arn };
    }),

    operation("GetVectorBucket", "read", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      input.assertValid();
      note(placeOf(reference));
      const bucket = await buckets.get(caller, reference);
      return { vectorBucket: { ...toSummary(bucket), encryptionConfiguration: ENCRYPTION } };
    }),

    operation("ListVectorBuckets", "read", async (input, { caller }) => {
      const prefix = input.string("prefix", { length: S3_LIMITS.prefix });
      const maxResults = input.integer("maxResults", S3_LIMITS.bucketPage) ?? 0;
      const nextToken = input.string("nextToken", { length: S3_LIMITS.nameToken });
      input.assertValid();
      const page = await buckets.list(caller, { prefix, maxResults, nextToken });
      // A page is shorter for what Amazon's clients could not name.
      const shown = page.items.filter(({ name }) => isBucketName(name));
      return { vectorBuckets: shown.map(toSummary), nextToken: page.nextToken || undefined };
    }),

    operation("DeleteVectorBucket", "write", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      input.assertValid();
      note(placeOf(reference));
      await buckets.delete(caller, reference);
      return {};
    }),

    operation("PutVectorBucketPolicy", "write", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      const policy = input.string("policy", { isRequired: true });
      input.assertValid();
      note(placeOf(reference));
      await policies.put(caller, { ...reference, policy });
      return {};
    }),

    operation("GetVectorBucketPolicy", "read", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      input.assertValid();
      note(placeOf(reference));
      return { policy: await policies.get(caller, reference) };
    }),

    operation("DeleteVectorBucketPolicy", "write", async (input, { caller, note }) => {
      const reference = bucketOf(input);
      input.assertValid();
      note(placeOf(reference));
      await policies.delete(caller, reference);
      return {};
    }),
  ];
}

function toSummary({ name, arn, createdAt }: BucketWithArn) {
  return { vectorBucketName: name, vectorBucketArn: arn, creationTime: toTimestamp(createdAt) };
}
