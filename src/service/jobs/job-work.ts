import { setTimeout } from "node:timers/promises";
import type { Engine, JobRecord, PartitionRef } from "../../engine/engine.ts";
import { QuiverError, type Reason } from "../../errors.ts";
import { LIMITS } from "../limits.ts";
import { type Job, toQuiverError, toStoredError } from "./job.ts";
import { decodePart, type JobVector } from "./job-parts.ts";

/** Why the work on a job has ended; a job that is suspended goes on after the next start. */
export type WorkEnd =
  | { readonly kind: "completed" | "stopped" | "suspended" }
  | { readonly kind: "failed"; readonly error: QuiverError };

/** What may be gone after a while. */
const PASSING: ReadonlySet<Reason> = new Set(["INGEST_BACKLOG", "DISK_FULL", "MEMORY_FULL"]);

/** What no waiting mends: only a restart, after which the stored record tells what was written. */
const SUSPENDING: ReadonlySet<Reason> = new Set(["STORAGE_READ_ONLY", "WRITE_OUTCOME_UNKNOWN", "SHUTTING_DOWN"]);

/** How often other writes may change the versions that a part is for, between looking at them and writing. */
const RACES_MAX = 100;

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5_000;

/** Stores what a job still has to store, part by part, until it is done, or stopped before the next part. */
export async function workOn(job: Job, engine: Engine): Promise<WorkEnd> {
  const { signal } = job.stop;
  if (job.record.startedAt === undefined) job.advance({ ...job.record, startedAt: Date.now() });
  try {
    while (job.record.parts.done < job.record.parts.count) {
      if (signal.aborted) return { kind: "stopped" };
      const vectors = decodePart(await engine.jobs.readPart(job.id, job.record.parts.done));
      await retryWhilePassing(job, signal, () => storePart(job, vectors, engine));
    }
    return { kind: "completed" };
  } catch (thrown) {
    const error = toQuiverError(thrown);
    if (signal.aborted && PASSING.has(error.reason)) return { kind: "stopped" };
    if (!SUSPENDING.has(error.reason)) return { kind: "failed", error };
    job.holdUp(error);
    return { kind: "suspended" };
  }
}

/** Does `action` again while it fails for a reason that may pass; throws the reason once `signal` is aborted. */
export async function retryWhilePassing(job: Job, signal: AbortSignal, action: () => Promise<void>): Promise<void> {
  for (let waitMs = RETRY_MIN_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MAX_MS)) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof QuiverError) || !PASSING.has(error.reason) || signal.aborted) throw error;
      job.holdUp(error);
      await setTimeout(waitMs, undefined, { signal }).catch(() => {
        throw error;
      });
    }
  }
}

/**
 * Throws when the index, or a namespace that the job has written into, was deleted since. An index that was created again
 * under the name may have another dimension: call it right before each write.
 */
async function assertSameTarget({ record }: Job, engine: Engine): Promise<void> {
  const { bucket, index, namespace } = record.partition;
  if (namespace !== "" && record.lsn > 0) await engine.getNamespace(record.partition);
  const { createdAt } = await engine.getIndex({ bucket, index });
  if (createdAt !== record.indexCreatedAt) {
    const name = `${bucket}/${index}`;
    throw new QuiverError("INDEX_NOT_FOUND", `Index "${name}" was deleted while the job ran`, {
      resource: { type: "index", name },
    });
  }
}

/** Stores one part, with the job's record in the same write. */
async function storePart(job: Job, part: readonly JobVector[], engine: Engine): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { due, refused } = await partByVersion(job, part, engine);
    await assertSameTarget(job, engine);
    const next = (lsn: number) => afterPart(job.record, { stored: due.length, refused, lsn });
    if (due.length === 0) {
      const record = next(job.record.lsn);
      await engine.jobs.put(record, { withoutParts: false });
      return job.advance(record);
    }
    try {
      const vectors = due.map(({ vector }) => vector);
      const { lsn } = await engine.putVectors(job.record.partition, vectors, { job: next });
      return job.advance(next(lsn));
    } catch (error) {
      // Another write came in between: look at the versions again.
      const raced = error instanceof QuiverError && error.reason === "VERSION_MISMATCH";
      if (!raced || tries >= RACES_MAX) throw error;
    }
  }
}

/** The vectors that may be stored over what is there now, and those whose if_version says that they may not. */
async function partByVersion({ record }: Job, part: readonly JobVector[], engine: Engine) {
  const keys = part.filter(({ vector }) => vector.ifVersion !== undefined).map(({ vector }) => vector.key);
  if (keys.length === 0) return { due: part, refused: [] };
  const versions = await versionsOf(record.partition, keys, engine);
  const isDue = ({ vector: { key, ifVersion } }: JobVector) =>
    ifVersion === undefined || ifVersion === (versions.get(key) ?? 0);
  const refused = part
    .filter((each) => !isDue(each))
    .map(({ position, vector: { key, ifVersion } }) => {
      const message = `vectors[${position}] is for version ${ifVersion} of its key, which has version ${versions.get(key) ?? 0}`;
      return { position, key, error: toStoredError(new QuiverError("VERSION_MISMATCH", message)) };
    });
  return { due: part.filter(isDue), refused };
}

/** The versions of those of the keys that are there; none in a namespace that is not. */
export async function versionsOf(partition: PartitionRef, keys: readonly string[], engine: Engine) {
  try {
    const { vectors } = await engine.getVectors(partition, keys, { data: false, metadata: false });
    return new Map(vectors.map(({ key, version }) => [key, version]));
  } catch (error) {
    if (error instanceof QuiverError && error.reason === "NAMESPACE_NOT_FOUND") return new Map<string, number>();
    throw error;
  }
}

interface PartOutcome {
  readonly stored: number;
  readonly refused: JobRecord["errors"];
  readonly lsn: number;
}

function afterPart(record: JobRecord, { stored, refused, lsn }: PartOutcome): JobRecord {
  return {
    ...record,
    parts: { ...record.parts, done: record.parts.done + 1 },
    successful: record.successful + stored,
    failed: record.failed + refused.length,
    errors: [...record.errors, ...refused].slice(0, LIMITS.jobErrorsMax),
    lastError: refused.at(-1)?.error ?? record.lastError,
    lsn,
  };
}
