import { setTimeout } from "node:timers/promises";
import { QuiverError } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";
import type { MemoryGuard } from "../memory/memory-guard.ts";
import type { Partition } from "../partition.ts";
import { SetRebuilder } from "./set-rebuilder.ts";
import type { SetSaver } from "./set-saver.ts";

/** Vectors moved before the next partition gets its turn. */
const TURN_VECTORS = 2_000;

/** Bytes of vectors in all unindexed tails above which puts wait: a scan of them takes some 50 ms on two cores. */
const TAIL_BYTES_MAX = 1024 ** 3;
/** The same as a share of what the process may hold. */
const TAIL_SHARE = 1 / 8;
/** What a turn takes beside the vectors that it moves, and how long a build waits when that is not there. */
const TURN_BYTES = 4 * 1024 * 1024;
const MEMORY_WAIT_MS = 1_000;
const ROOM_WAIT_MS = 5_000;

/** Builds the graphs of all partitions in the background, one at a time, each on all cores, in turns. */
export class GraphBuilder {
  readonly #waiting = new Set<Partition>();
  readonly #onError: (error: unknown, partition: Partition) => void;
  readonly #rebuilder: SetRebuilder;
  readonly #saver: SetSaver;
  readonly #memory: MemoryGuard;
  readonly #tailBytesMax: number;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #turn = Promise.withResolvers<void>();
  #closed = false;

  /**
   * `saver` hears of every partition whose graph or vectors have changed, `onError` of a graph that cannot be built: its
   * vectors stay in the unindexed tail, answers stay right.
   */
  constructor(
    { saver, memory }: { readonly saver: SetSaver; readonly memory: MemoryGuard },
    onError: (error: unknown, partition: Partition) => void,
  ) {
    this.#saver = saver;
    this.#memory = memory;
    this.#tailBytesMax = Math.min(TAIL_BYTES_MAX, memory.process.limit * TAIL_SHARE);
    this.#onError = onError;
    this.#rebuilder = new SetRebuilder(memory, (partition) => this.notice(partition), onError);
  }

  /** Looks at a partition whose vectors have changed. */
  notice(partition: Partition): void {
    this.#rebuilder.notice(partition);
    this.#saver.notice(partition);
    if (this.#closed || !partition.wantsGraph) return;
    this.#waiting.add(partition);
    this.#running ??= this.#run();
  }

  /**
   * Back-pressure: waits while the unindexed tails are too long for exact scans, and throws INGEST_BACKLOG when building
   * does not catch up in time.
   */
  async waitForRoom(partition: Partition): Promise<void> {
    if (this.#hasRoom(partition)) return;
    const deadline = AbortSignal.timeout(ROOM_WAIT_MS);
    const timeout = new Promise<void>((resolve) => deadline.addEventListener("abort", () => resolve()));
    while (!this.#hasRoom(partition)) {
      if (deadline.aborted) {
        throw new QuiverError("INGEST_BACKLOG", "Vectors come faster than the graph is built: wait, then try again", {
          retryAfterMs: ROOM_WAIT_MS,
        });
      }
      await Promise.race([this.#turn.promise, timeout]);
    }
  }

  /** Takes a partition out that is about to be disposed. */
  forget(partition: Partition): void {
    this.#waiting.delete(partition);
    this.#rebuilder.forget(partition);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    this.#waiting.clear();
    await Promise.all([this.#running, this.#rebuilder.close()]);
  }

  #hasRoom(partition: Partition): boolean {
    if (this.#closed || !this.#waiting.has(partition)) return true;
    return this.#waiting.values().reduce((sum, { tailBytes }) => sum + tailBytes, 0) <= this.#tailBytesMax;
  }

  async #run(): Promise<void> {
    for (let partition = this.#next(); partition; partition = this.#next()) {
      if (!this.#memory.hasRoomFor(TURN_BYTES)) {
        await setTimeout(MEMORY_WAIT_MS, undefined, { signal: this.#closing.signal }).catch(() => {});
        continue;
      }
      try {
        failpoint("before-graph");
        await partition.buildGraph(TURN_VECTORS);
        if (!partition.wantsGraph) this.#waiting.delete(partition);
        // A new set that took its place may be worn already: overwritten while its graph was built.
        this.#rebuilder.notice(partition);
        this.#saver.notice(partition);
      } catch (error) {
        // A partition that was forgotten meanwhile is disposed of: its build ends with an error that means nothing.
        if (this.#waiting.delete(partition)) this.#onError(error, partition);
      }
      this.#turn.resolve();
      this.#turn = Promise.withResolvers();
    }
    this.#running = undefined;
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
