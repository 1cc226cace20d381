import type { Metadata, Vector } from "../../engine.ts";
import type { Partition } from "../partition.ts";
import type { PreparedVector } from "../records.ts";

/** A change of the vectors of one partition, ready to be committed. */
export interface Change {
  readonly puts: readonly PreparedVector[];
  readonly metadata: readonly MetadataUpdate[];
  readonly deletes: readonly string[];
  /** Delete everything; `deletes` are all keys. */
  readonly clears?: boolean;
}

/** A change of metadata alone: data and sparse values stay. */
export interface MetadataUpdate {
  readonly key: string;
  readonly before: Metadata;
  readonly after: Metadata;
  readonly metadataJson: Uint8Array;
  readonly grownBy: number;
  /** For those who watch; undefined when there are too many. */
  readonly whole: Vector | undefined;
}

export const NOTHING: Change = { puts: [], metadata: [], deletes: [] };

/** A vector as a write of this version left it. */
export function vectorOf({ key, data, sparse, metadata }: PreparedVector, version: number): Vector {
  return { key, version, metadata, ...(data && { data }), ...(sparse && { sparse }) };
}

export function bytesIn(vectors: readonly PreparedVector[]): number {
  return vectors.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Bytes of the records that a change writes, as quotas count them. */
export function bytesWritten({ puts, metadata }: Change): number {
  return metadata.reduce((sum, { metadataJson }) => sum + metadataJson.length, bytesIn(puts));
}

/** How many vectors and bytes a change may add. */
export function growthOf(partition: Partition, { puts, metadata }: Change): [vectors: number, bytes: number] {
  const vectors = puts.filter(({ key }) => partition.mayBeAbsent(key)).length;
  const written = puts.reduce((sum, { key, bytes }) => sum + bytes - partition.replacedBytes(key), 0);
  return [vectors, metadata.reduce((sum, { grownBy }) => sum + grownBy, written)];
}
