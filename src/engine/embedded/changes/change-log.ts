import type { WriteBatch } from "../../../../native/write-batch.ts";
import { QuiverError } from "../../../errors.ts";
import type { Projection, Vector, WatchEvent, WatchOptions } from "../../engine.ts";
import { readFailed, type Store } from "../storage/store.ts";
import { type ChangedKeys, changeKey, type LoggedChange } from "./change-records.ts";
import { type ChangeBudget, ChangeRing, type Write } from "./change-ring.ts";
import { type LogChunk, LoggedChanges } from "./logged-changes.ts";

export interface ChangeLogOptions {
  readonly store: Store;
  readonly columnFamily: number;
  /** Of all indexes of the server. */
  readonly budget: ChangeBudget;
  /** Entry i is the stored vector of keys[i], or undefined when it is absent. */
  readonly readVectors: (
    namespace: string,
    keys: readonly string[],
    projection: Projection,
  ) => Promise<(Vector | undefined)[]>;
  /** Bytes of whole changes kept in memory while somebody watches. Default 64 MiB. */
  readonly ringBytes?: number;
  /** Changes are kept in memory so long after the last watch has ended, for the one that resumes it. Default 60,000. */
  readonly ringIdleMs?: number;
  /** Changes kept on disk; a tenth more before they are trimmed. Default 1,000,000. */
  readonly logChanges?: number;
  /** Changes on disk that are older may be trimmed. Default a day. */
  readonly logAgeMs?: number;
  /** How often a watch without changes says how far it has come. Default 2,000. */
  readonly markMs?: number;
}

const DEFAULTS = {
  ringBytes: 64 * 1024 * 1024,
  ringIdleMs: 60_000,
  logChanges: 1_000_000,
  logAgeMs: 24 * 3_600_000,
  markMs: 2_000,
};

/** Vectors read at once: at most 5 MB of data. */
const READ_VECTORS = 64;

/** Where a watch is. */
interface Position {
  readonly namespace: string;
  readonly projection: Projection;
  /** All changes before this lsn have been sent. */
  next: number;
  ended: boolean;
}

/**
 * The changes of one index: the newest whole in memory, more on disk by key. A watch holds a position and no queue, so
 * what it costs does not grow with what it has not read yet. docs/decisions/0006-change-log.md says why.
 */
export class ChangeLog {
  readonly #options: ChangeLogOptions & typeof DEFAULTS;
  readonly #store: Store;
  readonly #ring: ChangeRing;
  readonly #log: LoggedChanges;
  #watches = 0;
  #lastWatchedAt = Number.NEGATIVE_INFINITY;
  #wake = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;
  #gone: QuiverError | undefined;

  constructor(options: ChangeLogOptions) {
    this.#options = { ...DEFAULTS, ...options };
    const { store, columnFamily, budget, ringBytes, logChanges, logAgeMs } = this.#options;
    this.#store = store;
    this.#ring = new ChangeRing(ringBytes, budget);
    this.#log = new LoggedChanges({ store, columnFamily, maxChanges: logChanges, maxAgeMs: logAgeMs });
  }

  /** Bytes of memory for changes. */
  get bytes(): number {
    return this.#ring.bytes;
  }

  /** Reads where the log begins: before anything else, and before the index is written to. */
  async load(): Promise<void> {
    await this.#log.load();
    this.#ring.clear(this.#store.lsn);
  }

  /** Puts the keys of a write into its batch. */
  record(batch: WriteBatch, lsn: number, namespace: string, keys: ChangedKeys): void {
    this.#log.record(batch, lsn, namespace, keys);
  }

  /** Shows a write to those who watch, once it is durable; in the order of the lsn. Does not throw. */
  publish(write: Write): void {
    this.#publish(write.lsn, write);
  }

  /** The same for a write whose vectors are not at hand: it is read from the disk, and so is what came before it. */
  publishLogged(lsn: number): void {
    this.#publish(lsn, undefined);
  }

  /**
   * The changes of a namespace from an lsn on, without end; first the position itself as an event without a change.
   * Changes that memory still has come each; of older ones, puts that a later write has replaced are left out. Fails
   * with LSN_OUT_OF_RANGE; the iterator with WATCH_BEHIND.
   */
  async watch(namespace: string, { fromLsn, projection }: WatchOptions): Promise<AsyncIterable<WatchEvent>> {
    if (this.#gone) throw this.#gone;
    const newest = this.#store.lsn + 1;
    const next = fromLsn ?? newest;
    if (next < this.#oldest || next > newest) {
      throw new QuiverError(
        "LSN_OUT_OF_RANGE",
        `Cannot watch from lsn ${next}: from_lsn may be ${this.#oldest} to ${newest} now`,
        { metadata: { oldest: String(this.#oldest), newest: String(newest) } },
      );
    }
    return { [Symbol.asyncIterator]: () => this.#iterate({ namespace, projection, next, ended: false }) };
  }

  /** Ends every watch with this error and frees the memory. */
  dispose(reason: QuiverError): void {
    this.#gone = reason;
    this.#ring.clear(0);
    this.#wakeAll();
  }

  #publish(lsn: number, write: Write | undefined): void {
    if (this.#gone) return;
    const isWatched = this.#watches > 0 || performance.now() - this.#lastWatchedAt < this.#options.ringIdleMs;
    if (write && isWatched) this.#ring.push(write);
    else this.#ring.clear(lsn);
    this.#wakeAll();
    this.#log.trimWhenDue();
  }

  get #oldest(): number {
    return Math.min(this.#log.start, this.#ring.floor) + 1;
  }

  #iterate(position: Position): AsyncIterator<WatchEvent, undefined> {
    const events = this.#events(position);
    return {
      next: () => events.next(),
      return: () => {
        // A generator that waits would not hear of its end.
        position.ended = true;
        this.#wakeAll();
        return events.return(undefined);
      },
    };
  }

  async *#events(position: Position): AsyncGenerator<WatchEvent, undefined> {
    this.#join();
    try {
      yield { lsn: position.next - 1 };
      let markedAt = performance.now();
      while (!position.ended) {
        if (this.#gone) throw this.#gone;
        const write = this.#ring.from(position.next);
        if (position.next <= this.#ring.floor) {
          yield* this.#stored(position);
          markedAt = performance.now();
        } else if (write) {
          if (write.namespace === position.namespace) {
            yield* eventsOf(write, position.projection);
            markedAt = performance.now();
          }
          position.next = write.lsn + 1;
        } else if (performance.now() - markedAt >= this.#options.markMs) {
          // Every write up to the store's lsn has been published.
          position.next = Math.max(position.next, this.#store.lsn + 1);
          yield { lsn: position.next - 1 };
          markedAt = performance.now();
        } else {
          await this.#wake.promise;
        }
      }
    } finally {
      this.#leave();
    }
  }

  /** What the disk has from the position up to now; moves the position behind it. */
  async *#stored(position: Position): AsyncGenerator<WatchEvent, void> {
    const upTo = this.#store.lsn;
    const first = position.next;
    let sent = first - 1;
    let from: Uint8Array | undefined = changeKey(first);
    while (from) {
      const chunk = await this.#readLog(position.namespace, from, upTo + 1);
      if (position.next <= this.#log.start) throw this.#behind(position);
      for await (const event of this.#currentEvents(position, chunk.changes)) {
        if (event.lsn > sent && sent >= first) yield { lsn: sent };
        sent = event.lsn;
        yield event;
      }
      from = chunk.next?.from;
      // More of the chunk's last write may follow.
      position.next = chunk.next?.lsn ?? upTo + 1;
    }
    yield { lsn: upTo };
  }

  /** Logged changes as they are to be sent: no puts that a later write has replaced, for they come with that one. */
  async *#currentEvents(
    { namespace, projection }: Position,
    changes: readonly LoggedChange[],
  ): AsyncGenerator<WatchEvent, void> {
    for (let i = 0; i < changes.length; i += READ_VECTORS) {
      const some = changes.slice(i, i + READ_VECTORS);
      const keys = [...new Set(some.filter(({ put }) => put).map(({ key }) => key))];
      const vectors = await this.#readVectors(namespace, keys, projection);
      const stored = new Map(keys.map((key, at) => [key, vectors[at]]));
      for (const { lsn, key, put } of some) {
        const vector = stored.get(key);
        if (!put) yield { lsn, change: { deletedKey: key } };
        else if (vector?.version === lsn) yield { lsn, change: { put: vector } };
      }
    }
  }

  #readLog(namespace: string, from: Uint8Array, toLsn: number): Promise<LogChunk> {
    return this.#log.read(namespace, from, toLsn).catch((error: unknown) => this.#throw(error));
  }

  async #readVectors(namespace: string, keys: readonly string[], projection: Projection) {
    if (keys.length === 0) return [];
    return this.#options.readVectors(namespace, keys, projection).catch((error: unknown) => this.#throw(error));
  }

  #throw(error: unknown): never {
    throw this.#gone ?? readFailed(error);
  }

  #behind({ next }: Position): QuiverError {
    const message = `The watch fell behind: it has sent all changes before lsn ${next}, and they are kept from lsn ${this.#oldest} on`;
    const metadata = { resume_from_lsn: String(next), oldest: String(this.#oldest) };
    return new QuiverError(
      "WATCH_BEHIND",
      `${message}; export the namespace and watch from 1 more than the export's lsn`,
      {
        metadata,
      },
    );
  }

  #join(): void {
    if (this.#watches++ > 0) return;
    this.#timer = setInterval(() => this.#wakeAll(), this.#options.markMs / 2).unref();
  }

  #leave(): void {
    this.#lastWatchedAt = performance.now();
    if (--this.#watches === 0) clearInterval(this.#timer);
  }

  #wakeAll(): void {
    if (this.#watches === 0) return;
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
}

/** The changes of a write, and its end. */
function* eventsOf({ lsn, puts, deletes }: Write, projection: Projection): Generator<WatchEvent> {
  for (const vector of puts) yield { lsn, change: { put: project(vector, projection) } };
  for (const deletedKey of deletes) yield { lsn, change: { deletedKey } };
  yield { lsn };
}

function project({ key, version, data, sparse, metadata }: Vector, projection: Projection): Vector {
  return {
    key,
    version,
    ...(projection.data && data && { data }),
    ...(projection.data && sparse && { sparse }),
    ...(projection.metadata && metadata && { metadata }),
  };
}
