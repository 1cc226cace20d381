import { QuiverError } from "../../errors.ts";
import { LIMITS } from "../../service/limits.ts";
import type { Service } from "../../service/service.ts";
import { OSS_LIMITS } from "./limits.ts";
import { DONE, GONE, onBucket, type Routes } from "./operations.ts";

/** The policy of a vector bucket, and where its access log would go. */
export function bucketSettingRoutes({ buckets, policies }: Service): Routes {
  return {
    "PUT policy": onBucket(
      "PutBucketPolicy",
      "write",
      async ({ caller, bucket, bytes }) => {
        await policies.put(caller, { ...bucket, policy: Buffer.from(bytes).toString() });
        return DONE;
      },
      LIMITS.policyBytesMax,
    ),
    "GET policy": onBucket("GetBucketPolicy", "read", async ({ caller, bucket }) => ({
      status: 200,
      body: JSON.parse(await policies.get(caller, bucket)) as object,
    })),
    "DELETE policy": onBucket("DeleteBucketPolicy", "write", async ({ caller, bucket }) => {
      await policies.delete(caller, bucket);
      return GONE;
    }),

    // No log is ever written into a bucket, so that none must seem to be set up: who relies on it would find it missing.
    "PUT logging": onBucket(
      "PutBucketLogging",
      "read",
      async ({ caller, bucket }) => {
        await buckets.get(caller, bucket);
        const message =
          "This server writes no access log into a bucket: start it with --audit-log to have one in a file";
        throw new QuiverError("NOT_IMPLEMENTED", message);
      },
      OSS_LIMITS.bodyBytesMax,
    ),
    "GET logging": onBucket("GetBucketLogging", "read", async ({ caller, bucket }) => {
      await buckets.get(caller, bucket);
      return { status: 200, body: { BucketLoggingStatus: {} } };
    }),
    "DELETE logging": onBucket("DeleteBucketLogging", "read", async ({ caller, bucket }) => {
      await buckets.get(caller, bucket);
      return GONE;
    }),
  };
}
