/** A call that asks to be served. */
export interface Applicant {
  /** Whose call it is: clients take turns. */
  readonly client: string;
  /** When its deadline passes, in the milliseconds of `performance.now()`; Infinity without one. */
  readonly deadline: number;
  /** Whether its client still sends the request. */
  isReceiving(): boolean;
  /** Serves it; the ticket must be ended when it is served. */
  start(ticket: Ticket): void;
  /** Answers without serving it. `retryAfterMs` is undefined when its deadline passed while it waited. */
  refuse(retryAfterMs: number | undefined): void;
}

/** The place of a call among those in progress, or in the queue. */
export interface Ticket {
  /** The call is served, or its client has left. Twice is fine. */
  end(): void;
}

export interface QueueLimits {
  /** Calls in progress. */
  readonly seats: number;
  /** The share of the seats that the calls of one client may take, so that slow calls of one leave room for others. */
  readonly clientShare: number;
  /** Calls that wait, of all clients. */
  readonly waitingMax: number;
  /** So many calls of one client may wait however long that takes, unless their deadline is nearer. */
  readonly waitingOfClient: number;
  /** A call that would wait longer is refused at once. In milliseconds. */
  readonly waitMaxMs: number;
  /**
   * The same while calls have been waiting for longer than `standingMs` without a break as long as that: a queue that stands
   * gains nothing, and one that was empty for a moment would be filled with calls that then miss their deadlines.
   */
  readonly standingWaitMaxMs: number;
  readonly standingMs: number;
  /** A call whose request takes longer to come gives its seat to another and goes on without one. In milliseconds. */
  readonly receiveMs: number;
}

/** How much of the mean time between two starts is that of the last one. */
const INTERVAL_WEIGHT = 1 / 64;

/** Serves at most so many calls at a time; others wait in one queue per client, and the clients take turns. */
export class AdmissionQueue {
  readonly #limits: QueueLimits;
  readonly #seatsOfClient: number;
  /** Clients in the order of their turns, each with its calls. */
  readonly #waiting = new Map<string, Set<Applicant>>();
  readonly #seated = new Map<string, number>();
  readonly #receiving = new Map<Applicant, { readonly since: number; readonly leave: () => void }>();
  #taken = 0;
  #waitingCount = 0;
  #intervalMs = 1;
  #startedAt = 0;
  #emptyAt = 0;
  #waitedAt = Number.NEGATIVE_INFINITY;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
    this.#seatsOfClient = Math.max(1, Math.floor(limits.seats * limits.clientShare));
  }

  get waitingCount(): number {
    return this.#waitingCount;
  }

  /** Starts the call, queues it, or refuses it. `lagMs` is what the event loop is behind. */
  ask(applicant: Applicant, lagMs = 0): Ticket {
    const { client, deadline } = applicant;
    const own = this.#waiting.get(client);
    if (own === undefined && this.#hasSeat(client)) return this.#seat(applicant);
    const refusedMs = this.refusal(client, deadline, lagMs);
    if (refusedMs !== undefined) {
      applicant.refuse(refusedMs);
      return NO_TICKET;
    }
    if (this.#waitingCount >= this.#limits.waitingMax) this.#refuseOneOfMost();
    const now = performance.now();
    if (this.#waitingCount === 0) {
      if (now - this.#waitedAt > this.#limits.standingMs) this.#emptyAt = now;
      this.#startedAt = now;
    }
    this.#waitedAt = now;
    if (own === undefined) this.#waiting.set(applicant.client, new Set([applicant]));
    else own.add(applicant);
    this.#waitingCount += 1;
    return { end: () => this.#forget(applicant) };
  }

  /** The expected wait of a call that `ask` would refuse, else undefined. */
  refusal(client: string, deadline: number, lagMs = 0): number | undefined {
    const own = this.#waiting.get(client)?.size ?? 0;
    if (own === 0 && this.#hasSeat(client)) return undefined;
    const waitMs = this.#expectedWait(own);
    return this.#mayWait(deadline, own, waitMs, lagMs) ? undefined : waitMs;
  }

  /** Gives the seats of requests that come slowly to calls that wait. */
  freeSlowSeats(): void {
    const oldest = performance.now() - this.#limits.receiveMs;
    for (const [applicant, { since, leave }] of this.#receiving) {
      if (!applicant.isReceiving()) this.#receiving.delete(applicant);
      else if (since < oldest) leave();
    }
  }

  /** Calls may have begun to wait when others were served faster: those that would wait far too long now are refused. */
  refuseHopeless(): void {
    const { waitingOfClient, waitMaxMs } = this.#limits;
    const least = Math.max(1, waitingOfClient);
    for (const calls of [...this.#waiting.values()]) {
      const hopeless = [...calls].slice(least).filter((_, i) => this.#expectedWait(least + i) > 2 * waitMaxMs);
      for (const applicant of hopeless) {
        this.#forget(applicant);
        applicant.refuse(this.#expectedWait(calls.size));
      }
    }
  }

  #hasSeat(client: string): boolean {
    return this.#taken < this.#limits.seats && (this.#seated.get(client) ?? 0) < this.#seatsOfClient;
  }

  /** Until its turn comes, each of the clients has as many turns as it has calls before this one, and calls. */
  #expectedWait(own: number): number {
    const ahead = Math.min(this.#waitingCount, own * this.#waiting.size + this.#waiting.size);
    return (ahead + 1) * this.#intervalMs;
  }

  #mayWait(deadline: number, own: number, waitMs: number, lagMs: number): boolean {
    const now = performance.now();
    const { waitingMax, waitingOfClient, waitMaxMs, standingWaitMaxMs, standingMs } = this.#limits;
    if (this.#waitingCount >= waitingMax && this.#mostWaiting().size <= own + 1) return false;
    const serviceMs = this.#taken * this.#intervalMs;
    if (now + waitMs + serviceMs + lagMs > deadline) return false;
    if (own < waitingOfClient) return true;
    const stands = now - this.#waitedAt <= standingMs && now - this.#emptyAt > standingMs;
    return waitMs <= (stands ? standingWaitMaxMs : waitMaxMs);
  }

  /** The calls of the client that has most of them in the queue. */
  #mostWaiting(): ReadonlySet<Applicant> {
    let most: ReadonlySet<Applicant> = new Set();
    for (const calls of this.#waiting.values()) if (calls.size > most.size) most = calls;
    return most;
  }

  /** The queue is full: who has much in it makes room for who has little. */
  #refuseOneOfMost(): void {
    const calls = this.#mostWaiting();
    const newest = [...calls].at(-1);
    if (newest === undefined) return;
    const waitMs = this.#expectedWait(calls.size);
    this.#forget(newest);
    newest.refuse(waitMs);
  }

  #seat(applicant: Applicant): Ticket {
    const { client } = applicant;
    this.#taken += 1;
    this.#seated.set(client, (this.#seated.get(client) ?? 0) + 1);
    let isSeated = true;
    const end = () => {
      if (!isSeated) return;
      isSeated = false;
      this.#receiving.delete(applicant);
      this.#taken -= 1;
      const rest = (this.#seated.get(client) ?? 0) - 1;
      if (rest > 0) this.#seated.set(client, rest);
      else this.#seated.delete(client);
      this.#startNext();
    };
    this.#receiving.set(applicant, { since: performance.now(), leave: end });
    const ticket = { end };
    applicant.start(ticket);
    return ticket;
  }

  #startNext(): void {
    for (const [client, calls] of this.#waiting) {
      if (this.#taken >= this.#limits.seats) return;
      if (!this.#hasSeat(client)) continue;
      const [applicant] = calls;
      // The client goes to the end of the turns.
      this.#waiting.delete(client);
      if (applicant === undefined) continue;
      calls.delete(applicant);
      this.#waitingCount -= 1;
      if (calls.size > 0) this.#waiting.set(client, calls);
      this.#begin(applicant);
    }
  }

  #begin(applicant: Applicant): void {
    const now = performance.now();
    if (now >= applicant.deadline) {
      applicant.refuse(undefined);
      return;
    }
    this.#intervalMs += (now - this.#startedAt - this.#intervalMs) * INTERVAL_WEIGHT;
    this.#startedAt = now;
    this.#seat(applicant);
  }

  #forget(applicant: Applicant): void {
    const calls = this.#waiting.get(applicant.client);
    if (!calls?.delete(applicant)) return;
    this.#waitingCount -= 1;
    if (calls.size === 0) this.#waiting.delete(applicant.client);
  }
}

/** Of a call that has no place. */
export const NO_TICKET: Ticket = { end() {} };
