import type { JobRecord, StoredError } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";

/** A job in memory: what is stored of it, and its next change to wait for. */
export class Job {
  /** Names the namespace that it works in: equal for equal ones. */
  readonly namespace: string;
  /** Aborted to stop its work. */
  readonly stop = new AbortController();
  /** Settles when its work has ended; absent while nobody works on it. */
  work: Promise<void> | undefined;
  /** Settles when it is stopped; absent while nobody stops it. */
  stopping: Promise<void> | undefined;
  #record: JobRecord;
  #trouble: StoredError | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(record: JobRecord) {
    this.namespace = JSON.stringify(record.partition);
    this.#record = record;
  }

  get id(): string {
    return this.#record.jobId;
  }

  /** As it is stored, or will be with its next write. */
  get record(): JobRecord {
    return this.#record;
  }

  /** As it is shown: what holds it up now is its last error. */
  get shown(): JobRecord {
    return this.#trouble ? { ...this.#record, lastError: this.#trouble } : this.#record;
  }

  get isFinal(): boolean {
    return this.#record.state !== "running";
  }

  /** Settles with its next change. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  advance(record: JobRecord): void {
    this.#record = record;
    this.#trouble = undefined;
    this.#notify();
  }

  /** Notes what the work waits for. */
  holdUp(trouble: QuiverError): void {
    this.#trouble = toStoredError(trouble);
    this.#notify();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

const MESSAGE_MAX = 1_024;
const VIOLATIONS_MAX = 10;

/** What is kept of an error, cut so that a hostile request does not fill the store. */
export function toStoredError({ reason, message, metadata, violations }: QuiverError): StoredError {
  return {
    reason,
    message: message.slice(0, MESSAGE_MAX),
    metadata,
    violations: violations.slice(0, VIOLATIONS_MAX).map(({ field, description }) => ({
      field: field.slice(0, MESSAGE_MAX),
      description: description.slice(0, MESSAGE_MAX),
    })),
  };
}

/** Any failure as one that may be shown; what is no QuiverError stays in its cause. */
export function toQuiverError(error: unknown): QuiverError {
  if (error instanceof QuiverError) return error;
  return new QuiverError("INTERNAL", "The server failed to do this job; its log has the cause", { cause: error });
}
