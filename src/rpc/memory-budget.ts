import { QuiverError } from "../errors.ts";

const RETRY_AFTER_MS = 1_000;

/** Bytes that one call holds. */
export interface Lease {
  /** Everything that was ever reserved. */
  readonly total: number;
  /** Takes bytes from the budget. Throws MEMORY_FULL when they are not there, and CANCELLED once it is closed. */
  reserve(bytes: number): void;
  /** Takes bytes from the budget though they may not be there: later calls are refused then. Nothing once it is closed. */
  take(bytes: number): void;
  /** Gives bytes back. */
  release(bytes: number): void;
  /** Gives back what is left; nothing is taken any more. */
  close(): void;
}

/** Bounds the bytes that calls hold in memory, all together. */
export interface MemoryBudget {
  open(): Lease;
  /** Throws MEMORY_FULL when nothing is left. */
  assertLeft(): void;
}

export interface MemoryBudgetOptions {
  /** Whose bytes they are, as errors begin: "Requests in progress". */
  readonly what: string;
  readonly maxBytes: number;
  /** Whether the process has room for what this many bytes lead to. Default: always. */
  readonly hasRoomFor?: ((bytes: number) => boolean) | undefined;
  /** Bytes that are there whatever the process holds: small calls, such as deletes, go on when memory is full. Default 0. */
  readonly alwaysBytes?: number;
}

export function createMemoryBudget(options: MemoryBudgetOptions): MemoryBudget {
  const { what, maxBytes, hasRoomFor = () => true, alwaysBytes = 0 } = options;
  let used = 0;
  const refuse = (bytes: number): never => {
    const message = `${what} hold ${used} bytes of memory, and there is no room for ${bytes} more: try again later`;
    const metadata = { max: String(maxBytes), current: String(used) };
    throw new QuiverError("MEMORY_FULL", message, { metadata, retryAfterMs: RETRY_AFTER_MS });
  };
  const assertRoom = (bytes: number) => {
    const wanted = used + bytes;
    if (wanted > maxBytes || (wanted > alwaysBytes && !hasRoomFor(wanted))) refuse(bytes);
  };
  const open = (): Lease => {
    let held = 0;
    let total = 0;
    let isClosed = false;
    const take = (bytes: number) => {
      if (isClosed) return;
      used += bytes;
      held += bytes;
      total += bytes;
    };
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
        if (isClosed) throw new QuiverError("CANCELLED", "The call has ended");
        assertRoom(bytes);
        take(bytes);
      },
      take,
      release,
      close() {
        release(held);
        isClosed = true;
      },
    };
  };
  return { open, assertLeft: () => assertRoom(1) };
}
