import { QuiverError } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import { parsePolicy } from "./access/parse-policy.ts";
import { admitBucket, type ServiceContext } from "./context.ts";
import type { BucketReference } from "./names.ts";

/** The access policies of vector buckets: put, get, delete. */
export class Policies {
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** Keeps the text as it is. Throws INVALID_FIELD for what is no policy, see `parsePolicy`. */
  async put(caller: Caller, { policy, ...reference }: BucketReference & { readonly policy: string }): Promise<void> {
    const bucket = await admitBucket(this.#context, { caller, action: "PutVectorBucketPolicy" }, reference);
    parsePolicy(policy, this.#context.scope, bucket);
    await this.#context.engine.updateBucket(bucket, { policy });
  }

  /** As it was put. Throws POLICY_NOT_FOUND. */
  async get(caller: Caller, reference: BucketReference): Promise<string> {
    const bucket = await admitBucket(this.#context, { caller, action: "GetVectorBucketPolicy" }, reference);
    const { name, policy } = await this.#context.engine.getBucket(bucket);
    if (policy !== undefined) return policy;
    throw new QuiverError("POLICY_NOT_FOUND", `Vector bucket "${name}" has no policy`, {
      resource: { type: "vector bucket policy", name },
    });
  }

  async delete(caller: Caller, reference: BucketReference): Promise<void> {
    const bucket = await admitBucket(this.#context, { caller, action: "DeleteVectorBucketPolicy" }, reference);
    await this.#context.engine.updateBucket(bucket, { policy: null });
  }
}
