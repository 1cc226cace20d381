import type { Bucket, Engine, Page } from "../engine/engine.ts";
import type { Caller } from "./access/caller.ts";
import { onlyAllowed } from "./access/only-allowed.ts";
import { admitBucket, admitServer, type ServiceContext } from "./context.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { type BucketReference, bucketArn } from "./names.ts";
import { assertTags } from "./tags.ts";

export type BucketWithArn = Bucket & { readonly arn: string };

/** Vector buckets: create, look at, list, delete. */
export class Buckets {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async create(
    caller: Caller,
    request: { vectorBucketName: string; tags: Record<string, string> },
  ): Promise<{ arn: string }> {
    const reference = { vectorBucketName: request.vectorBucketName, vectorBucketArn: "" };
    await admitBucket(this.#context, { caller, action: "CreateVectorBucket" }, reference);
    assertTags(request.tags);
    await this.#engine.createBucket({ name: request.vectorBucketName, createdAt: Date.now(), tags: request.tags });
    return { arn: bucketArn(this.#context.scope, request.vectorBucketName) };
  }

  async get(caller: Caller, reference: BucketReference): Promise<BucketWithArn> {
    const bucket = await admitBucket(this.#context, { caller, action: "GetVectorBucket" }, reference);
    return this.#withArn(await this.#engine.getBucket(bucket));
  }

  /** Those that the caller may look at. */
  async list(caller: Caller, request: PageRequest): Promise<PageResult<BucketWithArn>> {
    await admitServer(this.#context, { caller, action: "ListVectorBuckets" });
    const read = async (options: Parameters<Engine["listBuckets"]>[0]): Promise<Page<BucketWithArn>> => {
      const { items, more } = await this.#engine.listBuckets(options);
      return { items: items.map((bucket) => this.#withArn(bucket)), more };
    };
    const isAllowed = ({ name }: Bucket) => this.#context.authorizer.may(caller, "GetVectorBucket", { bucket: name });
    return listPage(["buckets"], request, onlyAllowed(read, nameOf, isAllowed), nameOf);
  }

  async delete(caller: Caller, reference: BucketReference): Promise<void> {
    const bucket = await admitBucket(this.#context, { caller, action: "DeleteVectorBucket" }, reference);
    await this.#engine.deleteBucket(bucket);
  }

  #withArn(bucket: Bucket): BucketWithArn {
    return { ...bucket, arn: bucketArn(this.#context.scope, bucket.name) };
  }
}

function nameOf({ name }: Bucket): string {
  return name;
}
