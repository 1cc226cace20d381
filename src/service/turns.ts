import { setImmediate } from "node:timers/promises";

/** How long the work of all callers may take before other work has its turn. */
const TURN_MS = 10;

/** Spreads the work of many callers over turns of the event loop, so that other work is done in between. */
export class Turns {
  #last: Promise<void> = Promise.resolve();
  #startedAt = Number.NEGATIVE_INFINITY;

  /** Resolves when the caller may go on: at once in a turn that is still short, else in one that is its own. */
  async next(): Promise<void> {
    if (performance.now() - this.#startedAt < TURN_MS) return;
    this.#last = this.#last.then(() => this.#begin());
    await this.#last;
  }

  async #begin(): Promise<void> {
    await setImmediate();
    this.#startedAt = performance.now();
  }
}

/** Hands on items, each when it is its turn. No generator, which would hold `return` back until the next item has come. */
export function takeTurns<T>(items: AsyncIterable<T>, turns: Turns): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = items[Symbol.asyncIterator]();
      return {
        async next() {
          const result = await iterator.next();
          await turns.next();
          return result;
        },
        async return() {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
