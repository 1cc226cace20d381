import { QuiverError } from "../../../errors.ts";
import type { ProcessMemory } from "./process-memory.ts";

/** Of the limit: what would pass it is refused. */
const WRITE_SHARE = 0.9;

/** The same for work in the background, and for what is stored already when the server starts. */
const BACKGROUND_SHARE = 0.95;

/**
 * What stays for requests, answers and garbage beside what is kept: a share of the limit, and at least so many bytes, which
 * even a small server takes; of a small limit, another share. Memory is full when a collection leaves less.
 */
const ROOM_SHARE = 0.15;
const ROOM_MIN = 192 * 1024 * 1024;
const ROOM_SHARE_MAX = 0.3;

/** More has to be free before writes go on than where they stop, so that they do not stop again at once. */
const RESUME_TIMES = 4 / 3;

/** What a byte of a write takes in the end, and while it is written: batch, log, memtable, data, postings, graph. */
const COST_TIMES = 4;

/** What a stored byte takes in memory: data, and beside it keys, postings and the graph. */
const LOADED_TIMES = 1.3;

const LOOK_WHEN_FULL_MS = 1_000;
const RETRY_MS = 1_000;

/** Gives room back. Twice is fine. */
export type ReleaseRoom = () => void;

/**
 * Keeps the process below its memory limit: what grows the stored data is refused with MEMORY_FULL before it is written, and
 * goes on by itself once there is room again. Reads and deletes are never refused.
 */
export class MemoryGuard {
  readonly process: ProcessMemory;
  readonly #onChange: (problem: QuiverError | undefined) => void;
  #held = 0;
  /** By loads, whose bytes are counted twice towards their end: only other loads wait for them. */
  #heldByLoads = 0;
  #loadEnded = Promise.withResolvers<void>();
  #problem: QuiverError | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** `onChange` hears each change: memory is full, or, with undefined, no longer. */
  constructor(process: ProcessMemory, onChange: (problem: QuiverError | undefined) => void) {
    this.process = process;
    this.#onChange = onChange;
  }

  /** Collects garbage when it is in the way of a write of so many bytes; never waits until it is time for that. */
  async makeRoom(bytes: number): Promise<void> {
    if (!this.#problem && !this.#fits(COST_TIMES * bytes, WRITE_SHARE)) await this.process.reclaim();
  }

  /** Throws MEMORY_FULL when a batch of so many bytes may not be written now; holds room for it otherwise. */
  admit(bytes: number): ReleaseRoom {
    const cost = COST_TIMES * bytes;
    this.#judge(cost);
    if (this.#problem || !this.#fits(cost, WRITE_SHARE)) {
      const refusal = this.#refusal(cost);
      void this.process.reclaim();
      throw refusal;
    }
    this.#held += cost;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#held -= cost;
      // Until the process is looked at again.
      void this.process.take(cost / COST_TIMES);
    };
  }

  /** Whether work in the background may take so many bytes; otherwise it is to be left for later. */
  hasRoomFor(bytes: number): boolean {
    return this.#fits(bytes, BACKGROUND_SHARE);
  }

  /**
   * Holds room for the index whose store has so many bytes, until it is loaded. Waits for others that are being loaded;
   * throws MEMORY_FULL when there is no room after them either.
   */
  async holdForLoad(stored: number): Promise<ReleaseRoom> {
    const bytes = LOADED_TIMES * stored;
    while (!this.#fits(bytes + this.#heldByLoads, BACKGROUND_SHARE)) {
      if (this.#heldByLoads > 0) await this.#loadEnded.promise;
      else {
        await this.assertLoadable(bytes);
        break;
      }
    }
    this.#heldByLoads += bytes;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#heldByLoads -= bytes;
      this.#loadEnded.resolve();
      this.#loadEnded = Promise.withResolvers();
    };
  }

  /** Resolves once so many bytes of what is stored may be loaded. Throws MEMORY_FULL when they do not fit. */
  async assertLoadable(bytes: number): Promise<void> {
    if (this.#fits(bytes, BACKGROUND_SHARE)) return;
    await this.process.reclaim();
    if (!this.#fits(bytes, BACKGROUND_SHARE)) throw this.#refusal(bytes);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #fits(bytes: number, share: number): boolean {
    const { process } = this;
    const { used, limit } = process.heap;
    return process.resident + this.#held + bytes <= process.limit * share && used + bytes <= limit * share;
  }

  /** Tells whether memory is full, by what the last collection left. */
  #judge(cost: number): void {
    const { left, limit, heap } = this.process;
    const least = Math.max(ROOM_SHARE * limit, Math.min(ROOM_MIN, ROOM_SHARE_MAX * limit));
    const times = this.#problem ? RESUME_TIMES : 1;
    const isFull = left.resident > limit - times * least || left.heap > heap.limit * (1 - times * ROOM_SHARE);
    if (isFull === (this.#problem !== undefined)) return;
    this.#problem = isFull ? this.#refusal(cost) : undefined;
    clearInterval(this.#timer);
    if (isFull) this.#timer = setInterval(() => void this.#lookAgain(), LOOK_WHEN_FULL_MS).unref();
    this.#onChange(this.#problem);
  }

  /** Also without any call, so that the health tells the truth. */
  async #lookAgain(): Promise<void> {
    await this.process.reclaim();
    this.#judge(0);
  }

  #refusal(cost: number): QuiverError {
    const { limit, resident, heap } = this.process;
    const isHeap = heap.used / heap.limit > (resident + this.#held) / limit;
    const [used, most, what] = isHeap
      ? [heap.used, heap.limit, "JavaScript's heap holds"]
      : [resident + this.#held, limit, "The process holds"];
    return new QuiverError(
      "MEMORY_FULL",
      `${what} ${used} of ${most} bytes of memory, and ${Math.ceil(cost)} more leave too little: delete indexes or all vectors of a namespace, or raise the limit`,
      { metadata: { limit: `${most}`, used: `${used}`, requested: `${Math.ceil(cost)}` }, retryAfterMs: RETRY_MS },
    );
  }
}
