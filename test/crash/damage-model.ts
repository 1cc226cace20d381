import type { JsonObject } from "@bufbuild/protobuf";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { StoredVector } from "../model/model.ts";
import type { Clients } from "../support/protocols.ts";
import type { Random } from "../support/random.ts";

export const BUCKET = "damaged";
const DIMENSIONS: Readonly<Record<string, number>> = { dense: 12, sparse: 8 };
/** So many vectors, and some more, have a graph. */
const GRAPH_VECTORS = 5_200;
const PUT_MAX = 650;

export interface ModelPartition {
  readonly index: string;
  readonly namespace: string;
  readonly dimension: number;
  readonly metric: DistanceMetric;
  readonly vectors: Map<string, StoredVector>;
}

/** All that a server has acknowledged. Plain values, Maps and typed arrays, so that a process can send it to another. */
export interface DamageModel {
  readonly partitions: readonly ModelPartition[];
  readonly tags: { [key: string]: string };
  sparseArn: string;
  policy: string;
  jobId: string;
  /** A put that was answered with this lsn, and is answered so again. */
  remembered: { readonly data: readonly number[]; readonly lsn: bigint };
}

export function createModel(): DamageModel {
  const partition = (index: string, namespace: string): ModelPartition => ({
    index,
    namespace,
    dimension: DIMENSIONS[index] as number,
    metric: index === "dense" ? DistanceMetric.COSINE : DistanceMetric.DOT_PRODUCT,
    vectors: new Map(),
  });
  return {
    partitions: [
      partition("dense", ""),
      partition("dense", "first"),
      partition("dense", "second"),
      partition("sparse", ""),
    ],
    tags: { colour: "grey" },
    sparseArn: "",
    policy: '{"Version":"2012-10-17","Statement":[]}',
    jobId: "",
    remembered: { data: [], lsn: 0n },
  };
}

/** How a request names a partition. */
export function place({ index, namespace }: Pick<ModelPartition, "index" | "namespace">) {
  return { vectorBucketName: BUCKET, indexName: index, namespace };
}

/** A put whose answer is remembered. */
export function rememberedPut(model: DamageModel, data: readonly number[]) {
  const [partition] = model.partitions as [ModelPartition];
  return {
    ...place(partition),
    vectors: [{ key: "remembered", data: { float32: [...data] } }],
    idempotencyKey: "remembered",
  };
}

/** Creates what holds the vectors, and one of everything else that a server stores. */
export async function fillCatalog(
  { buckets, indexes, tags, jobs, vectors }: Clients,
  model: DamageModel,
  random: Random,
): Promise<void> {
  await buckets.createVectorBucket({ vectorBucketName: BUCKET, tags: { made: "by a test" } });
  await buckets.putVectorBucketPolicy({ vectorBucketName: BUCKET, policy: model.policy });
  for (const [indexName, dimension] of Object.entries(DIMENSIONS)) {
    const { indexArn } = await indexes.createIndex({
      vectorBucketName: BUCKET,
      indexName,
      dataType: DataType.FLOAT32,
      dimension,
      distanceMetric: indexName === "dense" ? DistanceMetric.COSINE : DistanceMetric.DOT_PRODUCT,
      hnsw: { m: 8, efConstruction: 40 },
    });
    if (indexName === "sparse") model.sparseArn = indexArn;
  }
  await tags.tagResource({ resourceArn: model.sparseArn, tags: model.tags });

  const [partition] = model.partitions as [ModelPartition];
  const data = random.vector(partition.dimension);
  const bare = { data, sparse: undefined, metadata: {} };
  const { lsn } = await vectors.putVectors(rememberedPut(model, [...data]));
  model.remembered = { data: [...data], lsn };
  partition.vectors.set("remembered", { key: "remembered", version: lsn, ...bare });
  const { job } = await jobs.startUpload({
    ...place(partition),
    vectors: [{ key: "uploaded", data: { float32: [...data] } }],
  });
  model.jobId = job?.jobId ?? "";
  for await (const event of jobs.watchJob({ jobId: model.jobId })) {
    partition.vectors.set("uploaded", { key: "uploaded", version: event.job?.lsn ?? 0n, ...bare });
  }
  for (let number = 0; number < GRAPH_VECTORS; number += PUT_MAX) {
    await putBatch({ vectors }, partition, smallVectors(partition, random, number));
  }
}

function smallVectors({ dimension }: ModelPartition, random: Random, from: number): StoredVector[] {
  return Array.from({ length: PUT_MAX }, (_, i) => ({
    key: `small-${from + i}`,
    data: random.vector(dimension),
    sparse: undefined,
    metadata: { even: i % 2 === 0 },
    version: 0n,
  }));
}

/** Writes over, beside and away some of every partition. */
export async function changeVectors(
  clients: Clients,
  model: DamageModel,
  random: Random,
  count: number,
): Promise<void> {
  for (const partition of model.partitions) {
    await put(clients, partition, random, partition.namespace === "" ? count : Math.ceil(count / 4));
    const keys = [...partition.vectors.keys()].filter((key) => key.startsWith("key"));
    await update(clients, partition, keys.slice(0, 5));
    const gone = keys.filter(() => random.next() < 0.05);
    await remove(clients, partition, gone);
  }
}

async function put(clients: Clients, partition: ModelPartition, random: Random, count: number): Promise<void> {
  const batch = new Map<string, StoredVector>();
  for (let i = 0; i < count; i++) {
    const number = random.below(count * 3);
    const hasSparse = partition.index === "sparse" && number % 2 === 0;
    const metadata = { number, even: number % 2 === 0, text: "text ".repeat(random.below(20)), list: ["a", "b"] };
    batch.set(`key-${number}`, {
      key: `key-${number}`,
      data: !hasSparse || number % 4 === 0 ? random.vector(partition.dimension) : undefined,
      sparse: hasSparse ? { indices: [number, number + 7], values: [...random.vector(2)] } : undefined,
      metadata,
      version: 0n,
    });
  }
  await putBatch(clients, partition, [...batch.values()]);
}

async function putBatch(
  { vectors }: Pick<Clients, "vectors">,
  partition: ModelPartition,
  batch: readonly StoredVector[],
): Promise<void> {
  const { lsn } = await vectors.putVectors({
    ...place(partition),
    vectors: batch.map(({ key, data, sparse, metadata }) => ({
      key,
      metadata,
      ...(data && { data: { float32: [...data] } }),
      ...(sparse && { sparse: { indices: [...sparse.indices], values: [...sparse.values] } }),
    })),
  });
  for (const vector of batch) partition.vectors.set(vector.key, { ...vector, version: lsn });
}

async function update({ vectors }: Clients, partition: ModelPartition, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  const setMetadata: JsonObject = { updated: true };
  const { lsn } = await vectors.updateVectors({
    ...place(partition),
    updates: keys.map((key) => ({ key, setMetadata })),
  });
  for (const key of keys) {
    const old = partition.vectors.get(key) as StoredVector;
    partition.vectors.set(key, { ...old, version: lsn, metadata: { ...old.metadata, ...setMetadata } });
  }
}

async function remove({ vectors }: Clients, partition: ModelPartition, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await vectors.deleteVectors({ ...place(partition), keys: [...keys] });
  for (const key of keys) partition.vectors.delete(key);
}
