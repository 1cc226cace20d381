import { QuiverError } from "../errors.ts";

const RETRY_AFTER_MS = 1_000;

/** Bytes that one call holds. */
export interface Lease {
  /** Everything that was ever reserved. */
  readonly total: number;
  /** Takes bytes from the budget. Throws MEMORY_FULL when they are not there. */
  reserve(bytes: number): void;
  /** Gives bytes back. */
  release(bytes: number): void;
  /** Gives back what is left. */
  close(): void;
}

/** Bounds the bytes of requests that are in memory, over all calls; answers a way to open a lease on it. */
export function createMemoryBudget(maxBytes: number): () => Lease {
  let used = 0;
  return () => {
    let held = 0;
    let total = 0;
    const release = (bytes: number) => {
      const released = Math.min(bytes, held);
      held -= released;
      used -= released;
    };
    return {
      get total() {
        return total;
      },
      reserve(bytes) {
        if (used + bytes > maxBytes) {
          const message = `Requests in progress hold ${used} bytes of memory and may hold ${maxBytes}: try again later`;
          const metadata = { max: String(maxBytes), current: String(used) };
          throw new QuiverError("MEMORY_FULL", message, { metadata, retryAfterMs: RETRY_AFTER_MS });
        }
        used += bytes;
        held += bytes;
        total += bytes;
      },
      release,
      close: () => release(held),
    };
  };
}
