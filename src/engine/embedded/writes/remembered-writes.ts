import { ABSENT } from "../../../../native/rocksdb.ts";
import type { WriteBatch } from "../../../../native/write-batch.ts";
import { QuiverError } from "../../../errors.ts";
import type { Idempotency } from "../../engine.ts";
import { IDEMPOTENCY_KIND, json, keyAt, storeKey, utf8, valueAt } from "../layout.ts";
import { scanRange } from "../scan.ts";
import { readFailed, type Store } from "../storage/store.ts";

/** How long a write's answer is kept. */
const KEPT_MS = 24 * 60 * 60 * 1000;
const SWEEP_EVERY_MS = 60 * 60 * 1000;

interface Remembered {
  readonly fingerprint: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly answer: object;
}

/** Puts a write's answer into its batch. */
export type Remember<Answer> = (batch: WriteBatch, answer: Answer) => void;

/** What writes with idempotency keys answered, in one index, stored with the writes themselves. */
export class RememberedWrites {
  readonly #store: Store;
  readonly #columnFamily: number;
  readonly #running = new Map<string, { readonly fingerprint: string; readonly answer: Promise<object> }>();
  #sweptAt = 0;

  constructor(store: Store, columnFamily: number) {
    this.#store = store;
    this.#columnFamily = columnFamily;
  }

  /**
   * Runs a write, or answers what it answered before. Fails with IDEMPOTENCY_KEY_REUSED when the key came with another
   * request. Without a key it runs.
   */
  async once<Answer extends object>(
    namespace: string,
    idempotency: Idempotency | undefined,
    write: (remember: Remember<Answer>) => Promise<Answer>,
  ): Promise<Answer> {
    if (!idempotency) return write(() => {});
    const { key, fingerprint } = idempotency;
    const id = `${namespace}\0${key}`;
    const running = this.#running.get(id);
    if (running) {
      assertSame(running, idempotency);
      return running.answer as Promise<Answer>;
    }
    const answer = this.#first(namespace, idempotency, write);
    this.#running.set(id, { fingerprint, answer });
    try {
      return await answer;
    } finally {
      this.#running.delete(id);
    }
  }

  async #first<Answer extends object>(
    namespace: string,
    { key, fingerprint }: Idempotency,
    write: (remember: Remember<Answer>) => Promise<Answer>,
  ): Promise<Answer> {
    const at = Date.now();
    const storedKey = storeKey(IDEMPOTENCY_KIND, namespace, key);
    const before = await this.#read(storedKey);
    if (before && before.at > at - KEPT_MS) {
      assertSame(before, { key, fingerprint });
      return before.answer as Answer;
    }
    let isRemembered = false;
    const remember: Remember<Answer> = (batch, answer) => {
      isRemembered = true;
      batch.put(this.#columnFamily, storedKey, utf8(JSON.stringify({ fingerprint, at, answer })));
    };
    const answer = await write(remember);
    // A write that found nothing to do would else do it at its repetition.
    if (!isRemembered) await this.#store.commit("shrink", (batch) => remember(batch, answer));
    if (at - this.#sweptAt > SWEEP_EVERY_MS) {
      this.#sweptAt = at;
      // What is left is looked at again in an hour.
      this.#sweep(at - KEPT_MS).catch(() => {});
    }
    return answer;
  }

  async #read(storedKey: Uint8Array): Promise<Remembered | undefined> {
    const found = await this.#store.database.multiGet(this.#columnFamily, [storedKey]).catch((error: unknown) => {
      throw readFailed(error);
    });
    return found.entries[2] === ABSENT ? undefined : (json(valueAt(found, 0)) as Remembered);
  }

  /** Deletes what is older. */
  async #sweep(before: number): Promise<void> {
    const range = { from: Uint8Array.of(IDEMPOTENCY_KIND), to: Uint8Array.of(IDEMPOTENCY_KIND + 1) };
    for await (const chunk of scanRange(this.#store.database, { ...range, columnFamily: this.#columnFamily })) {
      const all = Array.from({ length: chunk.entries.length / 4 }, (_, i) => i);
      const old = all.filter((i) => (json(valueAt(chunk, i)) as Remembered).at < before);
      if (old.length === 0) continue;
      await this.#store.commit("shrink", (batch) => {
        for (const i of old) batch.delete(this.#columnFamily, keyAt(chunk, i));
      });
    }
  }
}

function assertSame(before: { readonly fingerprint: string }, { key, fingerprint }: Idempotency): void {
  if (before.fingerprint === fingerprint) return;
  throw new QuiverError(
    "IDEMPOTENCY_KEY_REUSED",
    `The idempotency key ${JSON.stringify(key)} came with another request before; choose a new one for each new write`,
  );
}
