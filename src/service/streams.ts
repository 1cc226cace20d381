import type { Metadata, Projection, Vector, WatchEvent } from "../engine/engine.ts";
import { invalidField, QuiverError } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { type ImportPart, type ImportResult, ImportRun, type Overlap } from "./import-run.ts";
import { LIMITS } from "./limits.ts";
import { authorizePartition, type PartitionReference, resolvePartition, shows } from "./partitions.ts";
import { toFilter } from "./query-input.ts";
import { Turns, takeTurns } from "./turns.ts";

export interface ExportRequest extends PartitionReference {
  /** Only keys after this one. "": all. */
  readonly afterKey: string;
  readonly prefix: string;
  readonly filter: Metadata | undefined;
  readonly projection: Projection;
}

export interface WatchRequest extends PartitionReference {
  /** The first write to send. Undefined: the first after this call. */
  readonly fromLsn: number | undefined;
  readonly projection: Projection;
}

export interface ExportedPart {
  readonly vectors: readonly Vector[];
  readonly lsn: number;
}

const RETRY_AFTER_MS = 1_000;

/** Streams of many vectors: import, export, watch. So many may be open at a time; more fail with TOO_MANY_STREAMS. */
export class Streams {
  readonly #context: ServiceContext;
  readonly #overlap: Overlap = { bytes: 0 };
  /** Of exports: to encode a part takes long. */
  readonly #turns = new Turns();
  #open = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** Stores what the messages bring. After `signal` it does not wait for room any more. */
  async import(caller: Caller, parts: AsyncIterable<ImportPart>, signal: AbortSignal): Promise<ImportResult> {
    const close = this.#openStream();
    const run = new ImportRun(this.#context, { caller, overlap: this.#overlap, signal });
    try {
      for await (const part of parts) await run.take(part);
      return await run.finish();
    } catch (error) {
      throw await run.failed(error);
    } finally {
      close();
    }
  }

  /** At least one part, which may be empty. */
  async export(caller: Caller, request: ExportRequest): Promise<AsyncIterable<ExportedPart>> {
    const { afterKey, prefix, filter, projection } = request;
    const reads = filter !== undefined || shows(projection);
    const asked = { caller, action: "ListVectors", reads } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    assertKeyPart("after_key", afterKey);
    assertKeyPart("prefix", prefix);
    const options = {
      prefix,
      after: afterKey === "" ? undefined : afterKey,
      filter: toFilter("filter", filter, index),
      projection,
      maxBytes: LIMITS.listPageBytesMax,
    };
    const mayGoOn = () => authorizePartition(this.#context, asked, partition);
    return this.#stream(
      async () => takeTurns(this.#context.engine.exportVectors(partition, options), this.#turns),
      mayGoOn,
    );
  }

  /** Resolves once the position is checked. */
  async watch(caller: Caller, request: WatchRequest): Promise<AsyncIterable<WatchEvent>> {
    const { fromLsn, projection } = request;
    const asked = { caller, action: "ListVectors", reads: shows(projection) } as const;
    const { partition } = await resolvePartition(this.#context, asked, request);
    const mayGoOn = () => authorizePartition(this.#context, asked, partition);
    return this.#stream(() => this.#context.engine.watchVectors(partition, { fromLsn, projection }), mayGoOn);
  }

  /** Asks `mayGoOn` before each item. */
  async #stream<T>(begin: () => Promise<AsyncIterable<T>>, mayGoOn: () => Promise<void>): Promise<AsyncIterable<T>> {
    const close = this.#openStream();
    try {
      return guarding(await begin(), mayGoOn, close);
    } catch (error) {
      close();
      throw error;
    }
  }

  /** Answers how to close it; closing twice is fine. */
  #openStream(): () => void {
    const max = LIMITS.streamsMax;
    if (this.#open >= max) {
      const message = `Cannot open another stream: ${this.#open} imports, exports and watches are open, allowed are ${max}`;
      throw new QuiverError("TOO_MANY_STREAMS", message, {
        metadata: { current: `${this.#open}`, max: `${max}` },
        retryAfterMs: RETRY_AFTER_MS,
      });
    }
    this.#open++;
    let isOpen = true;
    return () => {
      if (isOpen) this.#open--;
      isOpen = false;
    };
  }
}

/** Empty is allowed. */
function assertKeyPart(field: string, key: string): void {
  if (Buffer.byteLength(key) <= LIMITS.keyBytesMax && key.isWellFormed()) return;
  throw invalidField(field, `Must be at most ${LIMITS.keyBytesMax} bytes of valid UTF-8`);
}

/**
 * Calls `mayGoOn` before it hands out an item, and `close` at the end. No generator, which would hold `return` back until
 * the item that it waits for has come.
 */
function guarding<T>(items: AsyncIterable<T>, mayGoOn: () => Promise<void>, close: () => void): AsyncIterable<T> {
  const iterator = items[Symbol.asyncIterator]();
  const iterate: AsyncIterator<T, undefined> = {
    async next() {
      try {
        const result = await iterator.next();
        if (!result.done) {
          await mayGoOn();
          return result;
        }
      } catch (error) {
        close();
        await iterator.return?.();
        throw error;
      }
      close();
      return { done: true, value: undefined };
    },
    async return() {
      close();
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterate };
}
