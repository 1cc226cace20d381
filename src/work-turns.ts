/** Bytes of requests, vectors or batches that are worked on in one turn of the event loop: so many take about a millisecond. */
const TURN_BYTES = 64 * 1024;

/**
 * Spreads the work of large calls over turns of the event loop, in the order in which they ask, so that other work is done
 * in between: large requests come together, and the batches that share a sync are durable all at once.
 */
class WorkTurns {
  readonly #waiting: { readonly bytes: number; readonly begin: () => void }[] = [];
  /** What was begun in this turn. */
  #bytes = 0;

  /**
   * Resolves when the caller may work on so many bytes, which it does at once: now, or after all who came before. Who does
   * not want to any more still has a turn, in which nothing is done.
   */
  async next(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#bytes < TURN_BYTES) return this.#begin(bytes);
    const { promise, resolve: begin } = Promise.withResolvers<void>();
    this.#waiting.push({ bytes, begin });
    await promise;
  }

  #begin(bytes: number): void {
    if (this.#bytes === 0) setImmediate(() => this.#turn());
    this.#bytes += Math.max(1, bytes);
  }

  #turn(): void {
    this.#bytes = 0;
    while (this.#bytes < TURN_BYTES) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#begin(next.bytes);
      next.begin();
    }
  }
}

/** One for all, as there is one event loop. */
export const workTurns = new WorkTurns();
