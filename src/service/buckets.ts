import type { Bucket, Engine, Page } from "../engine/engine.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { type ArnScope, assertName, type BucketReference, bucketArn, resolveBucket } from "./names.ts";
import type { Rates } from "./rates.ts";
import { assertTags } from "./tags.ts";

export type BucketWithArn = Bucket & { readonly arn: string };

/** Vector buckets: create, look at, list, delete. */
export class Buckets {
  readonly #engine: Engine;
  readonly #scope: ArnScope;
  readonly #rates: Rates;

  constructor(engine: Engine, scope: ArnScope, rates: Rates) {
    this.#engine = engine;
    this.#scope = scope;
    this.#rates = rates;
  }

  async create(request: { vectorBucketName: string; tags: Record<string, string> }): Promise<{ arn: string }> {
    assertName("vector_bucket_name", request.vectorBucketName);
    this.#rates.admitRequest({ bucket: request.vectorBucketName });
    assertTags(request.tags);
    await this.#engine.createBucket({ name: request.vectorBucketName, createdAt: Date.now(), tags: request.tags });
    return { arn: bucketArn(this.#scope, request.vectorBucketName) };
  }

  async get(reference: BucketReference): Promise<BucketWithArn> {
    return this.#withArn(await this.#engine.getBucket(this.#bucket(reference)));
  }

  async list(request: PageRequest): Promise<PageResult<BucketWithArn>> {
    this.#rates.admitRequest({});
    const read = async (options: Parameters<Engine["listBuckets"]>[0]): Promise<Page<BucketWithArn>> => {
      const { items, more } = await this.#engine.listBuckets(options);
      return { items: items.map((bucket) => this.#withArn(bucket)), more };
    };
    return listPage(["buckets"], request, read, ({ name }) => name);
  }

  async delete(reference: BucketReference): Promise<void> {
    await this.#engine.deleteBucket(this.#bucket(reference));
  }

  #bucket(reference: BucketReference): string {
    const bucket = resolveBucket(this.#scope, reference);
    this.#rates.admitRequest({ bucket });
    return bucket;
  }

  #withArn(bucket: Bucket): BucketWithArn {
    return { ...bucket, arn: bucketArn(this.#scope, bucket.name) };
  }
}
