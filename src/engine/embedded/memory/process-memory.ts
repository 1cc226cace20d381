import { totalmem } from "node:os";
import { setTimeout } from "node:timers/promises";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { addon } from "../../../../native/addon.ts";

/** How the process and its memory are looked at; tests put their own in its place. */
export interface MemoryProbe {
  /** Bytes that the process holds. */
  resident(): number;
  /** Bytes of JavaScript's heap, and how many it may have: the process ends when it passes them. */
  heap(): { readonly used: number; readonly limit: number };
  /** Collects what JavaScript no longer uses, and gives what is free back to the operating system. */
  reclaim(): Promise<void>;
}

/** For how long, and for how many bytes that are taken meanwhile, one look at the process holds. */
const LOOK_MS = 50;
const LOOK_BYTES = 1024 * 1024;

/** Memory is reclaimed again after so long at the earliest, and so many times as long as it took the last time. */
const RECLAIM_PAUSE_MS = 500;
const RECLAIM_PAUSE_TIMES = 4;

const RECLAIM_WAIT_MAX_MS = 5_000;

/** Of the limit: above it garbage is collected before anything is refused, when there may be so much of it. */
const RECLAIM_SHARE = 0.75;
const GARBAGE_SHARE = 0.05;

/** Of the machine's memory, or of the container's. */
const DEFAULT_SHARE = 0.8;

/** What the process may hold unless told otherwise, in bytes. */
export function defaultMemoryLimit(): number {
  const constrained = process.constrainedMemory();
  const total = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return Math.floor(total * DEFAULT_SHARE);
}

const MIB = 1024 * 1024;
const WRITE_BUFFER = 128 * MIB;
const BLOCK_CACHE = 64 * MIB;

/** What the store may take of it: writes that it keeps, as many as wanted or fewer, and blocks that it has read. */
export function storeMemory({ limit }: ProcessMemory, writeBuffer = WRITE_BUFFER) {
  return {
    writeBuffer: Math.min(writeBuffer, Math.floor(limit / 8)),
    blockCache: Math.min(BLOCK_CACHE, Math.floor(limit / 16)),
  };
}

/**
 * The memory of this process: what it holds and what it may hold. Looks at the process are rare; in between, what callers
 * say that they take is added.
 */
export class ProcessMemory {
  /** Bytes that the process may hold. */
  readonly limit: number;
  readonly #probe: MemoryProbe;
  #resident = 0;
  #taken = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #reclaiming: Promise<void> | undefined;
  #reclaimAfter = Number.NEGATIVE_INFINITY;
  /** What was left after the last time. */
  #leftOver = 0;

  constructor(limit: number, probe: MemoryProbe = PROCESS) {
    this.limit = limit;
    this.#probe = probe;
  }

  /** Bytes that the process holds, about. */
  get resident(): number {
    if (this.#taken >= LOOK_BYTES || performance.now() - this.#lookedAt > LOOK_MS) this.look();
    return this.#resident + this.#taken;
  }

  get heap(): { readonly used: number; readonly limit: number } {
    return this.#probe.heap();
  }

  /** Looks at the process now. */
  look(): void {
    this.#resident = this.#probe.resident();
    this.#taken = 0;
    this.#lookedAt = performance.now();
    const garbage = this.#resident - this.#leftOver;
    if (this.#resident > this.limit * RECLAIM_SHARE && garbage > this.limit * GARBAGE_SHARE) void this.reclaim();
  }

  /** Notes that so many bytes are taken now. */
  take(bytes: number): void {
    this.#taken += bytes;
  }

  /** Whether so many bytes more stay below the limit. */
  hasRoomFor(bytes: number): boolean {
    return this.resident + bytes <= this.limit;
  }

  /** The same, once it is time for it: so that whoever waits really sees what can be freed. */
  async reclaimInTurn(): Promise<void> {
    // What is under way may have begun before garbage of the caller was garbage.
    await this.#reclaiming;
    const waitMs = this.#reclaimAfter - performance.now();
    if (waitMs > 0) await setTimeout(Math.min(waitMs, RECLAIM_WAIT_MAX_MS));
    await this.reclaim();
  }

  /** Frees what is not used any more; joins what is under way, and does nothing so soon after the last time. */
  async reclaim(): Promise<void> {
    if (!this.#reclaiming && performance.now() >= this.#reclaimAfter) {
      this.#reclaiming = this.#reclaim().finally(() => {
        this.#reclaiming = undefined;
      });
    }
    await this.#reclaiming;
  }

  async #reclaim(): Promise<void> {
    const startedAt = performance.now();
    await this.#probe.reclaim();
    const endedAt = performance.now();
    this.#reclaimAfter = endedAt + Math.max(RECLAIM_PAUSE_MS, RECLAIM_PAUSE_TIMES * (endedAt - startedAt));
    this.#leftOver = this.#probe.resident();
    this.look();
  }
}

type Collect = (options: { type: "major"; flavor: "last-resort"; execution: "async" }) => Promise<void>;

let collect: Collect | undefined;

const PROCESS: MemoryProbe = {
  resident: () => process.memoryUsage.rss(),
  heap() {
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    return { used, limit };
  },
  async reclaim() {
    setFlagsFromString("--expose-gc");
    collect ??= runInNewContext("gc") as Collect;
    // Only this kind of collection gives the pages back that V8 keeps for later.
    await collect({ type: "major", flavor: "last-resort", execution: "async" });
    await addon.trimMemory();
  },
};
