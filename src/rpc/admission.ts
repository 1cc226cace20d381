import { availableParallelism } from "node:os";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Log } from "../log.ts";
import { AdmissionQueue, type Applicant, type QueueLimits, type Ticket } from "./admission-queue.ts";
import { isPublic } from "./public-services.ts";
import { RefusalPace, type RefusalPaceLimits } from "./refusal-pace.ts";

/** Calls that wait for the same thing, so that slow ones of one kind do not hold up another. */
export type CallKind = "read" | "search" | "write" | "stream";

export interface AdmissionLimits extends Omit<QueueLimits, "seats">, RefusalPaceLimits {
  /** Calls in progress, by kind. A stream counts only until it has begun. */
  readonly seats: Readonly<Record<CallKind, number>>;
}

/**
 * Enough that a thread that is done has the next one, and no more: each is begun and answered by one turn of the event loop,
 * and a turn is how long a refusal takes.
 */
const SEARCHES_AT_ONCE = Math.max(8, 2 * availableParallelism());

export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = Object.freeze({
  seats: Object.freeze({ read: 16, search: SEARCHES_AT_ONCE, write: 64, stream: 16 }),
  clientShare: 0.75,
  waitingMax: 1_024,
  waitingOfClient: 32,
  waitMaxMs: 1_000,
  standingWaitMaxMs: 100,
  standingMs: 1_000,
  receiveMs: 250,
  refusalBurst: 512,
  refusalsPerServed: 12,
  refusalsPerSecond: 256,
  holdMinMs: 2_000,
  holdMaxMs: 4_000,
  heldMax: 8_192,
});

/** Decides which calls are served now, which wait, and which are refused. */
export interface Admission {
  ask(kind: CallKind, applicant: Applicant): Ticket;
  /** The expected wait, in milliseconds, of a call that is refused now; undefined if `ask` would take it. */
  refusal(kind: CallKind, client: string, deadline: number): number | undefined;
  /** Calls `refuse` now and returns true; or, of a client that has too many calls refused, returns false and calls it later. */
  sendRefusal(client: string, deadline: number, refuse: () => void): boolean;
}

const TICK_MS = 100;
const REPORT_MS = 1_000;
/** How much of the event loop's lag is still believed a tick later. */
const LAG_KEPT = 0.5;

/** Opens the queues. While calls are refused, a log line a second says how many. */
export function createAdmission(limits: AdmissionLimits, log: Log): Admission {
  const queues = Object.fromEntries(
    Object.entries(limits.seats).map(([kind, seats]) => [kind, new AdmissionQueue({ ...limits, seats })]),
  ) as Record<CallKind, AdmissionQueue>;
  const pace = new RefusalPace(limits);
  const refused: Partial<Record<CallKind, number>> = {};
  let lagMs = 0;
  let tickedAt = 0;
  let reportedAt = Number.NEGATIVE_INFINITY;
  let ticks: NodeJS.Timeout | undefined;

  const tick = () => {
    const now = performance.now();
    lagMs = Math.max(now - tickedAt - TICK_MS, lagMs * LAG_KEPT);
    tickedAt = now;
    const kinds = Object.values(queues);
    for (const queue of kinds) {
      queue.freeSlowSeats();
      queue.refuseHopeless();
    }
    const waiting = kinds.reduce((sum, queue) => sum + queue.waitingCount, 0);
    if (waiting === 0) {
      clearInterval(ticks);
      ticks = undefined;
    }
    if (Object.keys(refused).length === 0 || (now - reportedAt < REPORT_MS && waiting > 0)) return;
    reportedAt = now;
    const loopDelayMs = Math.round(lagMs);
    log.warn({ refused: { ...refused }, waiting, held: pace.heldCount, loopDelayMs }, "Overloaded: calls were refused");
    for (const kind of Object.keys(refused)) delete refused[kind as CallKind];
  };
  const count = (kind: CallKind) => {
    refused[kind] = (refused[kind] ?? 0) + 1;
  };
  const startTicks = () => {
    lagMs = 0;
    tickedAt = performance.now();
    ticks = setInterval(tick, TICK_MS);
    ticks.unref();
  };

  return {
    ask(kind, applicant) {
      const queue = queues[kind];
      const refuse = (retryAfterMs: number | undefined) => {
        count(kind);
        applicant.refuse(retryAfterMs);
      };
      const start = (ticket: Ticket) => {
        pace.countServed();
        applicant.start(ticket);
      };
      const ticket = queue.ask({ ...applicant, start, refuse }, lagMs);
      if (ticks === undefined && queue.waitingCount > 0) startTicks();
      return ticket;
    },
    refusal(kind, client, deadline) {
      const waitMs = queues[kind].refusal(client, deadline, lagMs);
      if (waitMs !== undefined) count(kind);
      return waitMs;
    },
    sendRefusal: (client, deadline, refuse) => pace.send(client, deadline, refuse),
  };
}

/** Methods of quiver.v1, and the one of Pinecone's service. */
const SEARCHES: ReadonlySet<string> = new Set(["QueryVectors", "BatchQueryVectors", "MeasureRecall", "Query"]);
const ALWAYS_SERVED = "quiver.v1.AdminService";

/** Undefined: what runs the server (administration, health, reflection) is always served. */
export function kindOf({ parent, name, methodKind, idempotency }: DescMethod): CallKind | undefined {
  if (isPublic(parent.typeName) || parent.typeName === ALWAYS_SERVED) return undefined;
  if (methodKind !== "unary") return "stream";
  if (SEARCHES.has(name)) return "search";
  return idempotency === Idempotency.NO_SIDE_EFFECTS ? "read" : "write";
}
