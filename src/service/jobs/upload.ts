import { setImmediate } from "node:timers/promises";
import type { Index, JobRecord, VectorInput } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";
import { LIMITS } from "../limits.ts";
import { assertVector } from "../vector-input.ts";
import { toStoredError } from "./job.ts";
import { JobPart } from "./job-parts.ts";

/** An upload whose vectors are checked one by one and put into parts. */
export interface Upload {
  /** How many vectors there are to do: of repeated keys only the last one counts. */
  readonly total: number;
  readonly accepted: readonly VectorInput[];
  readonly parts: readonly Uint8Array[];
  /** How many were refused, and the first of them. */
  readonly failed: number;
  readonly errors: JobRecord["errors"];
  readonly lastError: JobRecord["lastError"];
}

/** Vectors and bytes of a part, which one write stores. A vector more may pass the bytes. */
const PART_VECTORS_MAX = 500;
const PART_BYTES_MAX = 4 * 1024 * 1024;

const ERROR_KEY_MAX = LIMITS.keyBytesMax;

/** Checks every vector and encodes those that may be stored, some hundred in one turn of the event loop. */
export async function takeUpload(vectors: readonly VectorInput[], index: Index): Promise<Upload> {
  const lastPositions = new Map(vectors.map(({ key }, position) => [key, position]));
  const accepted: VectorInput[] = [];
  const parts: Uint8Array[] = [];
  const errors: JobRecord["errors"][number][] = [];
  let failed = 0;
  let lastError: JobRecord["lastError"];
  let part = new JobPart();
  const closePart = () => {
    if (part.count > 0) parts.push(part.encode());
    part = new JobPart();
  };
  for (const [position, vector] of vectors.entries()) {
    if (position % PART_VECTORS_MAX === 0) await setImmediate();
    if (lastPositions.get(vector.key) !== position) continue;
    const refusal = refusalOf(vector, position, index);
    if (refusal) {
      failed += 1;
      lastError = toStoredError(refusal);
      if (errors.length < LIMITS.jobErrorsMax) {
        errors.push({ position, key: vector.key.slice(0, ERROR_KEY_MAX), error: lastError });
      }
    } else {
      accepted.push(vector);
      part.add({ position, vector });
      if (part.count >= PART_VECTORS_MAX || part.byteLength >= PART_BYTES_MAX) closePart();
    }
  }
  closePart();
  return { total: lastPositions.size, accepted, parts, failed, errors, lastError };
}

function refusalOf(vector: VectorInput, position: number, index: Index): QuiverError | undefined {
  try {
    assertVector(`vectors[${position}]`, vector, index);
    return undefined;
  } catch (error) {
    if (error instanceof QuiverError) return error;
    throw error;
  }
}
