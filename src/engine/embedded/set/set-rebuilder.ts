import type { MemoryGuard } from "../memory/memory-guard.ts";
import type { Partition } from "../partition.ts";

/** How long a partition whose rebuild has failed waits for the next one; twice as long after each failure. */
const RETRY_MIN_MS = 10_000;
const RETRY_MAX_MS = 600_000;

interface Failures {
  readonly count: number;
  /** On the clock of performance.now(). */
  readonly retryAt: number;
}

/** Loads new sets for partitions of which too much is dead, one at a time, in the background. */
export class SetRebuilder {
  readonly #waiting = new Set<Partition>();
  readonly #failures = new WeakMap<Partition, Failures>();
  readonly #memory: MemoryGuard;
  readonly #onLoaded: (partition: Partition) => void;
  readonly #onError: (error: unknown, partition: Partition) => void;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `memory` tells whether there is room for a second set; `onLoaded` hears of a new set, whose graph is still to be built; `onError` of one that could not be loaded. */
  constructor(
    memory: MemoryGuard,
    onLoaded: (partition: Partition) => void,
    onError: (error: unknown, partition: Partition) => void,
  ) {
    this.#memory = memory;
    this.#onLoaded = onLoaded;
    this.#onError = onError;
  }

  /** Looks at a partition whose vectors have changed. */
  notice(partition: Partition): void {
    if (this.#closed || !partition.wantsRebuild) return;
    if (performance.now() < (this.#failures.get(partition)?.retryAt ?? 0)) return;
    if (!this.#memory.hasRoomFor(partition.set.liveMemory)) return;
    this.#waiting.add(partition);
    this.#running ??= this.#run();
  }

  /** Takes a partition out that is about to be disposed. */
  forget(partition: Partition): void {
    this.#waiting.delete(partition);
  }

  /** Waits for the rebuild under way, which ends when its partition is disposed of. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (const partition of this.#waiting) {
      this.#waiting.delete(partition);
      try {
        await partition.rebuild();
        this.#failures.delete(partition);
        this.#onLoaded(partition);
      } catch (error) {
        const count = (this.#failures.get(partition)?.count ?? 0) + 1;
        const waitMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (count - 1));
        this.#failures.set(partition, { count, retryAt: performance.now() + waitMs });
        this.#onError(error, partition);
      }
    }
    this.#running = undefined;
  }
}
