import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { DataType, type Vector, DistanceMetric as WireMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import type {
  CreateIndexOptions,
  DistanceMetric,
  ListOptions,
  Projection,
  QueryAnswer,
  QueryOptions,
  QuiverOptions,
  StoredVector,
  VectorInput,
} from "./types.ts";

const METRICS: Readonly<Record<DistanceMetric, WireMetric>> = {
  cosine: WireMetric.COSINE,
  euclidean: WireMetric.EUCLIDEAN,
  dot_product: WireMetric.DOT_PRODUCT,
};

const DEFAULT_URL = "http://127.0.0.1:8080";
const DEFAULT_TOP_K = 10;

/**
 * A Quiver server. Makes no connection before the first call; every call rejects with a ConnectError, whose reason
 * `reasonOf` tells.
 */
export class Quiver {
  /** The generated clients, for what has no method here. */
  readonly buckets: Client<typeof BucketService>;
  readonly indexes: Client<typeof IndexService>;
  readonly vectors: Client<typeof VectorService>;

  constructor({ url = DEFAULT_URL, transport = overFetch(url) }: QuiverOptions = {}) {
    this.buckets = createClient(BucketService, transport);
    this.indexes = createClient(IndexService, transport);
    this.vectors = createClient(VectorService, transport);
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
  readonly #namespace: string;

  /** `namespace` "" is the default one. */
  constructor(quiver: Quiver, bucket: string, name: string, namespace = "") {
    this.#quiver = quiver;
    this.name = name;
    this.#reference = { vectorBucketName: bucket, indexName: name };
    this.#namespace = namespace;
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
    await this.#quiver.vectors.putVectors({
      ...this.#reference,
      namespace: this.#namespace,
      vectors: vectors.map(({ key, data, metadata }) => ({
        key,
        data: { float32: Array.from(data) },
        ...(metadata && { metadata }),
      })),
    });
  }

  /** Gets up to 1,000 vectors by key; absent ones are left out. */
  async get(keys: readonly string[], projection: Projection = {}): Promise<StoredVector[]> {
    const request = { ...this.#reference, namespace: this.#namespace, keys: [...keys], ...toFlags(projection) };
    return (await this.#quiver.vectors.getVectors(request)).vectors.map(toVector);
  }

  /** Deletes up to 1,000 vectors by key and tells how many there were; absent ones are fine. */
  async deleteVectors(keys: readonly string[]): Promise<number> {
    return Number(
      (await this.#quiver.vectors.deleteVectors({ ...this.#reference, namespace: this.#namespace, keys: [...keys] }))
        .deletedCount,
    );
  }

  /** Every vector in ascending byte order of the keys, page by page. */
  async *list({ prefix = "", ...projection }: ListOptions = {}): AsyncGenerator<StoredVector> {
    for (let nextToken = "", more = true; more; more = nextToken !== "") {
      const request = { ...this.#reference, namespace: this.#namespace, prefix, nextToken, ...toFlags(projection) };
      const page = await this.#quiver.vectors.listVectors(request);
      for (const vector of page.vectors) yield toVector(vector);
      nextToken = page.nextToken;
    }
  }

  /** The nearest vectors. */
  async query(data: Float32Array | readonly number[], options: QueryOptions = {}): Promise<QueryAnswer> {
    const { topK = DEFAULT_TOP_K, exact = false, ...projection } = options;
    const answer = await this.#quiver.vectors.queryVectors({
      ...this.#reference,
      namespace: this.#namespace,
      queryVector: { float32: Array.from(data) },
      topK,
      returnDistance: true,
      ...toFlags(projection),
      ...(exact && { search: { mode: { case: "exact", value: true } } }),
    });
    return {
      vectors: answer.vectors.map((vector) => ({ ...toVector(vector), distance: vector.distance ?? 0 })),
      exact: answer.plan?.exact ?? false,
      compared: Number(answer.plan?.compared ?? 0),
    };
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

function toFlags({ data = false, metadata = true }: Projection) {
  return { returnData: data, returnMetadata: metadata };
}

function toVector({ key, data, metadata }: Pick<Vector, "key" | "data" | "metadata">): StoredVector {
  return { key, ...(data && { data: Float32Array.from(data.float32) }), ...(metadata && { metadata }) };
}
