import type { DistanceMetric, Engine, Index, IndexStats, Page } from "../engine/engine.ts";
import { invalidField, QuiverError, quote } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import { onlyAllowed } from "./access/only-allowed.ts";
import { admitBucket, admitIndex, type ServiceContext } from "./context.ts";
import { DEFAULTS, LIMITS } from "./limits.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { type BucketReference, type IndexReference, indexArn, resolveBucket } from "./names.ts";
import { assertTags } from "./tags.ts";

export type IndexWithArn = Index & { readonly arn: string };

export interface CreateIndexRequest extends BucketReference {
  readonly indexName: string;
  readonly dimension: number;
  /** Undefined: not given, which is an error. */
  readonly distanceMetric: DistanceMetric | undefined;
  readonly nonFilterableMetadataKeys: readonly string[];
  /** 0: the default. */
  readonly m: number;
  /** 0: the default. */
  readonly efConstruction: number;
  readonly deletionProtection: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

export interface UpdateIndexRequest extends IndexReference {
  /** Undefined: as it was. */
  readonly deletionProtection: boolean | undefined;
  /** 0: as it was. */
  readonly m: number;
  /** 0: as it was. */
  readonly efConstruction: number;
}

/** Indexes of a vector bucket: create, look at, list, change, delete. */
export class Indexes {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async create(caller: Caller, request: CreateIndexRequest): Promise<{ arn: string }> {
    const bucket = resolveBucket(this.#context.scope, request);
    const { indexName, dimension, distanceMetric, nonFilterableMetadataKeys, tags } = request;
    const reference = { vectorBucketName: bucket, indexName, indexArn: "" };
    await admitIndex(this.#context, { caller, action: "CreateIndex" }, reference);
    assertRange("dimension", dimension, 1, LIMITS.dimensionMax);
    if (!distanceMetric) throw invalidField("distance_metric", "Must be COSINE, EUCLIDEAN or DOT_PRODUCT");
    assertNonFilterableKeys(nonFilterableMetadataKeys);
    const m = request.m || DEFAULTS.hnswM;
    const efConstruction = request.efConstruction || DEFAULTS.efConstruction;
    assertHnsw(m, efConstruction);
    assertTags(tags);
    await this.#engine.createIndex({
      bucket,
      index: indexName,
      createdAt: Date.now(),
      dimension,
      distanceMetric,
      nonFilterableMetadataKeys,
      m,
      efConstruction,
      deletionProtection: request.deletionProtection,
      tags,
    });
    return { arn: indexArn(this.#context.scope, bucket, indexName) };
  }

  async get(caller: Caller, reference: IndexReference): Promise<IndexWithArn> {
    const ref = await admitIndex(this.#context, { caller, action: "GetIndex" }, reference);
    return this.#withArn(await this.#engine.getIndex(ref));
  }

  /** Those that the caller may look at. */
  async list(caller: Caller, request: BucketReference & PageRequest): Promise<PageResult<IndexWithArn>> {
    const bucket = await admitBucket(this.#context, { caller, action: "ListIndexes" }, request);
    const read = async (options: Parameters<Engine["listIndexes"]>[1]): Promise<Page<IndexWithArn>> => {
      const { items, more } = await this.#engine.listIndexes(bucket, options);
      return { items: items.map((index) => this.#withArn(index)), more };
    };
    const isAllowed = ({ index }: Index) => this.#context.authorizer.may(caller, "GetIndex", { bucket, index });
    return listPage(["indexes", bucket], request, onlyAllowed(read, nameOf, isAllowed), nameOf);
  }

  /** How many vectors the indexes of a bucket hold, by name; of those whose statistics the caller may see. */
  async vectorCounts(caller: Caller, reference: BucketReference): Promise<ReadonlyMap<string, number>> {
    const bucket = await admitBucket(this.#context, { caller, action: "ListIndexes" }, reference);
    const shown = new Map<string, number>();
    for (const [index, count] of await this.#engine.vectorCounts(bucket)) {
      if (await this.#context.authorizer.may(caller, "GetIndexStats", { bucket, index })) shown.set(index, count);
    }
    return shown;
  }

  /**
   * Names that begin with `prefix` of indexes that the caller may look at, in byte order, `max` at most; none where there is no
   * such bucket. It counts as no request: it tells which index one is about.
   */
  async visible(caller: Caller, bucket: string, { prefix, max }: { prefix: string; max: number }): Promise<string[]> {
    const isAllowed = ({ index }: Index) => this.#context.authorizer.may(caller, "GetIndex", { bucket, index });
    const list = onlyAllowed((options) => this.#engine.listIndexes(bucket, options), nameOf, isAllowed);
    try {
      return (await list({ prefix, after: undefined, maxResults: max })).items.map(nameOf);
    } catch (error) {
      if (error instanceof QuiverError && error.reason === "BUCKET_NOT_FOUND") return [];
      throw error;
    }
  }

  async update(caller: Caller, request: UpdateIndexRequest): Promise<IndexWithArn> {
    const ref = await admitIndex(this.#context, { caller, action: "UpdateIndex" }, request);
    const { deletionProtection } = request;
    const m = request.m || undefined;
    const efConstruction = request.efConstruction || undefined;
    assertHnsw(m, efConstruction);
    return this.#withArn(await this.#engine.updateIndex(ref, { deletionProtection, m, efConstruction }));
  }

  async delete(caller: Caller, reference: IndexReference): Promise<void> {
    await this.#engine.deleteIndex(await admitIndex(this.#context, { caller, action: "DeleteIndex" }, reference));
  }

  async stats(caller: Caller, reference: IndexReference): Promise<IndexStats> {
    return this.#engine.indexStats(await admitIndex(this.#context, { caller, action: "GetIndexStats" }, reference));
  }

  #withArn(index: Index): IndexWithArn {
    return { ...index, arn: indexArn(this.#context.scope, index.bucket, index.index) };
  }
}

function nameOf({ index }: Index): string {
  return index;
}

/** Undefined is fine. */
function assertHnsw(m: number | undefined, efConstruction: number | undefined): void {
  if (m !== undefined) assertRange("hnsw.m", m, LIMITS.hnswMMin, LIMITS.hnswMMax);
  if (efConstruction === undefined) return;
  assertRange("hnsw.ef_construction", efConstruction, LIMITS.efConstructionMin, LIMITS.efConstructionMax);
}

function assertRange(field: string, value: number, min: number, max: number): void {
  if (value < min || value > max) throw invalidField(field, `Must be ${min} to ${max}, got ${value}`);
}

function assertNonFilterableKeys(keys: readonly string[]): void {
  const field = "metadata_configuration.non_filterable_metadata_keys";
  if (keys.length > LIMITS.nonFilterableKeysMax) {
    throw invalidField(field, `Must be at most ${LIMITS.nonFilterableKeysMax} keys, got ${keys.length}`);
  }
  for (const [i, key] of keys.entries()) {
    if (key.length < 1 || key.length > LIMITS.nonFilterableKeyLengthMax || !key.isWellFormed()) {
      throw invalidField(
        `${field}[${i}]`,
        `Must be 1 to ${LIMITS.nonFilterableKeyLengthMax} characters, got ${quote(key)}`,
      );
    }
    if (keys.indexOf(key) !== i) throw invalidField(`${field}[${i}]`, `Must be distinct, ${quote(key)} stands twice`);
  }
}
