import type { IndexRef } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";
import { TokenBuckets } from "./token-buckets.ts";

/** So many a second at each level; 0 is no limit. */
export interface RatePerLevel {
  readonly server: number;
  readonly bucket: number;
  readonly index: number;
}

export interface RateLimits {
  readonly requests: RatePerLevel;
  /** Vectors that are put, updated, or deleted by key. */
  readonly vectors: RatePerLevel;
}

/** What a request is about: the server, a bucket, or an index. */
export type RateSubject = { readonly bucket?: string; readonly index?: string };

const NO_LIMITS: RateLimits = {
  requests: { server: 0, bucket: 0, index: 0 },
  vectors: { server: 0, bucket: 0, index: 0 },
};

/** Limits how fast callers may go. What is refused takes nothing, so that one busy index does not use up the server's rate. */
export class Rates {
  readonly #requests: Rate;
  readonly #vectors: Rate;

  /** `now` is a monotonic clock in milliseconds. */
  constructor(limits: RateLimits = NO_LIMITS, now: () => number = () => performance.now()) {
    this.#requests = new Rate("requests", limits.requests, now);
    this.#vectors = new Rate("vectors", limits.vectors, now);
  }

  /** Counts a request, before any work for it. Throws RATE_LIMIT. */
  admitRequest(subject: RateSubject): void {
    this.#requests.admit(subject, 1);
  }

  /**
   * Counts vectors that are about to be written; any number, in the way of TokenBuckets. Throws RATE_LIMIT. Only for an
   * index that is known to exist: a debt is kept under its name until it is paid.
   */
  admitVectors(index: IndexRef, count: number): void {
    if (count > 0) this.#vectors.admit(index, count);
  }
}

const LEVELS = [
  { level: "index", type: "index" },
  { level: "bucket", type: "vector bucket" },
  { level: "server", type: "server" },
] as const;

/** One thing that is counted, at the three levels. */
class Rate {
  readonly #what: string;
  readonly #limits: RatePerLevel;
  readonly #buckets: Readonly<Record<keyof RatePerLevel, TokenBuckets>>;

  constructor(what: string, limits: RatePerLevel, now: () => number) {
    this.#what = what;
    this.#limits = limits;
    this.#buckets = {
      server: new TokenBuckets(limits.server, now),
      bucket: new TokenBuckets(limits.bucket, now),
      index: new TokenBuckets(limits.index, now),
    };
  }

  /** Takes `count` at every level that has a limit, or throws for the one that takes longest to have room. */
  admit(subject: RateSubject, count: number): void {
    const levels = LEVELS.flatMap(({ level, type }) => {
      const name = nameOf(level, subject);
      return this.#limits[level] === 0 || name === undefined ? [] : [{ level, type, name }];
    });
    let longest: { type: string; name: string; level: keyof RatePerLevel; waitMs: number } | undefined;
    for (const each of levels) {
      const waitMs = this.#buckets[each.level].waitMs(each.name);
      if (waitMs > (longest?.waitMs ?? 0)) longest = { ...each, waitMs };
    }
    if (longest) throw this.#refusal(longest);
    for (const { level, name } of levels) this.#buckets[level].take(name, count);
  }

  #refusal({ type, name, level, waitMs }: { type: string; name: string; level: keyof RatePerLevel; waitMs: number }) {
    const max = this.#limits[level];
    return new QuiverError(
      "RATE_LIMIT",
      `Too many ${this.#what}: ${type} "${name}" takes ${max} a second; try again in ${waitMs} ms`,
      {
        metadata: { max: `${max}`, per: "second", scope: level, unit: this.#what },
        retryAfterMs: waitMs,
        resource: { type, name },
      },
    );
  }
}

/** The name of a level's bucket; undefined where the request is about no such thing. */
function nameOf(level: keyof RatePerLevel, { bucket, index }: RateSubject): string | undefined {
  switch (level) {
    case "server":
      return "quiver";
    case "bucket":
      return bucket;
    case "index":
      return bucket === undefined || index === undefined ? undefined : `${bucket}/${index}`;
  }
}
