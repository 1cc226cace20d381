import { ABSENT } from "../../../../native/rocksdb.ts";
import type { WriteBatch } from "../../../../native/write-batch.ts";
import { keyAt, successor, valueAt } from "../layout.ts";
import type { Store } from "../storage/store.ts";
import {
  CHANGE_STATE_KEY,
  type ChangedKeys,
  type ChangeHeader,
  changeKey,
  decodeChangeHeader,
  decodeChangeState,
  decodeChanges,
  encodeChangeState,
  encodeChanges,
  type LoggedChange,
  lsnOfChangeKey,
} from "./change-records.ts";

export interface LoggedChangesOptions {
  readonly store: Store;
  readonly columnFamily: number;
  /** Changes kept; a tenth more before they are trimmed. */
  readonly maxChanges: number;
  /** Changes older than this may be trimmed. */
  readonly maxAgeMs: number;
}

/** How often the age of the log is looked at. */
const AGE_CHECK_MS = 600_000;
/** How much of the log is read at once. */
const SCAN_BYTES = 256 * 1024;

/** Some of the log; `next` is where to go on, undefined at its end. */
export interface LogChunk {
  readonly changes: readonly LoggedChange[];
  readonly next: { readonly from: Uint8Array; readonly lsn: number } | undefined;
}

/** Begins the log of a new index in the batch that creates it, so that a watch can go back to its creation. */
export function beginLog(batch: WriteBatch, columnFamily: number, lsn: number): void {
  batch.put(columnFamily, CHANGE_STATE_KEY, encodeChangeState({ start: lsn, trimmed: 0, changes: 0 }));
}

/** The log on disk of the keys that each write of one index changed. */
export class LoggedChanges {
  readonly #options: LoggedChangesOptions;
  #start = 0;
  #trimmed = 0;
  #changes = 0;
  #trimming = false;
  #agedAt = performance.now();

  constructor(options: LoggedChangesOptions) {
    this.#options = options;
  }

  /** Every write of the index after this lsn is in the log. */
  get start(): number {
    return this.#start;
  }

  /** An index of the first format has no log: it has one from now on. */
  async load(): Promise<void> {
    const { store, columnFamily } = this.#options;
    const found = await store.database.multiGet(columnFamily, [CHANGE_STATE_KEY]);
    const state = found.entries[2] === ABSENT ? undefined : decodeChangeState(valueAt(found, 0));
    this.#start = state?.start ?? store.lsn;
    this.#trimmed = state?.trimmed ?? 0;
    this.#changes = state?.changes ?? 0;
  }

  /** Puts the keys of a write into its batch. */
  record(batch: WriteBatch, lsn: number, namespace: string, keys: ChangedKeys): void {
    const { columnFamily } = this.#options;
    const header = { before: this.#changes, time: Date.now(), namespace };
    let part = 0;
    for (const record of encodeChanges(header, keys)) batch.put(columnFamily, changeKey(lsn, part++), record);
    this.#changes += keys.puts.length + keys.deletes.length;
    this.#recordState(batch);
  }

  /** The changes of a namespace in a range of the log, up to a bounded size. */
  async read(namespace: string, from: Uint8Array, toLsn: number): Promise<LogChunk> {
    const { store, columnFamily } = this.#options;
    const range = { columnFamily, gte: from, lt: changeKey(toLsn), maxBytes: SCAN_BYTES };
    const chunk = await store.database.scan(range);
    const count = chunk.entries.length / 4;
    const changes: LoggedChange[] = [];
    for (let i = 0; i < count; i++) {
      const record = valueAt(chunk, i);
      if (decodeChangeHeader(record).namespace !== namespace) continue;
      for (const change of decodeChanges(lsnOfChangeKey(keyAt(chunk, i)), record)) changes.push(change);
    }
    if (chunk.done || count === 0) return { changes, next: undefined };
    const last = keyAt(chunk, count - 1);
    return { changes, next: { from: successor(last), lsn: lsnOfChangeKey(last) } };
  }

  /** Starts to trim the log in the background when it is too long or too old. */
  trimWhenDue(): void {
    if (this.#trimming) return;
    const tooLong = this.#changes - this.#trimmed > 1.1 * this.#options.maxChanges;
    if (!tooLong && performance.now() - this.#agedAt < AGE_CHECK_MS) return;
    this.#trimming = true;
    this.#agedAt = performance.now();
    this.#trim()
      // What could not be trimmed is trimmed the next time; a store that has failed tells its own story.
      .catch(() => {})
      .finally(() => {
        this.#trimming = false;
      });
  }

  async #trim(): Promise<void> {
    const { store, columnFamily, maxChanges, maxAgeMs } = this.#options;
    const before = this.#changes - maxChanges;
    const time = Date.now() - maxAgeMs;
    const keep = await this.#first((header) => header.before >= before && header.time >= time);
    if (keep.lsn <= this.#start + 1) return;
    await store.commit("shrink", (batch) => {
      // Set before the batch is durable: a batch that comes after it must not bring the old start back.
      this.#start = keep.lsn - 1;
      this.#trimmed = keep.before;
      batch.deleteRange(columnFamily, changeKey(0), changeKey(keep.lsn));
      this.#recordState(batch);
    });
  }

  /** The first write that is wanted; if one is, all after it are. */
  async #first(wanted: (header: ChangeHeader) => boolean): Promise<{ lsn: number; before: number }> {
    let low = this.#start + 1;
    let high = this.#options.store.lsn + 1;
    let before = this.#changes;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const found = await this.#at(middle, high);
      if (found && !wanted(found.header)) {
        low = found.lsn + 1;
      } else {
        if (found) before = found.header.before;
        high = middle;
      }
    }
    return { lsn: low, before };
  }

  /** The first record from one lsn on and before another. */
  async #at(lsn: number, before: number): Promise<{ lsn: number; header: ChangeHeader } | undefined> {
    const { store, columnFamily } = this.#options;
    const range = { columnFamily, gte: changeKey(lsn), lt: changeKey(before), limit: 1 };
    const chunk = await store.database.scan(range);
    if (chunk.entries.length === 0) return undefined;
    return { lsn: lsnOfChangeKey(keyAt(chunk, 0)), header: decodeChangeHeader(valueAt(chunk, 0)) };
  }

  #recordState(batch: WriteBatch): void {
    const state = { start: this.#start, trimmed: this.#trimmed, changes: this.#changes };
    batch.put(this.#options.columnFamily, CHANGE_STATE_KEY, encodeChangeState(state));
  }
}
