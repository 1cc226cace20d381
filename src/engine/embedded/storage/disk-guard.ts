import { statfs } from "node:fs/promises";
import { QuiverError } from "../../../errors.ts";
import type { DiskUse } from "../../engine.ts";

const MIB = 1024 * 1024;

/** What a write does to the disk in the end: `grow`: puts, updates, creations, jobs; `shrink`: deletes; `drop`: of indexes. */
export type WriteKind = "grow" | "shrink" | "drop";

/** A batch is logged, and written to a table later. */
const WRITTEN_TIMES = 2;

/** How old the answer of the file system may be when a write comes, and when none does. */
const LOOK_WHEN_BUSY_MS = 100;
const LOOK_WHEN_IDLE_MS = 1_000;

const RETRY_MS = 5_000;

export interface DiskGuardOptions {
  /** The data directory. */
  readonly path: string;
  /** Bytes of memtables; the write-ahead log has up to twice as many. */
  readonly writeBuffer: number;
  /** Hears each change: the disk is full, or, with undefined, no longer. */
  readonly onChange: (problem: QuiverError | undefined) => void;
  /** Asks the file system. Default: statfs of `path`. */
  readonly look?: () => Promise<{ readonly total: number; readonly free: number }>;
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
  readonly #timer: NodeJS.Timeout;
  #total = 0;
  #free = 0;
  /** Bytes that were let through since the file system was asked. */
  #written = 0;
  #problem: QuiverError | undefined;
  #looking: Promise<void> | undefined;
  #lookedAt = 0;

  private constructor(options: DiskGuardOptions) {
    this.#options = options;
    this.reserve = 6 * options.writeBuffer + 64 * MIB;
    this.#timer = setInterval(() => this.#lookSoon(), LOOK_WHEN_IDLE_MS).unref();
  }

  static async start(options: DiskGuardOptions): Promise<DiskGuard> {
    const guard = new DiskGuard(options);
    await guard.look();
    return guard;
  }

  get use(): DiskUse {
    return { total: this.#total, free: this.#estimate, reserve: this.reserve };
  }

  /** Whether so many bytes can be written in the background and the reserve stays. */
  hasRoomFor(bytes: number): boolean {
    return !this.#problem && this.#estimate - bytes >= this.reserve;
  }

  /** Throws DISK_FULL when a batch of so many bytes may not be written now; counts it otherwise. */
  admit(kind: WriteKind, bytes: number): void {
    if (performance.now() - this.#lookedAt > LOOK_WHEN_BUSY_MS) this.#lookSoon();
    const needed = WRITTEN_TIMES * bytes;
    if (this.#estimate - needed < this.#floorOf(kind)) {
      this.#lookSoon();
      throw this.#refusal(kind);
    }
    this.#written += needed;
  }

  /** Asks the file system now. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  close(): void {
    clearInterval(this.#timer);
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
    const { total, free } = await (this.#options.look ?? (() => lookAt(this.#options.path)))();
    this.#total = total;
    this.#free = free;
    this.#written -= before;
    this.#lookedAt = performance.now();
    const isFull = this.#estimate < this.#floorOf("grow");
    if (isFull === (this.#problem !== undefined)) return;
    this.#problem = isFull ? this.#refusal("grow") : undefined;
    this.#options.onChange(this.#problem);
  }

  #floorOf(kind: WriteKind): number {
    switch (kind) {
      case "grow":
        // Some more before writes go on than where they stop, so that they do not stop again at once.
        return this.#problem ? this.reserve * (9 / 8) : this.reserve;
      case "shrink":
        return this.#options.writeBuffer + 16 * MIB;
      case "drop":
        return 0;
    }
  }

  #refusal(kind: WriteKind): QuiverError {
    const free = Math.floor(this.#estimate);
    const reserve = this.#floorOf(kind);
    return new QuiverError(
      "DISK_FULL",
      `The disk has ${free} bytes free, ${kind === "grow" ? "writes" : "deletes"} need ${reserve}; free disk, or delete ${kind === "grow" ? "vectors or " : ""}indexes`,
      { metadata: { free: `${free}`, reserve: `${reserve}` }, retryAfterMs: RETRY_MS },
    );
  }
}

async function lookAt(path: string): Promise<{ total: number; free: number }> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { total: bsize * blocks, free: bsize * bavail };
}
