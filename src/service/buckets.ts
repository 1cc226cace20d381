import type { Bucket, Engine, Page } from "../engine/engine.ts";
import { admitBucket, type ServiceContext } from "./context.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { assertName, type BucketReference, bucketArn } from "./names.ts";
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

  async create(request: { vectorBucketName: string; tags: Record<string, string> }): Promise<{ arn: string }> {
    assertName("vector_bucket_name", request.vectorBucketName);
    this.#context.rates.admitRequest({ bucket: request.vectorBucketName });
    assertTags(request.tags);
    await this.#engine.createBucket({ name: request.vectorBucketName, createdAt: Date.now(), tags: request.tags });
    return { arn: bucketArn(this.#context.scope, request.vectorBucketName) };
  }

  async get(reference: BucketReference): Promise<BucketWithArn> {
    return this.#withArn(await this.#engine.getBucket(admitBucket(this.#context, reference)));
  }

  async list(request: PageRequest): Promise<PageResult<BucketWithArn>> {
    this.#context.rates.admitRequest({});
    const read = async (options: Parameters<Engine["listBuckets"]>[0]): Promise<Page<BucketWithArn>> => {
      const { items, more } = await this.#engine.listBuckets(options);
      return { items: items.map((bucket) => this.#withArn(bucket)), more };
    };
    return listPage(["buckets"], request, read, ({ name }) => name);
  }

  async delete(reference: BucketReference): Promise<void> {
    await this.#engine.deleteBucket(admitBucket(this.#context, reference));
  }

  #withArn(bucket: Bucket): BucketWithArn {
    return { ...bucket, arn: bucketArn(this.#context.scope, bucket.name) };
  }
}
