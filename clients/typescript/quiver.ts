import { type Client, type ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { JobService } from "../../gen/quiver/v1/job_service_pb.ts";
import { NamespaceService } from "../../gen/quiver/v1/namespace_service_pb.ts";
import { DataType, DistanceMetric as WireMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { TagService } from "../../gen/quiver/v1/tag_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { fromInput, fromQuery, fromUpdate, toError, toPlan, toScored, toVector } from "./convert.ts";
import type {
  BatchQuery,
  CreateIndexOptions,
  DistanceMetric,
  Filter,
  ListOptions,
  Metadata,
  Projection,
  QueryAnswer,
  QueryOptions,
  QueryTarget,
  QuiverOptions,
  Selection,
  StoredVector,
  VectorInput,
  VectorUpdate,
} from "./types.ts";

const METRICS: Readonly<Record<DistanceMetric, WireMetric>> = {
  cosine: WireMetric.COSINE,
  euclidean: WireMetric.EUCLIDEAN,
  dot_product: WireMetric.DOT_PRODUCT,
};

const DEFAULT_URL = "http://127.0.0.1:8080";

/**
 * A Quiver server. Makes no connection before the first call; every call rejects with a ConnectError, whose reason
 * `reasonOf` tells.
 */
export class Quiver {
  /** The generated clients, for what has no method here. */
  readonly buckets: Client<typeof BucketService>;
  readonly indexes: Client<typeof IndexService>;
  readonly namespaces: Client<typeof NamespaceService>;
  readonly vectors: Client<typeof VectorService>;
  readonly jobs: Client<typeof JobService>;
  readonly tags: Client<typeof TagService>;
  readonly admin: Client<typeof AdminService>;

  constructor({ url = DEFAULT_URL, apiKey, transport: given = overFetch(url) }: QuiverOptions = {}) {
    const transport = apiKey === undefined ? given : withApiKey(given, apiKey);
    this.buckets = createClient(BucketService, transport);
    this.indexes = createClient(IndexService, transport);
    this.namespaces = createClient(NamespaceService, transport);
    this.vectors = createClient(VectorService, transport);
    this.jobs = createClient(JobService, transport);
    this.tags = createClient(TagService, transport);
    this.admin = createClient(AdminService, transport);
  }

  /** A vector bucket by its name; it need not exist yet. */
  bucket(name: string): Bucket {
    return new Bucket(this, name);
  }
}

/** A vector bucket: the top-level container of indexes. */
export class Bucket {
  readonly name: string;
  readonly #quiver: Quiver;

  constructor(quiver: Quiver, name: string) {
    this.#quiver = quiver;
    this.name = name;
  }

  /** Fails with BUCKET_EXISTS when it exists. */
  async create(): Promise<void> {
    await this.#quiver.buckets.createVectorBucket({ vectorBucketName: this.name });
  }

  /** Fails with BUCKET_NOT_EMPTY while it has indexes. */
  async delete(): Promise<void> {
    await this.#quiver.buckets.deleteVectorBucket({ vectorBucketName: this.name });
  }

  /** An index by its name; it need not exist yet. */
  index(name: string): Index {
    return new Index(this.#quiver, this.name, name);
  }
}

/** An index: a set of vectors of one dimension, compared by one metric. */
export class Index {
  readonly name: string;
  readonly #quiver: Quiver;
  readonly #reference: { readonly vectorBucketName: string; readonly indexName: string };
  readonly #partition: { readonly vectorBucketName: string; readonly indexName: string; readonly namespace: string };

  /** `namespace` "" is the default one. */
  constructor(quiver: Quiver, bucket: string, name: string, namespace = "") {
    this.#quiver = quiver;
    this.name = name;
    this.#reference = { vectorBucketName: bucket, indexName: name };
    this.#partition = { ...this.#reference, namespace };
  }

  /** The same index, with another namespace for the vectors; it comes to be with the first put. */
  namespace(namespace: string): Index {
    return new Index(this.#quiver, this.#reference.vectorBucketName, this.name, namespace);
  }

  /** Fails with INDEX_EXISTS when it exists. */
  async create({ dimension, distanceMetric, nonFilterableMetadataKeys }: CreateIndexOptions): Promise<void> {
    await this.#quiver.indexes.createIndex({
      ...this.#reference,
      dataType: DataType.FLOAT32,
      dimension,
      distanceMetric: METRICS[distanceMetric],
      metadataConfiguration: { nonFilterableMetadataKeys: [...(nonFilterableMetadataKeys ?? [])] },
    });
  }

  /** Deletes the index with all of its vectors. */
  async delete(): Promise<void> {
    await this.#quiver.indexes.deleteIndex(this.#reference);
  }

  /** Puts up to 1,000 vectors, replacing those with the same key; durable and visible once it resolves. */
  async put(vectors: readonly VectorInput[]): Promise<void> {
    await this.#quiver.vectors.putVectors({ ...this.#partition, vectors: vectors.map(fromInput) });
  }

  /** Changes up to 1,000 vectors by key and tells how many there were; absent ones are not created. */
  async update(updates: readonly VectorUpdate[]): Promise<number> {
    const request = { ...this.#partition, updates: updates.map(fromUpdate) };
    return Number((await this.#quiver.vectors.updateVectors(request)).matchedCount);
  }

  /**
   * Merges `setMetadata` into the metadata of all that matches, null removing a key, and tells how many match. With
   * `dryRun` it only counts.
   */
  async updateMatching(filter: Filter, setMetadata: Metadata, { dryRun = false } = {}): Promise<number> {
    const request = { ...this.#partition, filter, setMetadata, dryRun };
    return Number((await this.#quiver.vectors.updateVectors(request)).matchedCount);
  }

  /** Gets up to 1,000 vectors by key; absent ones are left out. */
  async get(keys: readonly string[], projection: Projection = {}): Promise<StoredVector[]> {
    const request = { ...this.#partition, keys: [...keys], ...toFlags(projection) };
    return (await this.#quiver.vectors.getVectors(request)).vectors.map(toVector);
  }

  /** Deletes vectors by key, by filter, or all, and tells how many there were; absent keys are fine. */
  async deleteVectors(selection: Selection): Promise<number> {
    const selected = isKeys(selection) ? { keys: [...selection] } : selection;
    const { deletedCount } = await this.#quiver.vectors.deleteVectors({ ...this.#partition, ...selected });
    return Number(deletedCount);
  }

  /** Every vector in ascending byte order of the keys, page by page. */
  async *list({ prefix = "", filter, ...projection }: ListOptions = {}): AsyncGenerator<StoredVector> {
    const request = { ...this.#partition, prefix, ...(filter && { filter }), ...toFlags(projection) };
    for (let nextToken = "", more = true; more; more = nextToken !== "") {
      const page = await this.#quiver.vectors.listVectors({ ...request, nextToken });
      for (const vector of page.vectors) yield toVector(vector);
      nextToken = page.nextToken;
    }
  }

  /** The nearest vectors; more than 1,000 in several calls, which show one and the same state. */
  async query(target: QueryTarget, options: QueryOptions = {}): Promise<QueryAnswer> {
    const request = { ...this.#partition, ...fromQuery(target, options) };
    const first = await this.#quiver.vectors.queryVectors(request);
    const vectors = first.vectors.map(toScored);
    for (let { nextToken } = first; nextToken !== ""; ) {
      const page = await this.#quiver.vectors.queryVectors({ ...request, nextToken });
      vectors.push(...page.vectors.map(toScored));
      nextToken = page.nextToken;
    }
    return { vectors, ...toPlan(first.plan) };
  }

  /** The answers to up to 1,000 queries, in their order and at one state; an error in place of those that fail. */
  async queryBatch(queries: readonly BatchQuery[]): Promise<(QueryAnswer | ConnectError)[]> {
    const { results } = await this.#quiver.vectors.batchQueryVectors({
      ...this.#partition,
      queries: queries.map(({ target, ...options }) => fromQuery(target, options)),
    });
    return results.map(({ vectors, plan, error }) =>
      error ? toError(error) : { vectors: vectors.map(toScored), ...toPlan(plan) },
    );
  }

  /** How many vectors there are, and how many of them the graph does not hold yet. */
  async stats(): Promise<{ vectorCount: number; unindexedVectors: number }> {
    const { vectorCount, unindexedVectors } = await this.#quiver.indexes.getIndexStats(this.#reference);
    return { vectorCount: Number(vectorCount), unindexedVectors: Number(unindexedVectors) };
  }
}

function overFetch(url: string): Transport {
  return createConnectTransport({ baseUrl: url, useBinaryFormat: true });
}

/** The same transport; interceptors can be given only to those that are made here. */
function withApiKey(transport: Transport, apiKey: string): Transport {
  const withCredentials = (given: HeadersInit | undefined) => {
    const headers = new Headers(given);
    headers.set("authorization", `Bearer ${apiKey}`);
    return headers;
  };
  return {
    unary: (method, signal, timeoutMs, headers, ...rest) =>
      transport.unary(method, signal, timeoutMs, withCredentials(headers), ...rest),
    stream: (method, signal, timeoutMs, headers, ...rest) =>
      transport.stream(method, signal, timeoutMs, withCredentials(headers), ...rest),
  };
}

function toFlags({ data = false, metadata = true }: Projection) {
  return { returnData: data, returnMetadata: metadata };
}

function isKeys(selection: Selection): selection is readonly string[] {
  return Array.isArray(selection);
}
