import { statfs } from "node:fs/promises";
import { QuiverError } from "../../../errors.ts";
import type { DiskUse } from "../../engine.ts";
import { HeldReserve } from "./held-reserve.ts";

const MIB = 1024 * 1024;

/** What a write does to the disk in the end: `grow`: puts, updates, creations, jobs; `shrink`: deletes; `drop`: of indexes. */
export type WriteKind = "grow" | "shrink" | "drop";

/** A batch is logged, and written to a table later. */
const WRITTEN_TIMES = 2;

/** More is free before writes go on than where they stop, so that they do not stop again at once. */
const RESUME_SHARE = 9 / 8;

/** When less is free than so many reserves, a part of the reserve is held, so that nothing else can take it. */
const HOLD_BELOW = 4;

/** How old the answer of the file system may be when a write comes, and when none does. */
const LOOK_WHEN_BUSY_MS = 100;
const LOOK_WHEN_IDLE_MS = 1_000;

const RETRY_MS = 5_000;

export interface DiskGuardOptions {
  /** The data directory. */
  readonly path: string;
  /** Bytes of memtables; the write-ahead log has up to twice as many. */
  readonly writeBuffer: number;
  /** Default true; false lets everything through, to show what happens then. */
  readonly guards: boolean;
  /** Hears each change: the disk is full, or, with undefined, no longer. */
  readonly onChange: (problem: QuiverError | undefined) => void;
  /** Hears, at each look, how many bytes compactions may write. */
  readonly onRoomForCompactions: (bytes: number) => void;
}

/**
 * Keeps a reserve free on the disk of the data, so that the store never meets a full one: writes that grow what is stored
 * are refused with DISK_FULL before they reach it, and go on by themselves once there is room again.
 *
 * Whatever else writes to this disk in the background asks `hasRoomFor` with the bytes that it will write at most, each
 * time before it starts, and otherwise leaves its work for later: `store.disk.hasRoomFor(bytes)`. It does not wait, and
 * costs nothing.
 */
export class DiskGuard {
  /** Free bytes below which nothing may grow: what memtables and log need to be written out, twice, and some. */
  readonly reserve: number;
  readonly #options: DiskGuardOptions;
  readonly #held: HeldReserve;
  #timer: NodeJS.Timeout | undefined;
  #total = 0;
  /** What the file system has, and what is held. */
  #free = 0;
  /** Bytes that were let through since the file system was asked. */
  #written = 0;
  #problem: QuiverError | undefined;
  #looking: Promise<void> | undefined;
  #lookedAt = 0;

  private constructor(options: DiskGuardOptions, held: HeldReserve) {
    this.#options = options;
    this.#held = held;
    this.reserve = 6 * options.writeBuffer + 64 * MIB;
  }

  /** Looks for the first time, and gives back what is held where nothing else is free: the store can be opened then. */
  static async open(options: DiskGuardOptions): Promise<DiskGuard> {
    const guard = new DiskGuard(options, await HeldReserve.find(options.path));
    await guard.look();
    return guard;
  }

  /** Looks again and again until `close`. */
  watch(): void {
    this.#lookSoon();
    this.#timer = setInterval(() => this.#lookSoon(), LOOK_WHEN_IDLE_MS).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking?.catch(() => {});
  }

  get use(): DiskUse {
    return { total: this.#total, free: this.#estimate, reserve: this.reserve };
  }

  /**
   * Free bytes that must stay on the file system beside a batch of this kind. For a delete a quarter of the reserve: room
   * to write out all memtables once more, and for the store's own lists and logs, without which it could not go on.
   */
  leastFree(kind: WriteKind): number {
    return kind === "drop" || !this.#options.guards ? 0 : this.reserve / 4;
  }

  /** Whether so many bytes can be written in the background and the reserve stays. */
  hasRoomFor(bytes: number): boolean {
    return !this.#problem && this.#estimate - bytes >= this.#floorOf("grow");
  }

  /** Throws DISK_FULL when a batch of so many bytes may not be written now; counts it otherwise. */
  admit(kind: WriteKind, bytes: number): void {
    if (performance.now() - this.#lookedAt > LOOK_WHEN_BUSY_MS) this.#lookSoon();
    const needed = WRITTEN_TIMES * bytes;
    if (this.#estimate - needed < this.#floorOf(kind)) {
      this.#lookSoon();
      throw this.#refusal(kind, { needed });
    }
    this.#written += needed;
  }

  /** What a write is told that was admitted, but found the disk full: nothing else is admitted until the next look. */
  foundFull(kind: WriteKind, cause: unknown): QuiverError {
    this.#free = 0;
    this.#lookSoon();
    return this.#refusal(kind, { cause });
  }

  /** Asks the file system now. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  get #estimate(): number {
    return Math.max(0, this.#free - this.#written);
  }

  /** A file system that does not answer is told of by the writes that it fails. */
  #lookSoon(): void {
    this.look().catch(() => {});
  }

  async #look(): Promise<void> {
    const before = this.#written;
    const { total, free } = await this.#askFileSystem();
    this.#total = total;
    this.#free = free + this.#held.bytes;
    this.#written -= before;
    this.#lookedAt = performance.now();
    if (this.#options.guards) this.#options.onRoomForCompactions(Math.max(0, free - this.leastFree("shrink")));
    const isFull = this.#estimate < this.#floorOf("grow");
    if (isFull === (this.#problem !== undefined)) return;
    this.#problem = isFull ? this.#refusal("grow") : undefined;
    this.#options.onChange(this.#problem);
  }

  async #askFileSystem(): Promise<{ total: number; free: number }> {
    const found = await statfsOf(this.#options.path);
    const isPlenty = found.free >= HOLD_BELOW * this.reserve;
    const isHeld = this.#held.bytes > 0;
    if (isHeld && (isPlenty || found.free < this.leastFree("shrink"))) await this.#held.giveBack();
    else if (!isHeld && !isPlenty && found.free >= this.#floorOf("grow")) await this.#held.hold(this.reserve / 2);
    else return found;
    return statfsOf(this.#options.path);
  }

  #floorOf(kind: WriteKind): number {
    if (kind !== "grow" || !this.#options.guards) return this.leastFree(kind);
    return this.#problem ? this.reserve * RESUME_SHARE : this.reserve;
  }

  /** `needed`: bytes of the write itself, which must be free beside the reserve. */
  #refusal(kind: WriteKind, { needed = 0, cause }: { needed?: number; cause?: unknown } = {}): QuiverError {
    const [free, reserve] = [`${this.#estimate}`, `${this.#floorOf(kind) + needed}`];
    const message =
      kind === "grow"
        ? `Cannot write: the disk has ${free} bytes free, and writes need ${reserve}; free disk, or delete vectors or indexes`
        : `Cannot delete: the disk has ${free} bytes free, and deletes need ${reserve}; free disk, or delete indexes`;
    return new QuiverError("DISK_FULL", message, { metadata: { free, reserve }, retryAfterMs: RETRY_MS, cause });
  }
}

async function statfsOf(path: string): Promise<{ total: number; free: number }> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { total: bsize * blocks, free: bsize * bavail };
}
