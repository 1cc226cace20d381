import type { JsonObject } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  DataType,
  DistanceMetric,
  OnDuplicate,
  type SparseVector,
  SparseVectorSchema,
  type Vector,
  type VectorData,
  VectorDataSchema,
} from "../../gen/quiver/v1/resources_pb.ts";
import type { VectorUpdate } from "../../gen/quiver/v1/vector_service_pb.ts";
import type * as domain from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import type { BucketWithArn } from "../service/buckets.ts";
import type { IndexWithArn } from "../service/indexes.ts";
import type { OnDuplicateKey } from "../service/vector-input.ts";
import { floatsIn } from "./float-bytes.ts";

/** Domain values to messages of quiver.v1 and back. Nothing is checked here but what the domain cannot express. */

const METRICS: Readonly<Record<domain.DistanceMetric, DistanceMetric>> = {
  cosine: DistanceMetric.COSINE,
  euclidean: DistanceMetric.EUCLIDEAN,
  dot_product: DistanceMetric.DOT_PRODUCT,
};

export function toMetric(metric: domain.DistanceMetric): DistanceMetric {
  return METRICS[metric];
}

/** Undefined for DISTANCE_METRIC_UNSPECIFIED and for numbers that are no metric. */
export function fromMetric(metric: DistanceMetric): domain.DistanceMetric | undefined {
  const names = Object.keys(METRICS) as domain.DistanceMetric[];
  return names.find((name) => METRICS[name] === metric);
}

export function assertDataType(dataType: DataType): void {
  if (dataType === DataType.FLOAT32) return;
  throw invalidField("data_type", `Must be DATA_TYPE_FLOAT32, got ${dataType}`);
}

export function toBucket({ name, arn, createdAt, tags }: BucketWithArn) {
  return { vectorBucketName: name, vectorBucketArn: arn, creationTime: timestampFromMs(createdAt), tags };
}

export function toIndex(index: IndexWithArn) {
  return {
    vectorBucketName: index.bucket,
    indexName: index.index,
    indexArn: index.arn,
    creationTime: timestampFromMs(index.createdAt),
    dataType: DataType.FLOAT32,
    dimension: index.dimension,
    distanceMetric: toMetric(index.distanceMetric),
    metadataConfiguration: { nonFilterableMetadataKeys: [...index.nonFilterableMetadataKeys] },
    hnsw: { m: index.m, efConstruction: index.efConstruction },
    deletionProtection: index.deletionProtection,
    tags: index.tags,
  };
}

export function toVector({ key, version, data, sparse, metadata }: domain.Vector) {
  return {
    key,
    version: BigInt(version),
    data: data && { float32: toList(data) },
    sparse: sparse && { indices: toList(sparse.indices), values: toList(sparse.values) },
    metadata: metadata as JsonObject | undefined,
  };
}

/** Whatever writes messages takes typed arrays, too, though their types do not say so. */
function toList(numbers: Float32Array | Uint32Array): number[] {
  return numbers as unknown as number[];
}

/** A vector to store. */
export function toVectorInput({ key, data, sparse, metadata, ifVersion }: Vector): domain.VectorInput {
  return {
    key,
    ...(data && { data: fromData(data) }),
    ...(sparse && { sparse: fromSparse(sparse) }),
    metadata: (metadata ?? {}) as domain.Metadata,
    ...(ifVersion !== undefined && { ifVersion: Number(ifVersion) }),
  };
}

/** A change of one vector. Sparse values that are none remove those that are stored. */
export function toVectorUpdate({ key, data, sparse, setMetadata, ifVersion }: VectorUpdate): domain.VectorUpdate {
  return {
    key,
    ...(data && { data: fromData(data) }),
    ...(sparse && { sparse: fromSparse(sparse) }),
    ...(setMetadata && { setMetadata: setMetadata as domain.Metadata }),
    ...(ifVersion !== undefined && { ifVersion: Number(ifVersion) }),
  };
}

/** Undefined for ON_DUPLICATE_UNSPECIFIED. */
export function fromOnDuplicate(onDuplicate: OnDuplicate): OnDuplicateKey | undefined {
  if (onDuplicate === OnDuplicate.UNSPECIFIED) return undefined;
  return onDuplicate === OnDuplicate.LAST_WINS ? "last_wins" : "error";
}

export function fromStruct(struct: JsonObject | undefined): domain.Metadata | undefined {
  return struct as domain.Metadata | undefined;
}

export function toProjection(message: { readonly returnData: boolean; readonly returnMetadata: boolean }) {
  return { data: message.returnData, metadata: message.returnMetadata };
}

/** The two lists may still differ in length. */
export function fromSparse(sparse: SparseVector): domain.SparseData {
  return { indices: Uint32Array.from(sparse.indices), values: floatsIn(sparse, SparseVectorSchema.field.values) };
}

/** As stored: what is not a float32 is rounded to the nearest one, what is too large becomes infinite. */
export function fromData(data: VectorData): Float32Array {
  return floatsIn(data, VectorDataSchema.field.float32);
}
