import { randomUUID } from "node:crypto";
import type { Http2Session, IncomingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import { QuiverError, shuttingDown } from "../errors.ts";
import type { Log } from "../log.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import type { Caller } from "../service/access/caller.ts";
import { type AdmissionLimits, type CallKind, createAdmission, DEFAULT_ADMISSION_LIMITS } from "./admission.ts";
import { NO_TICKET, type Ticket } from "./admission-queue.ts";
import { isOfClientThatLeft } from "./answer-call.ts";
import { type AnswerMemory, createAnswerMemory } from "./answer-memory.ts";
import { type Call, NO_LEASE } from "./call.ts";
import { clientAddress } from "./client-address.ts";
import type { Lease } from "./memory-budget.ts";
import { overloaded, retryDelay } from "./quick-refusal.ts";
import { shortenDeadline, timeoutOf } from "./request-format.ts";
import { createRequestBudget, type RpcLimits } from "./rpc-limits.ts";

/** Characters of the place of a call: names come as they were sent, before anybody has looked at them. */
const PLACE_LENGTH_MAX = 255;

export interface CallsOptions {
  readonly log: Log;
  readonly limits: RpcLimits;
  /** How many calls are served at a time, and how many wait. */
  readonly admission?: Partial<AdmissionLimits>;
  /** Whose call it is: under load, clients take turns. Default: by address. */
  clientOf?(connection: Connection, headers: IncomingHttpHeaders): string;
  /** Keeps what runs, for the case of a crash, until the returned function is called. Default: nowhere. */
  noteCall?(text: string): () => void;
  /** Aborted when the server shuts down. */
  readonly shutdown?: AbortSignal;
  /** Aborted when calls still in flight must end: they are answered with SHUTTING_DOWN. */
  readonly end?: AbortSignal;
  /** Whether the process may hold so many bytes more; else large requests are refused. Default: always. */
  hasRoomFor?(bytes: number): boolean;
}

export type Connection = Http2Session | Socket;

/** A call whose headers have come, and how it is served. */
export interface CallPlan {
  readonly requestId: string;
  /** As logs name it. */
  readonly method: string;
  /** Undefined: served without waiting. */
  readonly kind: CallKind | undefined;
  /** Whether it ends when its caller's credentials do; other calls end soon by themselves. */
  readonly endsWithCaller: boolean;
  readonly caller: Caller;
  /** Why it is refused before its body is read. */
  refusal(): QuiverError | undefined;
  /** What its answer may take. Throws MEMORY_FULL. */
  openAnswer(answers: AnswerMemory): Lease;
  /** Refuses it under overload with as little work as possible; false: it is odd, and nothing has been done. */
  refuseQuickly(retryAfterMs: number): boolean;
  /** Reads its request, answers it, and sends that. Rejects when it cannot be sent. */
  serve(call: Call): Promise<void>;
}

/** What the calls of all protocols share: turns, memory, and an end. */
export interface Calls {
  /** Serves a call when it has its turn, or refuses it. */
  run(plan: CallPlan, request: HttpRequest, response: HttpResponse): void;
  /** Refuses a call of which only the headers are there, when there is no turn for it soon; false: nothing has been done. */
  turnAway(kind: CallKind, client: HeldClient, refuse: (retryAfterMs: number) => void): boolean;
}

/** Whose refusal may be held back, and what becomes of the body that comes meanwhile. */
export interface HeldClient {
  readonly connection: Connection;
  readonly headers: IncomingHttpHeaders;
  onHeld(): void;
}

export function createCalls(options: CallsOptions): Calls {
  const { log, limits, clientOf = clientAddress, noteCall = () => () => {} } = options;
  const shutdown = options.shutdown ?? new AbortController().signal;
  const requests = createRequestBudget(limits, options.hasRoomFor ?? (() => true));
  const answers = createAnswerMemory(limits.maxAnswerBytes);
  const admission = createAdmission({ ...DEFAULT_ADMISSION_LIMITS, ...options.admission }, log);

  // Each ends one call.
  const cuts = new Set<() => void>();
  options.end?.addEventListener("abort", () => {
    for (const cut of cuts) cut();
  });

  const admit = (plan: CallPlan, kind: CallKind, request: HttpRequest, response: HttpResponse) => {
    const askedAt = performance.now();
    const timeoutMs = timeoutOf(request.headers);
    const client = clientOf(connectionOf(request), request.headers);
    const deadline = askedAt + timeoutMs;
    let hasLeft = false;
    const waiting = admission.ask(kind, {
      client,
      deadline,
      isReceiving: () => !request.complete,
      start(ticket) {
        if (timeoutMs < Number.POSITIVE_INFINITY)
          shortenDeadline(request.headers, askedAt + timeoutMs - performance.now());
        begin(plan, request, response, ticket);
      },
      refuse(waitMs) {
        if (waitMs === undefined) return begin(plan, request, response, NO_TICKET, DEADLINE_PASSED);
        const isSent = admission.sendRefusal(client, deadline, () => {
          if (hasLeft) return;
          const retryAfterMs = retryDelay(waitMs);
          if (plan.refuseQuickly(retryAfterMs)) return;
          begin(plan, request, response, NO_TICKET, overloaded(retryAfterMs));
        });
        if (!isSent) request.resume();
      },
    });
    response.once("close", () => {
      hasLeft = true;
      waiting.end();
    });
  };

  const refusalNow = ({ caller, refusal }: CallPlan) => {
    if (options.end?.aborted) return shuttingDown();
    if (caller.signal.aborted) return caller.signal.reason as QuiverError;
    return refusal();
  };

  const begin = (
    plan: CallPlan,
    request: HttpRequest,
    response: HttpResponse,
    ticket: Ticket,
    refused = refusalNow(plan),
  ) => {
    const { requestId, method, caller } = plan;
    const lease = requests.open();
    const [answer, refusal] = openAnswer(plan, answers, refused);
    let isOver = false;
    let endNote = () => {};
    const cut = () => end(shuttingDown());
    const revoke = () => end(caller.signal.reason as QuiverError);
    response.once("close", () => {
      isOver = true;
      cuts.delete(cut);
      caller.signal.removeEventListener("abort", revoke);
      endNote();
      lease.close();
      answer.close();
      ticket.end();
    });
    const call: Call = {
      requestId,
      method,
      headers: request.headers,
      caller,
      shutdown,
      startedAt: performance.now(),
      stage: "request",
      lease,
      answer,
      refusal,
      ticket,
      place: "-",
      note(place) {
        call.place = place.slice(0, PLACE_LENGTH_MAX);
        endNote();
        if (!isOver) endNote = noteCall(`${method} ${call.place} ${requestId}`);
      },
      cut() {},
    };
    const end = (reason: QuiverError) => {
      // Whoever waits for the rest of the request learns of it so; to destroy it would take the answer with it.
      if (!request.complete) request.emit("error", reason);
      call.cut(reason);
    };
    cuts.add(cut);
    if (plan.endsWithCaller) caller.signal.addEventListener("abort", revoke);
    plan.serve(call).catch((error: unknown) => {
      const level = isOfClientThatLeft(error) ? "debug" : "error";
      log[level]({ requestId, method, err: error }, "Response could not be sent");
      response.destroy();
    });
  };

  return {
    run(plan, request, response) {
      if (plan.kind === undefined) begin(plan, request, response, NO_TICKET);
      else admit(plan, plan.kind, request, response);
    },
    turnAway(kind, { connection, headers, onHeld }, refuse) {
      const client = clientOf(connection, headers);
      const deadline = performance.now() + timeoutOf(headers);
      const waitMs = admission.refusal(kind, client, deadline);
      if (waitMs === undefined) return false;
      if (!admission.sendRefusal(client, deadline, () => refuse(retryDelay(waitMs)))) onHeld();
      return true;
    },
  };
}

export function connectionOf(request: HttpRequest): Connection {
  return ("stream" in request && request.stream.session) || request.socket;
}

/** Room for the answer of a call, or why the call is refused before its body is read. */
function openAnswer(plan: CallPlan, answers: AnswerMemory, refused: QuiverError | undefined) {
  if (refused) return [NO_LEASE, refused] as const;
  try {
    return [plan.openAnswer(answers), undefined] as const;
  } catch (error) {
    return [NO_LEASE, error as QuiverError] as const;
  }
}

const DEADLINE_PASSED = new QuiverError("DEADLINE_EXCEEDED", "The deadline passed while the call waited for its turn");

const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** As the client names it, or a new one. */
export function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
}
