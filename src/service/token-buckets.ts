/** Below so many buckets none is looked for that can be dropped. */
const KEPT_MIN = 1_024;

/** Sums of fractions are off by less: who waits as long as it was told is not told to wait again. */
const ROUNDING_MS = 0.001;

interface Bucket {
  tokens: number;
  /** When `tokens` was right, in milliseconds of the clock. */
  at: number;
}

/**
 * Token buckets of one size, by name: each gets `perSecond` tokens a second and holds one second's worth, so that a
 * second's load may come at once.
 *
 * Whoever finds one token may take as many as it needs and leave a debt, which later ones wait for. So a batch that is
 * larger than the bucket is possible, and never waits for a bucket that steady small batches keep from filling up; in the
 * long run no more than `perSecond` are taken.
 *
 * A full bucket is the same as none, so full ones are dropped now and then: as many are kept as were used within the time
 * that the last debts take, whatever names callers invent.
 */
export class TokenBuckets {
  readonly #perSecond: number;
  readonly #now: () => number;
  readonly #buckets = new Map<string, Bucket>();
  #sweepAt = KEPT_MIN;

  /** `perSecond` is a whole number above 0; `now` a monotonic clock in milliseconds. */
  constructor(perSecond: number, now: () => number) {
    this.#perSecond = perSecond;
    this.#now = now;
  }

  /** How many buckets are kept. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Whole milliseconds until the bucket has a token; 0 when it has one. */
  waitMs(name: string): number {
    const ms = ((1 - this.#tokens(name)) / this.#perSecond) * 1_000;
    return Math.max(0, Math.ceil(ms - ROUNDING_MS));
  }

  /** Takes tokens, whether they are there or not. */
  take(name: string, count: number): void {
    const tokens = this.#tokens(name) - count;
    this.#buckets.set(name, { tokens, at: this.#now() });
    if (this.#buckets.size >= this.#sweepAt) this.#dropFull();
  }

  #tokens(name: string): number {
    const bucket = this.#buckets.get(name);
    if (!bucket) return this.#perSecond;
    return Math.min(this.#perSecond, bucket.tokens + ((this.#now() - bucket.at) * this.#perSecond) / 1_000);
  }

  #dropFull(): void {
    for (const name of this.#buckets.keys()) if (this.#tokens(name) >= this.#perSecond) this.#buckets.delete(name);
    this.#sweepAt = Math.max(KEPT_MIN, 2 * this.#buckets.size);
  }
}
