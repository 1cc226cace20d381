import type { Socket } from "node:net";
import type { PortLimits } from "./limits.ts";

/** The handle under a socket that is handed over to HTTP/2: a pause of the socket itself would not reach it. */
interface ReadingHandle {
  readStop(): void;
  readStart(): void;
}

/** Of what a client may cost at once, how much must be there again before its connections are read on. */
const REFILL_SHARE = 1 / 10;

/**
 * Opening calls and resetting them at once costs a client nothing and the server a call each; more connections get around
 * the limits of one. So resets are counted by address. One that has had too many is not read for a while: what it sends
 * waits in its own buffers, and others have their turn.
 */
export class AddressPace {
  readonly #limits: PortLimits;
  readonly #addresses = new Map<string, Address>();

  constructor(limits: PortLimits) {
    this.#limits = limits;
  }

  /** Takes a connection until it is closed. */
  add(socket: Socket): void {
    const name = socket.remoteAddress ?? "";
    let address = this.#addresses.get(name);
    if (address === undefined) {
      address = new Address(this.#limits, () => this.#addresses.delete(name));
      this.#addresses.set(name, address);
    }
    address.add(socket);
  }

  /** Counts a call that was reset before it was answered; false when those were too many. */
  countReset(name: string): boolean {
    return this.#addresses.get(name)?.countReset() ?? true;
  }
}

class Address {
  readonly #forget: () => void;
  readonly #sockets = new Set<Socket>();
  readonly #resets: Bucket;
  #pause: NodeJS.Timeout | undefined;

  /** `forget` is called once it has no connection and may go on. */
  constructor({ resetBurst, resetsPerSecond }: PortLimits, forget: () => void) {
    this.#resets = new Bucket(resetBurst, resetsPerSecond);
    this.#forget = forget;
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#forgetIfIdle();
    });
    if (this.#pause !== undefined) handleOf(socket)?.readStop();
  }

  countReset(): boolean {
    if (this.#resets.take()) return true;
    this.#pause ??= this.#stopReading(this.#resets.refillMs(REFILL_SHARE));
    return false;
  }

  #stopReading(ms: number): NodeJS.Timeout {
    for (const socket of this.#sockets) handleOf(socket)?.readStop();
    return setTimeout(() => this.#readOn(), ms).unref();
  }

  #readOn(): void {
    this.#pause = undefined;
    for (const socket of this.#sockets) handleOf(socket)?.readStart();
    this.#forgetIfIdle();
  }

  #forgetIfIdle(): void {
    if (this.#sockets.size === 0 && this.#pause === undefined) this.#forget();
  }
}

/** So many at once, and so many a second. What was read before a pause begins may leave it owing some. */
class Bucket {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #refilledAt = performance.now();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  take(): boolean {
    const now = performance.now();
    const refill = ((now - this.#refilledAt) / 1_000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + refill) - 1;
    this.#refilledAt = now;
    return this.#tokens >= 0;
  }

  /** Until it holds this share of its burst. */
  refillMs(share: number): number {
    return ((share * this.#burst - this.#tokens) / this.#perSecond) * 1_000;
  }
}

function handleOf(socket: Socket): ReadingHandle | undefined {
  return (socket as unknown as { readonly _handle?: ReadingHandle | null })._handle ?? undefined;
}
