import type { Partition } from "./partition.ts";

/** Vectors moved before the next partition gets its turn. */
const TURN_VECTORS = 2_000;

/** Builds the graphs of all partitions in the background, one at a time, each on all cores, in turns. */
export class GraphBuilder {
  readonly #waiting = new Set<Partition>();
  readonly #onError: (error: unknown, partition: Partition) => void;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `onError` hears of a graph that cannot be built; its vectors stay in the unindexed tail, answers stay right. */
  constructor(onError: (error: unknown, partition: Partition) => void) {
    this.#onError = onError;
  }

  /** Looks at a partition whose vectors have changed. */
  notice(partition: Partition): void {
    if (this.#closed || !partition.wantsGraph) return;
    this.#waiting.add(partition);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Takes a partition out that is about to be disposed. */
  forget(partition: Partition): void {
    this.#waiting.delete(partition);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let partition = this.#next(); partition; partition = this.#next()) {
      try {
        await partition.buildGraph(TURN_VECTORS);
        if (this.#waiting.has(partition) && !partition.wantsGraph) this.#waiting.delete(partition);
      } catch (error) {
        // A partition that was forgotten meanwhile is disposed of: its build ends with an error that means nothing.
        if (this.#waiting.delete(partition)) this.#onError(error, partition);
      }
    }
  }

  /** The partition that waits longest, put behind the others. */
  #next(): Partition | undefined {
    const [partition] = this.#waiting;
    if (!partition) return undefined;
    this.#waiting.delete(partition);
    this.#waiting.add(partition);
    return partition;
  }
}
