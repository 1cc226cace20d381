import { totalmem } from "node:os";
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

/**
 * A collection holds up everything else, some 0.1 s for each million keys: the next one comes after so long at the earliest,
 * and so many times as long as it took.
 */
const RECLAIM_PAUSE_MS = 500;
const RECLAIM_PAUSE_TIMES = 9;

/** Of the limit: above the first, garbage is collected at once when it may be as much as the second. */
const RECLAIM_SHARE = 0.85;
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
  #left = { resident: 0, heap: 0 };

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
    if (this.#hasMuchGarbage) void this.reclaim();
  }

  /** Notes that so many bytes are taken now. Answers, while garbage is collected, with its end: who takes more waits for it. */
  take(bytes: number): Promise<void> | undefined {
    this.#taken += bytes;
    if (this.#taken >= LOOK_BYTES) this.look();
    return this.#reclaiming;
  }

  /** Whether so many bytes more stay below the limit. */
  hasRoomFor(bytes: number): boolean {
    return this.resident + bytes <= this.limit;
  }

  /** Bytes that were held, also of JavaScript's heap, when garbage was collected the last time; 0 before. */
  get left(): { readonly resident: number; readonly heap: number } {
    return this.#left;
  }

  /** Frees what is not used any more; joins what is under way, and does nothing soon after the last time if it can wait. */
  async reclaim(): Promise<void> {
    if (!this.#reclaiming && (performance.now() >= this.#reclaimAfter || this.#hasMuchGarbage)) {
      this.#reclaiming = this.#reclaim().finally(() => {
        this.#reclaiming = undefined;
      });
    }
    await this.#reclaiming;
  }

  get #hasMuchGarbage(): boolean {
    const { limit } = this;
    return this.#resident > limit * RECLAIM_SHARE && this.#resident - this.#left.resident > limit * GARBAGE_SHARE;
  }

  async #reclaim(): Promise<void> {
    const startedAt = performance.now();
    await this.#probe.reclaim();
    const endedAt = performance.now();
    this.#reclaimAfter = endedAt + Math.max(RECLAIM_PAUSE_MS, RECLAIM_PAUSE_TIMES * (endedAt - startedAt));
    this.#left = { resident: this.#probe.resident(), heap: this.#probe.heap().used };
    this.look();
  }
}

type Collect = (options: { type: "major"; flavor: "last-resort"; execution: "async" }) => Promise<void>;

let collect: Collect | undefined;
let lastResident = 0;

const PROCESS: MemoryProbe = {
  resident() {
    try {
      lastResident = process.memoryUsage.rss();
    } catch {
      // Connections hold all file descriptors; the next look finds out.
    }
    return lastResident;
  },
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
