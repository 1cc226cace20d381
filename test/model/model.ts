import type { JsonObject } from "@bufbuild/protobuf";
import type { DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { Reason } from "../../src/errors.ts";
import { emptyObject } from "./values.ts";

/** What the server should hold, in plain Maps. */

export interface SparseValues {
  readonly indices: readonly number[];
  readonly values: readonly number[];
}

export interface StoredVector {
  readonly key: string;
  readonly data: Float32Array | undefined;
  readonly sparse: SparseValues | undefined;
  readonly metadata: JsonObject;
  readonly version: bigint;
}

export class PartitionModel {
  readonly vectors = new Map<string, StoredVector>();
  /** Of the last write into it. */
  lsn = 0n;

  sorted(): StoredVector[] {
    return [...this.vectors.values()].sort((a, b) => compareKeys(a.key, b.key));
  }
}

export interface IndexModel {
  readonly bucket: string;
  readonly name: string;
  readonly dimension: number;
  readonly metric: DistanceMetric;
  readonly nonFilterableKeys: readonly string[];
  /** The keys that its writes draw from. */
  readonly keys: readonly string[];
  readonly tags: Map<string, string>;
  readonly partitions: Map<string, PartitionModel>;
  m: number;
  efConstruction: number;
  deletionProtection: boolean;
}

export interface BucketModel {
  readonly name: string;
  readonly tags: Map<string, string>;
  readonly indexes: Map<string, IndexModel>;
}

/** Where a call goes. */
export interface Place {
  readonly bucket: string;
  readonly index: string;
  readonly namespace: string;
}

/** A write that came with an idempotency key, and what was answered. */
export interface Repeatable {
  readonly place: Place;
  readonly method: string;
  readonly request: object;
  readonly answer: object;
}

export class Model {
  readonly buckets = new Map<string, BucketModel>();
  /** Uploads that ran to their end, and where. */
  readonly jobs = new Map<string, Place>();
  repeatables: Repeatable[] = [];
  /** The highest that a write answered. */
  lsn = 0n;

  findIndex({ bucket, index }: Pick<Place, "bucket" | "index">): IndexModel | undefined {
    return this.buckets.get(bucket)?.indexes.get(index);
  }

  findPartition(place: Place): PartitionModel | undefined {
    return this.findIndex(place)?.partitions.get(place.namespace);
  }

  /** Why there is no such index; undefined when there is one. */
  missingIndex({ bucket, index }: Pick<Place, "bucket" | "index">): Reason | undefined {
    if (!this.buckets.has(bucket)) return "BUCKET_NOT_FOUND";
    return this.findIndex({ bucket, index }) ? undefined : "INDEX_NOT_FOUND";
  }

  /** Why there is no such namespace; undefined when there is one. */
  missingPartition(place: Place): Reason | undefined {
    return this.missingIndex(place) ?? (this.findPartition(place) ? undefined : "NAMESPACE_NOT_FOUND");
  }

  /** The namespace of an index that is there; made when it is not. */
  openPartition(place: Place): PartitionModel {
    const index = this.findIndex(place);
    if (!index) throw new Error(`No index ${place.bucket}/${place.index}`);
    const partition = index.partitions.get(place.namespace) ?? new PartitionModel();
    index.partitions.set(place.namespace, partition);
    return partition;
  }

  /** Notes the lsn of a write into a partition. */
  wrote(partition: PartitionModel, lsn: bigint): void {
    partition.lsn = lsn;
    if (lsn > this.lsn) this.lsn = lsn;
  }

  /** Repetitions of writes are undefined once their place is gone. */
  forget(gone: Partial<Place>): void {
    const isGone = (place: Place) => Object.entries(gone).every(([part, name]) => place[part as keyof Place] === name);
    for (const [jobId, place] of this.jobs) if (isGone(place)) this.jobs.delete(jobId);
    this.repeatables = this.repeatables.filter(({ place }) => !isGone(place));
  }
}

/** The metadata with another merged into it: each key replaces that key, null removes it. */
export function mergeMetadata(metadata: JsonObject, merge: JsonObject): JsonObject {
  const merged = emptyObject();
  for (const [key, value] of Object.entries(metadata)) if (value !== undefined) merged[key] = value;
  for (const [key, value] of Object.entries(merge)) {
    if (value === null || value === undefined) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

/** Byte order of UTF-8. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
