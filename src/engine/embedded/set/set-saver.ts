import type { Partition } from "../partition.ts";

/** A graph is saved once this share of it, and so many nodes, would have to be built again at the next start. */
const UNSAVED_SHARE = 0.1;
const UNSAVED_MIN = 1_000;

/** At the end less is worth it: a start builds some 5,000 nodes in a second. */
const UNSAVED_SHARE_AT_END = 0.01;

/** Vectors that may still wait for the graph, as a share of it, when it is saved. */
const UNINDEXED_SHARE_MAX = 0.1;

/** From the first look at a graph that is worth saving to the save: what comes in bulk is saved once, at its end. */
const DELAY_MS = 10_000;

/** Between two saves of a partition; and so many times as long as the save took, so that saving takes little of the disk. */
const PAUSE_MS = 60_000;
const PAUSE_TIMES = 20;

/** After a save that failed, or found no room on the disk. */
const RETRY_MS = 60_000;

export interface SetSaverOptions {
  /** The store: the lsn of what memory shows, whether it is read-only after a fault, and the disk. */
  readonly store: {
    readonly lsn: number;
    readonly readOnly: boolean;
    readonly disk: { hasRoomFor(bytes: number): boolean };
  };
  /** Hears of a save that failed; that is no fault of the storage. */
  readonly onError: (error: unknown, partition: Partition) => void;
}

/** Saves the graphs of all partitions in the background, one at a time, when enough of them was built since the last save. */
export class SetSaver {
  readonly #options: SetSaverOptions;
  /** When each is to be saved, on the clock of performance.now(). */
  readonly #due = new Map<Partition, number>();
  /** When each may be saved again. */
  readonly #pauses = new WeakMap<Partition, number>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** The saves of `close`. */
  #last: Promise<void> | undefined;
  #closed = false;
  #ended = false;

  constructor(options: SetSaverOptions) {
    this.#options = options;
  }

  /** Looks at a partition whose vectors or graph have changed. */
  notice(partition: Partition): void {
    if (this.#closed || this.#due.has(partition)) return;
    if (partition.hasStaleGraph) this.#removeSaved(partition);
    if (!isDue(partition)) return;
    this.#due.set(partition, Math.max(performance.now() + DELAY_MS, this.#pauses.get(partition) ?? 0));
    this.#wake();
  }

  /** Takes a partition out that was deleted, with what was saved of it. */
  forget(partition: Partition): void {
    this.#due.delete(partition);
    this.#removeSaved(partition);
  }

  /**
   * Saves what is worth it, the most first, and resolves when that is done or `withinMs` have passed; 0 saves nothing.
   * What is still under way then ends when its partition is disposed of: see `ended`.
   */
  async close(partitions: readonly Partition[], withinMs: number): Promise<void> {
    this.#closed = true;
    this.#ended = withinMs <= 0;
    clearTimeout(this.#timer);
    const timeout = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#ended = true;
      timeout.resolve();
    }, withinMs);
    this.#last = (async () => {
      await this.#running;
      const worth = partitions.filter((partition) => isWorth(partition, UNSAVED_SHARE_AT_END));
      worth.sort((a, b) => b.unsavedNodes - a.unsavedNodes);
      for (const partition of worth) if (!this.#ended) await this.#save(partition);
    })();
    await Promise.race([this.#last, timeout.promise]);
    clearTimeout(timer);
    this.#ended = true;
  }

  /** Resolves when no save is under way any more. */
  async ended(): Promise<void> {
    await Promise.all([this.#running, this.#last]);
  }

  #removeSaved(partition: Partition): void {
    // What cannot be removed now is found at the next start.
    partition.removeSaved().catch(() => {});
  }

  #wake(): void {
    if (this.#running || this.#closed || this.#due.size === 0) return;
    clearTimeout(this.#timer);
    const first = Math.min(...this.#due.values());
    this.#timer = setTimeout(() => {
      this.#running = this.#run().finally(() => {
        this.#running = undefined;
        this.#wake();
      });
    }, first - performance.now()).unref();
  }

  async #run(): Promise<void> {
    for (const [partition, due] of this.#due) {
      if (this.#closed) return;
      if (performance.now() < due) continue;
      this.#due.delete(partition);
      // What is being measured is saved with the graph.
      if (partition.set.recall.isMeasuring) {
        this.#due.set(partition, performance.now() + DELAY_MS);
        continue;
      }
      // When its graph has fallen behind meanwhile, it is noticed again when it is complete.
      if (isDue(partition)) await this.#save(partition);
    }
  }

  async #save(partition: Partition): Promise<void> {
    const { store, onError } = this.#options;
    // After a fault memory may show less than the store has.
    if (partition.unsavedNodes === 0 || store.readOnly) return;
    const started = performance.now();
    let pause = RETRY_MS;
    try {
      if (store.disk.hasRoomFor(bytesOf(partition))) {
        await partition.save(
          () => store.lsn,
          () => !this.#ended && !store.readOnly,
        );
        pause = Math.max(PAUSE_MS, PAUSE_TIMES * (performance.now() - started));
      }
    } catch (error) {
      if (!this.#ended && !partition.isDisposed && !store.readOnly) onError(error, partition);
    }
    this.#pauses.set(partition, performance.now() + pause);
    this.notice(partition);
  }
}

function isWorth(partition: Partition, share: number): boolean {
  const { unsavedNodes } = partition;
  return unsavedNodes >= UNSAVED_MIN && unsavedNodes >= partition.set.nodes * share;
}

function isDue(partition: Partition): boolean {
  if (!isWorth(partition, UNSAVED_SHARE)) return false;
  const { indexed, unindexed } = partition.set.graphStats;
  return unindexed <= indexed * UNINDEXED_SHARE_MAX;
}

/** Of the files, at most. */
function bytesOf({ set }: Partition): number {
  const { vectors, graph, keys } = set.memory;
  return vectors + graph + keys;
}
