import type { Engine, PartitionRef, VectorInput } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";
import { versionsOf } from "./job-work.ts";

/** How many vectors a bucket may hold, and how many are promised to it already. */
export interface BucketRoom {
  readonly max: number;
  readonly promised: number;
}

/** Throws ITEM_LIMIT when the bucket would hold too many vectors with these; those of keys that are there need no room. */
export async function assertBucketRoom(
  engine: Engine,
  partition: PartitionRef,
  vectors: readonly VectorInput[],
  { max, promised }: BucketRoom,
): Promise<void> {
  const counts = await engine.vectorCounts(partition.bucket);
  const current = [...counts.values()].reduce((sum, count) => sum + count, promised);
  if (current + vectors.length <= max) return;
  const keys = vectors.map(({ key }) => key);
  const requestedNew = keys.length - (await versionsOf(partition, keys, engine)).size;
  if (requestedNew === 0 || current + requestedNew <= max) return;
  throw new QuiverError(
    "ITEM_LIMIT",
    `Cannot store ${requestedNew} more vectors: vector bucket "${partition.bucket}" has ${current} of at most ${max}`,
    {
      metadata: { current: `${current}`, max: `${max}`, requested_new: `${requestedNew}`, unit: "vectors" },
      resource: { type: "vector bucket", name: partition.bucket },
    },
  );
}
