import { QuiverError } from "../../errors.ts";
import type { Quotas } from "../engine.ts";

/** What a quota is about, as errors name it. */
export interface QuotaSubject {
  readonly type: "server" | "vector bucket" | "index";
  readonly name: string;
}

export interface UsageOptions {
  readonly subject: QuotaSubject;
  /** 0 is no limit. */
  readonly limits: { readonly vectors: number; readonly bytes: number };
  /** What this is a part of: a bucket's usage for an index, the server's for a bucket. */
  readonly parent?: Usage | undefined;
}

/** Room that a write under way holds. It ends by exactly one of its methods; after that both do nothing. */
export interface Reservation {
  /** The write is applied: counts what it really changed, which may be less than what was reserved, or negative. */
  settle(vectors: number, bytes: number): void;
  /** The write failed: gives the room back. */
  cancel(): void;
}

/**
 * How many vectors and bytes an index, a bucket or the server holds, and how many they may. A write that grows one of them
 * reserves room before it is committed, so that writes side by side cannot pass a limit together:
 *
 *     const room = usage.reserve(newKeys, moreBytes); // Throws ITEM_LIMIT: nothing is written.
 *     try { await commit(..., () => room.settle(added, grown)) } finally { room.cancel() }
 *
 * For the limits to hold even when an earlier write fails, reserve for every key that may be absent when the write is
 * applied. What does not grow is never refused, not even beyond a limit that was lowered.
 */
export class Usage {
  readonly #subject: QuotaSubject;
  readonly #limits: UsageOptions["limits"];
  readonly #parent: Usage | undefined;
  readonly #counting = new Set<Promise<void>>();
  #vectors = 0;
  #bytes = 0;
  #reservedVectors = 0;
  #reservedBytes = 0;
  #closed = false;

  constructor({ subject, limits, parent }: UsageOptions) {
    this.#subject = subject;
    this.#limits = limits;
    this.#parent = parent;
  }

  /** Stored vectors, without what is reserved. */
  get vectors(): number {
    return this.#vectors;
  }

  /** Their bytes: keys, data, sparse values and metadata. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Holds room for so much more in this and all that it is part of. Throws ITEM_LIMIT when one of them would pass its
   * limit, and then holds nothing. Negative numbers reserve nothing.
   */
  reserve(vectors: number, bytes: number): Reservation {
    this.assertRoom(vectors, bytes);
    const [heldVectors, heldBytes] = [Math.max(0, vectors), Math.max(0, bytes)];
    this.#hold(heldVectors, heldBytes);
    let held = true;
    const release = () => {
      if (!held) return false;
      held = false;
      this.#hold(-heldVectors, -heldBytes);
      return true;
    };
    return {
      settle: (added, grown) => void (release() && this.add(added, grown)),
      cancel: () => void release(),
    };
  }

  /** Throws ITEM_LIMIT when so much more would pass a limit now. */
  assertRoom(vectors: number, bytes: number): void {
    this.#assertRoomFor("vectors", this.#vectors + this.#reservedVectors, vectors);
    this.#assertRoomFor("bytes", this.#bytes + this.#reservedBytes, bytes);
    this.#parent?.assertRoom(vectors, bytes);
  }

  /** Counts what is there, or with negative numbers what went away, whatever the limits say. */
  add(vectors: number, bytes: number): void {
    if (this.#closed) return;
    this.#vectors += vectors;
    this.#bytes += bytes;
    this.#parent?.add(vectors, bytes);
  }

  /** Notes that stored vectors are still being counted, until the promise settles; what cannot be read is not counted. */
  countUntil(loaded: Promise<unknown>): void {
    const settled = loaded.then(
      () => {},
      () => {},
    );
    this.#counting.add(settled);
    void settled.then(() => this.#counting.delete(settled));
    this.#parent?.countUntil(settled);
  }

  /** Resolves once all that stands under a limit here is counted; await it before the first `reserve` of a write. */
  async counted(): Promise<void> {
    const { vectors, bytes } = this.#limits;
    if (vectors > 0 || bytes > 0) await this.loaded();
    await this.#parent?.counted();
  }

  /** Resolves once all that is stored here is counted, whether or not there is a limit. */
  async loaded(): Promise<void> {
    await Promise.all(this.#counting);
  }

  /** Takes all that is counted here off the parents: this is deleted. Writes under way count no more. */
  close(): void {
    this.add(-this.#vectors, -this.#bytes);
    this.#closed = true;
  }

  #hold(vectors: number, bytes: number): void {
    this.#reservedVectors += vectors;
    this.#reservedBytes += bytes;
    if (this.#parent) this.#parent.#hold(vectors, bytes);
  }

  #assertRoomFor(unit: "vectors" | "bytes", current: number, more: number): void {
    const max = this.#limits[unit];
    if (max === 0 || more <= 0 || current + more <= max) return;
    const { type, name } = this.#subject;
    throw new QuiverError(
      "ITEM_LIMIT",
      `Cannot store ${more} more ${unit}: ${type} "${name}" has ${current} of at most ${max}; delete vectors or raise the quota`,
      { metadata: quotaFacts(current, max, more, unit), resource: this.#subject },
    );
  }
}

/** The server as the subject of a quota; it has no name of its own. */
export const SERVER: QuotaSubject = { type: "server", name: "quiver" };

/** Throws INDEX_LIMIT unless one more index fits; `counts` are the indexes that there are. */
export function assertIndexRoom(
  bucket: string,
  counts: { readonly server: number; readonly bucket: number },
  limits: Quotas["indexes"],
): void {
  const levels = [
    { subject: { type: "vector bucket", name: bucket }, current: counts.bucket, max: limits.bucket },
    { subject: SERVER, current: counts.server, max: limits.server },
  ];
  for (const { subject, current, max } of levels) {
    if (max === 0 || current < max) continue;
    throw new QuiverError(
      "INDEX_LIMIT",
      `Cannot create another index: ${subject.type} "${subject.name}" has ${current} of at most ${max}; delete some, use namespaces instead, or raise the quota`,
      { metadata: quotaFacts(current, max, 1, "indexes"), resource: subject },
    );
  }
}

function quotaFacts(current: number, max: number, more: number, unit: string) {
  return { current: `${current}`, max: `${max}`, requested_new: `${more}`, unit };
}

/** Nothing is limited. */
export const NO_QUOTAS: Quotas = {
  vectors: { server: 0, bucket: 0, index: 0 },
  bytes: { server: 0, bucket: 0, index: 0 },
  indexes: { server: 0, bucket: 0 },
};
