import { setTimeout } from "node:timers/promises";
import type { Index, PartitionRef, VectorInput } from "../engine/engine.ts";
import { invalidField, QuiverError, quote, type Reason } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { LIMITS } from "./limits.ts";
import { authorizePartition, type PartitionReference, type PartitionRequest, resolvePartition } from "./partitions.ts";
import { assertVector, type OnDuplicateKey } from "./vector-input.ts";

/** One message of an import; only the first one says where and how. */
export interface ImportPart extends PartitionReference {
  readonly vectors: readonly VectorInput[];
  /** In one message, where an error refuses the later vector alone. Undefined: not said. */
  readonly onDuplicate: OnDuplicateKey | undefined;
  /** About what the message takes in memory. */
  readonly bytes: number;
}

/** What all imports of a server store while they ask for their next messages already. */
export interface Overlap {
  bytes: number;
}

export interface ImportOptions {
  readonly caller: Caller;
  readonly overlap: Overlap;
  /** Ends the waiting for room. */
  readonly signal: AbortSignal;
}

export interface ImportRefusal {
  /** Among all vectors of the stream, from 0. */
  readonly position: number;
  readonly key: string;
  readonly error: QuiverError;
}

export interface ImportResult {
  /** Of the last write; of the last write seen, when nothing was stored. */
  readonly lsn: number;
  readonly putCount: number;
  readonly failedCount: number;
  /** The first 1,000, by position. */
  readonly refusals: readonly ImportRefusal[];
}

interface Target {
  readonly partition: PartitionRef;
  readonly index: Index;
  readonly lastWins: boolean;
}

interface Message {
  readonly target: Target;
  /** By key. */
  readonly accepted: Map<string, { readonly position: number; readonly vector: VectorInput }>;
  readonly refusals: ImportRefusal[];
}

/** What may be gone after a while. */
const PASSING: ReadonlySet<Reason> = new Set(["INGEST_BACKLOG", "RATE_LIMIT"]);
const RETRY_MS = 1_000;
/** Beyond this a message is stored before the next one is asked for. */
const OVERLAP_BYTES_MAX = 128 * 1024 * 1024;

/**
 * One import. While a message is being stored the next one is checked; no more, because messages have to be stored one
 * after the other: the later one wins.
 */
export class ImportRun {
  readonly #context: ServiceContext;
  readonly #asked: PartitionRequest;
  readonly #overlap: Overlap;
  readonly #signal: AbortSignal;
  readonly #refusals: ImportRefusal[] = [];
  #target: Target | undefined;
  #storing: Promise<void> = Promise.resolve();
  #lsn: number | undefined;
  #position = 0;
  #putCount = 0;
  #failedCount = 0;

  constructor(context: ServiceContext, { caller, overlap, signal }: ImportOptions) {
    this.#context = context;
    this.#asked = { caller, action: "PutVectors" };
    this.#overlap = overlap;
    this.#signal = signal;
  }

  /** Checks a message, waits until the one before it is stored, and begins to store it. */
  async take(part: ImportPart): Promise<void> {
    if (this.#target) assertVectorsOnly(part);
    else this.#target = await this.#resolve(part);
    const { length } = part.vectors;
    if (length > LIMITS.batchVectorsMax) {
      throw invalidField("vectors", `Must be at most ${LIMITS.batchVectorsMax} items in one message, got ${length}`);
    }
    const message = this.#check(this.#target, part.vectors);
    await this.#storing;
    const overlap = this.#overlap;
    overlap.bytes += part.bytes;
    this.#storing = this.#store(message).finally(() => {
      overlap.bytes -= part.bytes;
    });
    // Whoever waits for it next is told.
    this.#storing.catch(() => {});
    if (overlap.bytes > OVERLAP_BYTES_MAX) await this.#storing;
  }

  /** After the last message. */
  async finish(): Promise<ImportResult> {
    if (!this.#target) throw invalidField("vector_bucket_name", "Must be in the first message, got no message");
    await this.#storing;
    return {
      lsn: this.#lsn ?? this.#context.engine.lsn,
      putCount: this.#putCount,
      failedCount: this.#failedCount,
      refusals: this.#refusals,
    };
  }

  /** The error to end with, once what is being stored is stored: with how many vectors were before. */
  async failed(error: unknown): Promise<unknown> {
    await this.#storing.catch(() => {});
    if (!(error instanceof QuiverError)) return error;
    const { reason, message, metadata, violations, retryAfterMs, resource, cause } = error;
    const counts = { put_count: `${this.#putCount}`, failed_count: `${this.#failedCount}` };
    return new QuiverError(
      reason,
      `${message}; before, ${this.#putCount} vectors of the stream were stored and ${this.#failedCount} refused`,
      {
        metadata: { ...metadata, ...counts },
        violations,
        cause,
        ...(retryAfterMs !== undefined && { retryAfterMs }),
        ...(resource && { resource }),
      },
    );
  }

  async #resolve(part: ImportPart): Promise<Target> {
    const found = await resolvePartition(this.#context, this.#asked, part);
    return { ...found, lastWins: part.onDuplicate === "last_wins" };
  }

  #check(target: Target, vectors: readonly VectorInput[]): Message {
    const accepted: Message["accepted"] = new Map();
    const refusals: ImportRefusal[] = [];
    for (const vector of vectors) {
      const position = this.#position++;
      try {
        assertVector(`vectors[${position}]`, vector, target.index);
        const before = accepted.get(vector.key);
        if (before && !target.lastWins) throw duplicateKey(vector.key, position, before.position);
        accepted.set(vector.key, { position, vector });
      } catch (error) {
        refusals.push(toRefusal(position, vector.key, error));
      }
    }
    return { target, accepted, refusals };
  }

  async #store({ target, accepted, refusals }: Message): Promise<void> {
    const { engine, rates } = this.#context;
    if (accepted.size > 0)
      await this.#retryWhilePassing(async () => rates.admitVectors(target.partition, accepted.size));
    while (accepted.size > 0) {
      const vectors = [...accepted.values()].map(({ vector }) => vector);
      try {
        const { lsn } = await this.#retryWhilePassing(async () => {
          await authorizePartition(this.#context, this.#asked, target.partition);
          await this.#assertSameIndex(target);
          return engine.putVectors(target.partition, vectors);
        });
        this.#lsn = lsn;
        this.#putCount += vectors.length;
        break;
      } catch (error) {
        // It names one key; the others of the message are stored without it.
        const key =
          error instanceof QuiverError && error.reason === "VERSION_MISMATCH" ? error.metadata.key : undefined;
        const refused = key === undefined ? undefined : accepted.get(key);
        if (key === undefined || !refused) throw error;
        accepted.delete(key);
        refusals.push(toRefusal(refused.position, key, error));
      }
    }
    this.#failedCount += refusals.length;
    const room = LIMITS.importErrorsMax - this.#refusals.length;
    if (room > 0) this.#refusals.push(...refusals.sort((a, b) => a.position - b.position).slice(0, room));
  }

  async #retryWhilePassing<T>(action: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof QuiverError) || !PASSING.has(error.reason)) throw error;
        await setTimeout(error.retryAfterMs ?? RETRY_MS, undefined, { signal: this.#signal }).catch(() => {
          throw error;
        });
      }
    }
  }

  /** An index that was created again under the name may have another dimension: call it right before each write. */
  async #assertSameIndex({ index: { bucket, index, createdAt } }: Target): Promise<void> {
    const now = await this.#context.engine.getIndex({ bucket, index });
    if (now.createdAt === createdAt) return;
    const name = `${bucket}/${index}`;
    throw new QuiverError("INDEX_NOT_FOUND", `Index "${name}" was deleted during the import`, {
      resource: { type: "index", name },
    });
  }
}

function assertVectorsOnly(part: ImportPart): void {
  const given = {
    vector_bucket_name: part.vectorBucketName !== "",
    index_name: part.indexName !== "",
    index_arn: part.indexArn !== "",
    namespace: part.namespace !== "",
    on_duplicate: part.onDuplicate !== undefined,
  };
  for (const [field, isGiven] of Object.entries(given)) {
    if (isGiven) throw invalidField(field, "Must be in the first message only");
  }
}

function duplicateKey(key: string, position: number, before: number): QuiverError {
  return invalidField(
    `vectors[${position}].key`,
    `Key ${quote(key)} stands in vectors[${before}] of the same message already`,
    "DUPLICATE_KEY",
  );
}

function toRefusal(position: number, key: string, error: unknown): ImportRefusal {
  if (!(error instanceof QuiverError)) throw error;
  return { position, key: key.slice(0, LIMITS.keyBytesMax).toWellFormed(), error };
}
