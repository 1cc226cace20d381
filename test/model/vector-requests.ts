import type { JsonObject } from "@bufbuild/protobuf";
import { DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { Random } from "../support/random.ts";
import type { IndexModel, PartitionModel, SparseValues } from "./model.ts";
import { chance, randomData, randomMetadata, randomSparse } from "./values.ts";

/** A vector as a request carries it. */
export interface VectorRequest {
  key: string;
  data?: { float32: number[] };
  sparse?: { indices: number[]; values: number[] };
  metadata?: JsonObject;
  ifVersion?: bigint;
}

/** One that the index takes. */
export function randomVector(random: Random, index: IndexModel | undefined): VectorRequest {
  const parts = index?.metric === DistanceMetric.DOT_PRODUCT ? random.below(3) : 0;
  return {
    key: random.pick(index?.keys ?? ["k0"]),
    ...(parts !== 1 && { data: { float32: randomData(random, index?.dimension ?? 2) } }),
    ...(parts !== 0 && { sparse: mutable(randomSparse(random)) }),
    ...(chance(random, 0.9) && { metadata: randomMetadata(random) }),
  };
}

function mutable({ indices, values }: SparseValues): { indices: number[]; values: number[] } {
  return { indices: [...indices], values: [...values] };
}

export interface FaultyVector {
  readonly vector: VectorRequest;
  readonly reason: string;
}

/** One that the index refuses, and why. Its key is no other's. */
export function faultyVector(random: Random, index: IndexModel): FaultyVector {
  const key = "faulty";
  const data = { float32: randomData(random, index.dimension) };
  const faults: FaultyVector[] = [
    { vector: { key, data: { float32: [...data.float32, 1] } }, reason: "DIMENSION_MISMATCH" },
    { vector: { key, data: { float32: data.float32.map(() => Number.NaN) } }, reason: "NON_FINITE_VALUE" },
    { vector: { key: "", data }, reason: "INVALID_FIELD" },
    { vector: { key, data, metadata: { n: null } }, reason: "METADATA_INVALID" },
    { vector: { key, data, metadata: { n: "x".repeat(2048) } }, reason: "METADATA_TOO_LARGE" },
  ];
  if (index.metric === DistanceMetric.COSINE) {
    faults.push({ vector: { key, data: { float32: data.float32.map(() => 0) } }, reason: "ZERO_NORM" });
  }
  const sparse = index.metric === DistanceMetric.DOT_PRODUCT ? [5, 5] : [1, 5];
  faults.push({ vector: { key, data, sparse: { indices: sparse, values: [1, 1] } }, reason: "SPARSE_INVALID" });
  return random.pick(faults);
}

/** Why what is stored refuses these. */
export function refusalOfVectors(
  vectors: readonly VectorRequest[],
  partition: PartitionModel | undefined,
): string | undefined {
  const conflicts = vectors.some(
    ({ key, ifVersion }) => ifVersion !== undefined && (partition?.vectors.get(key)?.version ?? 0n) !== ifVersion,
  );
  return conflicts ? "VERSION_MISMATCH" : undefined;
}

/** Puts a vector into the model as the server stores it. */
export function store(partition: PartitionModel, vector: VectorRequest, version: bigint): void {
  const { key, data, sparse, metadata } = vector;
  partition.vectors.set(key, {
    key,
    data: data && Float32Array.from(data.float32),
    sparse: sparse && { indices: sparse.indices, values: sparse.values.map(Math.fround) },
    metadata: metadata ?? {},
    version,
  });
}
