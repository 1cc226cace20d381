export interface RefusalPaceLimits {
  /** Refusals that one client gets at once before calls are served. */
  readonly refusalBurst: number;
  /** So many more per call that is served, of whichever client. */
  readonly refusalsPerServed: number;
  /** So many more per second, for when calls take long. */
  readonly refusalsPerSecond: number;
  /** The shortest and longest time that other refusals are held back, in milliseconds; but an answer comes before the deadline. */
  readonly holdMinMs: number;
  readonly holdMaxMs: number;
  /** Refusals held back, of all clients; more are answered at once. */
  readonly heldMax: number;
}

interface Credit {
  left: number;
  /** What had been served, and when, when it was last looked at. */
  servedAt: number;
  at: number;
}

const SWEEP_MS = 20;
/** How often the longest time fits into the ring, so that a sweep that comes late finds nothing that is not due yet. */
const ROUNDS = 4;
/** The share of the time to the deadline after which a refusal is still of use to its client. */
const BEFORE_DEADLINE = 0.8;
/** Clients that have not been refused for so long have their whole credit. */
const FORGET_MS = 10_000;

/**
 * Decides when refusals are sent. A refusal costs the server a tenth of a small call or less, but who repeats each refused
 * call at once can have the server do nothing else. What calls that are served pay for is answered at once; what is beyond
 * is held back, so that whoever waits for an answer before it calls again calls seldom.
 */
export class RefusalPace {
  readonly #limits: RefusalPaceLimits;
  readonly #credits = new Map<string, Credit>();
  /** By when they are due: a ring of slots of SWEEP_MS each. */
  readonly #slots: (() => void)[][];
  /** The last slot that was swept, counted from the start of the clock. */
  #sweptSlot = 0;
  #held = 0;
  #served = 0;
  #sweeps: NodeJS.Timeout | undefined;
  #forgottenAt = 0;

  constructor(limits: RefusalPaceLimits) {
    this.#limits = limits;
    this.#slots = Array.from({ length: ROUNDS * Math.ceil(limits.holdMaxMs / SWEEP_MS) + 2 }, () => []);
  }

  /** Refusals that wait to be sent. */
  get heldCount(): number {
    return this.#held;
  }

  /** A call is served, and pays for refusals. */
  countServed(): void {
    this.#served += 1;
  }

  /** Calls `refuse` now and returns true, or returns false and calls it later. It must not throw. */
  send(client: string, deadline: number, refuse: () => void): boolean {
    const now = performance.now();
    if (this.#take(client, now) || this.#held >= this.#limits.heldMax) {
      refuse();
      return true;
    }
    const { holdMinMs, holdMaxMs } = this.#limits;
    const holdMs = Math.min(holdMinMs + Math.random() * (holdMaxMs - holdMinMs), (deadline - now) * BEFORE_DEADLINE);
    const slot = Math.floor((now + Math.max(0, holdMs)) / SWEEP_MS) + 1;
    if (this.#sweeps === undefined) {
      this.#sweptSlot = Math.floor(now / SWEEP_MS);
      this.#sweeps = setInterval(() => this.#sweep(), SWEEP_MS);
    }
    this.#slots[slot % this.#slots.length]?.push(refuse);
    this.#held += 1;
    return false;
  }

  #take(client: string, now: number): boolean {
    const { refusalBurst, refusalsPerServed, refusalsPerSecond } = this.#limits;
    if (now - this.#forgottenAt > FORGET_MS) this.#forget(now);
    const credit = this.#credits.get(client);
    if (credit === undefined) {
      this.#credits.set(client, { left: refusalBurst - 1, servedAt: this.#served, at: now });
      return true;
    }
    const { left, servedAt, at } = credit;
    const more = (this.#served - servedAt) * refusalsPerServed + ((now - at) / 1_000) * refusalsPerSecond;
    credit.left = Math.min(refusalBurst, left + more);
    credit.servedAt = this.#served;
    credit.at = now;
    if (credit.left < 1) return false;
    credit.left -= 1;
    return true;
  }

  #forget(now: number): void {
    this.#forgottenAt = now;
    for (const [client, { at }] of this.#credits) if (now - at > FORGET_MS) this.#credits.delete(client);
  }

  #sweep(): void {
    // Timers come late on a busy event loop, and then there is more to sweep.
    const slot = Math.floor(performance.now() / SWEEP_MS);
    const first = Math.max(this.#sweptSlot + 1, slot - this.#slots.length + 1);
    this.#sweptSlot = slot;
    for (let each = first; each <= slot; each++) {
      const due = this.#slots[each % this.#slots.length]?.splice(0) ?? [];
      this.#held -= due.length;
      for (const refuse of due) refuse();
    }
    if (this.#held > 0) return;
    clearInterval(this.#sweeps);
    this.#sweeps = undefined;
  }
}
