import { randomUUID } from "node:crypto";
import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { AuditLog } from "../audit-log.ts";
import { QuiverError, shuttingDown } from "../errors.ts";
import type { Log } from "../log.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import type { Caller } from "../service/access/caller.ts";
import { nobody, type Origin } from "../service/access/callers.ts";
import { type AdmissionLimits, type CallKind, createAdmission, DEFAULT_ADMISSION_LIMITS } from "./admission.ts";
import { NO_TICKET, type Ticket } from "./admission-queue.ts";
import { createServe, isOfClientThatLeft } from "./answer-call.ts";
import { type AnswerMemory, createAnswerMemory, type TakeMemory } from "./answer-memory.ts";
import { apiKeyOf } from "./api-key-header.ts";
import { type Call, NO_LEASE } from "./call.ts";
import { clientAddress, originOf } from "./client-address.ts";
import { applyCors } from "./cors.ts";
import { notImplemented, type RpcService } from "./define-service.ts";
import { createMethodRoutes, type Route } from "./method-routes.ts";
import { isPublic } from "./public-services.ts";
import { overloaded, refuseQuickly, refuseStream, retryDelay } from "./quick-refusal.ts";
import { requestFormat, shortenDeadline, timeoutOf } from "./request-format.ts";
import { createRequestBudget, DEFAULT_RPC_LIMITS, type RpcLimits } from "./rpc-limits.ts";

export interface RpcHandlerOptions {
  services: readonly RpcService[];
  log: Log;
  /** Keeps who did what. Default: nothing does. */
  audit?: AuditLog | undefined;
  limits?: Partial<RpcLimits>;
  /** How many calls are served at a time, and how many wait. */
  admission?: Partial<AdmissionLimits>;
  /** Whose call it is: under load, clients take turns. Default: by address. */
  clientOf?(connection: Connection, headers: IncomingHttpHeaders): string;
  /** Keeps what runs, for the case of a crash, until the returned function is called. Default: nowhere. */
  noteCall?(text: string): () => void;
  /** Who calls, by the api key that the call brings. What it throws is the answer, before the body is read. */
  identify(apiKey: string | undefined, origin: Origin): Caller;
  /** Is told of HTTP/2 connections whose calls bring valid credentials, for each call. Default: nobody is. */
  onLetIn?(connection: Http2Session): void;
  /** Why a request is refused, whoever calls and whatever it asks for. Default: none is. */
  refuse?(request: HttpRequest): QuiverError | undefined;
  /** Origins whose pages may call from a browser; `*` is every origin. Default none. */
  corsOrigins?: readonly string[];
  /** Aborted when the server shuts down. */
  shutdown?: AbortSignal;
  /** Aborted when calls still in flight must end: they are answered with SHUTTING_DOWN. */
  end?: AbortSignal;
  /** Whether the process may hold so many bytes more; else large requests are refused. Default: always. */
  hasRoomFor?(bytes: number): boolean;
  /** Is told what answers take of the process's memory. Default: nobody is. */
  takeMemory?: TakeMemory;
}

type Connection = Http2Session | Socket;

export interface RpcHandler {
  /** Answers a request if it is an RPC; false means that it is none and that nothing has been done. */
  (request: HttpRequest, response: HttpResponse): boolean;
  /** Refuses a gRPC call of the many that come under overload, as cheaply as possible. */
  turnAway(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean;
}

/** Serves gRPC, gRPC-Web and Connect, binary and JSON. */
export function createRpcHandler(options: RpcHandlerOptions): RpcHandler {
  const { log, clientOf = clientAddress, noteCall = () => () => {}, takeMemory = () => undefined } = options;
  const limits: RpcLimits = { ...DEFAULT_RPC_LIMITS, ...options.limits };
  const corsOrigins = options.corsOrigins ?? [];
  const shutdown = options.shutdown ?? new AbortController().signal;
  const requests = createRequestBudget(limits, options.hasRoomFor ?? (() => true));
  const answers = createAnswerMemory(limits.maxAnswerBytes);
  const routes = createMethodRoutes(options.services, limits, options);
  const serve = createServe({ log, audit: options.audit, takeMemory });
  const admission = createAdmission({ ...DEFAULT_ADMISSION_LIMITS, ...options.admission }, log);

  const admit = (kind: CallKind, request: HttpRequest, response: HttpResponse, begin: Begin) => {
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
        begin(ticket);
      },
      refuse(waitMs) {
        if (waitMs === undefined) return begin(NO_TICKET, DEADLINE_PASSED);
        const isSent = admission.sendRefusal(client, deadline, () => {
          if (hasLeft) return;
          const retryAfterMs = retryDelay(waitMs);
          if (refuseQuickly(request, response, kind === "stream", retryAfterMs)) return;
          begin(NO_TICKET, overloaded(retryAfterMs));
        });
        if (!isSent) request.resume();
      },
    });
    response.once("close", () => {
      hasLeft = true;
      waiting.end();
    });
  };

  const identify = ({ handler }: Route, request: HttpRequest) => {
    const origin = originOf(connectionOf(request));
    try {
      const caller = options.identify(apiKeyOf(request.headers), origin);
      if ("stream" in request && request.stream.session) options.onLetIn?.(request.stream.session);
      return { caller, stranger: undefined };
    } catch (error) {
      const stranger = isPublic(handler.method.parent.typeName) ? undefined : (error as QuiverError);
      return { caller: nobody(origin), stranger };
    }
  };

  // Each ends one call.
  const cuts = new Set<() => void>();
  options.end?.addEventListener("abort", () => {
    for (const cut of cuts) cut();
  });

  const turnAway: RpcHandler["turnAway"] = (stream, headers) => {
    const { session } = stream;
    const type = headers["content-type"];
    if (session === undefined || type === undefined || !GRPC_TYPE.test(type) || headers[":method"] !== "POST")
      return false;
    const kind = routes.kindOf(headers[":path"] ?? "");
    if (kind === undefined || headers.origin !== undefined) return false;
    const client = clientOf(session, headers);
    const deadline = performance.now() + timeoutOf(headers);
    const waitMs = admission.refusal(kind, client, deadline);
    if (waitMs === undefined) return false;
    const isSent = admission.sendRefusal(client, deadline, () =>
      refuseStream(stream, headers, retryDelay(waitMs), requestIdOf(headers)),
    );
    // What comes of its body meanwhile is dropped.
    if (!isSent) stream.resume();
    return true;
  };

  const answer = (request: HttpRequest, response: HttpResponse) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    const route = routes.find(path, request);
    if (route === undefined) return false;
    const foreign = options.refuse?.(request);
    // In no protocol that a refusal could be dressed for: it is refused with the plain paths.
    if (foreign !== undefined && !isRpcPost(request)) return false;
    if (applyCors(corsOrigins, request, response)) return true;

    const requestId = requestIdOf(request.headers);
    response.setHeader("x-request-id", requestId);
    const method = path.slice(1);
    const { caller, stranger } = identify(route, request);
    const refusalNow = () => {
      if (options.end?.aborted) return shuttingDown();
      if (caller.signal.aborted) return caller.signal.reason as QuiverError;
      return foreign ?? stranger ?? unknownMethod(route, method);
    };
    const begin = (ticket: Ticket, refused = refusalNow()) => {
      const lease = requests.open();
      const [answer, refusal] = openAnswer(route, answers, refused);
      let isOver = false;
      let endNote = () => {};
      const cut = () => end(shuttingDown());
      const revoke = () => end(caller.signal.reason as QuiverError);
      const note = (place: string) => {
        call.place = place;
        endNote();
        if (!isOver) endNote = noteCall(`${method} ${place} ${requestId}`);
      };
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
        caller,
        shutdown,
        startedAt: performance.now(),
        stage: "request",
        lease,
        answer,
        refusal,
        ticket,
        place: "-",
        note,
        cut() {},
      };
      const end = (reason: QuiverError) => {
        // Whoever waits for the rest of the request learns of it so; to destroy it would take the answer with it.
        if (!request.complete) request.emit("error", reason);
        call.cut(reason);
      };
      cuts.add(cut);
      // Other calls end soon by themselves.
      if (route.handler.method.methodKind !== "unary") caller.signal.addEventListener("abort", revoke);
      serve(route, request, response, call).catch((error: unknown) => {
        const level = isOfClientThatLeft(error) ? "debug" : "error";
        log[level]({ requestId, method, err: error }, "Response could not be sent");
        response.destroy();
      });
    };
    if (route.kind === undefined) begin(NO_TICKET);
    else admit(route.kind, request, response, begin);
    return true;
  };
  return Object.assign(answer, { turnAway });
}

/** As a client of gRPC names it; who writes it otherwise is answered in the usual way. */
const GRPC_TYPE = /^application\/grpc(?:\+proto|\+json)?$/;

function isRpcPost({ method, headers }: HttpRequest): boolean {
  return method === "POST" && requestFormat(headers["content-type"]) !== undefined;
}

function connectionOf(request: HttpRequest): Connection {
  return ("stream" in request && request.stream.session) || request.socket;
}

function unknownMethod({ known }: Route, method: string): QuiverError | undefined {
  return known ? undefined : notImplemented(method);
}

/** Room for the answer of a call, or why the call is refused before its body is read. */
function openAnswer({ handler }: Route, answers: AnswerMemory, refused: QuiverError | undefined) {
  if (refused) return [NO_LEASE, refused] as const;
  try {
    return [answers.open(handler.method), undefined] as const;
  } catch (error) {
    return [NO_LEASE, error as QuiverError] as const;
  }
}

/** Serves a call that has its turn, or refuses it in the dress of its protocol. */
type Begin = (ticket: Ticket, refusal?: QuiverError) => void;

const DEADLINE_PASSED = new QuiverError("DEADLINE_EXCEEDED", "The deadline passed while the call waited for its turn");

const REQUEST_ID = /^[\w.:-]{1,128}$/;

function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
}
