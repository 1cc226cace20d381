import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type {
  Http2ServerRequest,
  Http2ServerResponse,
  Http2Session,
  IncomingHttpHeaders,
  ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createConnectRouter, createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import type { AuditLog } from "../audit-log.ts";
import { QuiverError, shuttingDown } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Caller } from "../service/access/caller.ts";
import { nobody, type Origin } from "../service/access/callers.ts";
import { LIMITS } from "../service/limits.ts";
import { type AdmissionLimits, type CallKind, createAdmission, DEFAULT_ADMISSION_LIMITS, kindOf } from "./admission.ts";
import { NO_TICKET, type Ticket } from "./admission-queue.ts";
import { type AnswerMemory, countAnswer, createAnswerMemory, type TakeMemory } from "./answer-memory.ts";
import { apiKeyOf } from "./api-key-header.ts";
import { type Call, callKey, followCall, NO_LEASE } from "./call.ts";
import { clientAddress, originOf } from "./client-address.ts";
import { applyCors } from "./cors.ts";
import { notImplemented, type RpcService } from "./define-service.ts";
import { discardRest } from "./discard-rest.ts";
import type { ElementLimits } from "./element-count.ts";
import { detailRegistry, toConnectError, toRequestError } from "./error.ts";
import { relaxGrpcMessage } from "./grpc-message.ts";
import { guardCall } from "./interceptor.ts";
import { createJsonScan } from "./json-scan.ts";
import { createMemoryBudget, type Lease } from "./memory-budget.ts";
import { isPublic } from "./public-services.ts";
import { overloaded, refuseQuickly, refuseStream, retryDelay } from "./quick-refusal.ts";
import { explainStatus, refusalResponse } from "./refusal.ts";
import { readRequestBody } from "./request-body.ts";
import { dropDistantDeadline, requestFormat, shortenDeadline, timeoutOf } from "./request-format.ts";
import { createFieldScan } from "./wire-scan.ts";

export interface RpcLimits {
  /** The largest binary message, after decompression, in bytes. Default 20 MiB. */
  maxMessageBytes: number;
  /** The largest JSON message in bytes: numbers take up to five times their binary size as text. Default 100 MiB. */
  maxJsonBytes: number;
  /**
   * The most fields, elements and map entries in one message, at every depth; a list of numbers counts once. Default
   * 211,000: the largest put has 1,000 vectors of 210 fields, 200 of them for 50 metadata keys.
   */
  maxFields: number;
  /** The most numbers in all lists of numbers of one message. Default 5,242,880: what 20 MiB of float32 hold. */
  maxNumbers: number;
  /** The most bytes of unfinished requests in memory, over all connections. Default 512 MiB. */
  maxBufferedBytes: number;
  /** Bytes of answers in memory, over all connections, above which calls are refused. Default 512 MiB. */
  maxAnswerBytes: number;
}

export const DEFAULT_RPC_LIMITS: Readonly<RpcLimits> = Object.freeze({
  maxMessageBytes: LIMITS.requestBytesMax,
  maxJsonBytes: 5 * LIMITS.requestBytesMax,
  maxFields: 211_000,
  maxNumbers: LIMITS.requestBytesMax / Float32Array.BYTES_PER_ELEMENT,
  maxBufferedBytes: 512 * 1024 * 1024,
  maxAnswerBytes: 512 * 1024 * 1024,
});

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
  /** Why a request is refused, whoever calls and whatever it asks for. Default: none is. */
  refuse?(request: Request): QuiverError | undefined;
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

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

type Connection = Http2Session | Socket;

export interface RpcHandler {
  /** Answers a request if it is an RPC; false means that it is none and that nothing has been done. */
  (request: Request, response: Response): boolean;
  /** Refuses a gRPC call of the many that come under overload, as cheaply as possible. */
  turnAway(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean;
}

/** Serves gRPC, gRPC-Web and Connect, binary and JSON. */
export function createRpcHandler(options: RpcHandlerOptions): RpcHandler {
  const { log, clientOf = clientAddress, noteCall = () => () => {}, takeMemory = () => undefined } = options;
  const limits: RpcLimits = { ...DEFAULT_RPC_LIMITS, ...options.limits };
  const corsOrigins = options.corsOrigins ?? [];
  const shutdown = options.shutdown ?? new AbortController().signal;
  const requests = createRequestBudget({ ...options, limits });
  const answers = createAnswerMemory(limits.maxAnswerBytes);
  const routes = createRoutes(options, limits);
  const admission = createAdmission({ ...DEFAULT_ADMISSION_LIMITS, ...options.admission }, log);

  const serve = async (route: Route, request: Request, response: Response, call: Call, lease: Lease) => {
    const answer = await answerCall(route, request, response, call, lease);
    const body = answer.body && countAnswer(finishBody(request, answer.body, answer.trailer), call.answer, takeMemory);
    await universalResponseToNodeResponse(body === undefined ? answer : { ...answer, body }, response);
  };

  const answerCall = async (route: Route, request: Request, response: Response, call: Call, lease: Lease) => {
    let universal: UniversalServerRequest;
    try {
      const contextValues = createContextValues().set(callKey, call);
      universal = universalRequestFromNodeRequest(request, response, undefined, contextValues);
      assertQuery(universal);
    } catch (error) {
      log.info({ requestId: call.requestId, method: call.method, err: error }, "Request refused");
      return refusalResponse(400, toRequestError(error));
    }
    dropDistantDeadline(universal.header);
    const answer = await route.handler({ ...universal, body: bodyOf(request, universal, route, limits, lease) });
    if (answer.body !== undefined || answer.status < 400) return answer;
    const error = explainStatus(answer.status, universal.method, universal.header.get("content-type") ?? "");
    log.info({ requestId: call.requestId, method: call.method, status: answer.status }, error.rawMessage);
    return refusalResponse(answer.status, error, answer.header);
  };

  const admit = (kind: CallKind, request: Request, response: Response, begin: Begin) => {
    const askedAt = performance.now();
    const timeoutMs = timeoutOf(request.headers);
    const client = clientOf(connectionOf(request), request.headers);
    const deadline = askedAt + timeoutMs;
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
          if (response.closed) return;
          const retryAfterMs = retryDelay(waitMs);
          if (refuseQuickly(request, response, kind === "stream", retryAfterMs)) return;
          begin(NO_TICKET, overloaded(retryAfterMs));
        });
        if (!isSent) request.resume();
      },
    });
    if (waiting !== NO_TICKET) response.once("close", waiting.end);
  };

  const identify = ({ handler }: Route, request: Request) => {
    const origin = originOf(connectionOf(request));
    try {
      return { caller: options.identify(apiKeyOf(request.headers), origin), stranger: undefined };
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

  const answer = (request: Request, response: Response) => {
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
      serve(route, request, response, call, lease).catch((error: unknown) => {
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

function isRpcPost({ method, headers }: Request): boolean {
  return method === "POST" && requestFormat(headers["content-type"]) !== undefined;
}

function connectionOf(request: Request): Connection {
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

/** Bytes that a byte of a request takes at most, once it is decoded and on its way to the store. */
const REQUEST_TIMES = 4;
/** The share of the requests' budget that stays for small requests, such as deletes, when memory is full. */
const SMALL_SHARE = 1 / 8;

function createRequestBudget({
  limits,
  hasRoomFor = () => true,
}: Pick<RpcHandlerOptions, "hasRoomFor"> & { limits: RpcLimits }) {
  return createMemoryBudget({
    what: "Requests in progress",
    maxBytes: limits.maxBufferedBytes,
    alwaysBytes: limits.maxBufferedBytes * SMALL_SHARE,
    hasRoomFor: (bytes) => hasRoomFor(REQUEST_TIMES * bytes),
  });
}

/** Hands on the body of a response, and does what is left to do before its end is sent. */
async function* finishBody(request: Request, body: AsyncIterable<Uint8Array>, trailer: Headers | undefined) {
  yield* body;
  if (trailer !== undefined) relaxGrpcMessage(trailer);
  await discardRest(request);
}

/** Serves a call that has its turn, or refuses it in the dress of its protocol. */
type Begin = (ticket: Ticket, refusal?: QuiverError) => void;

const DEADLINE_PASSED = new QuiverError("DEADLINE_EXCEEDED", "The deadline passed while the call waited for its turn");

interface Route {
  readonly handler: UniversalHandler;
  /** Undefined: served without waiting. */
  readonly kind: CallKind | undefined;
  readonly known: boolean;
  readonly scanFields: MessageScan;
  readonly scanJson: MessageScan;
}

/** Throws when a message must not be decoded. */
type MessageScan = (message: Uint8Array, limits: ElementLimits) => void;

/** Finds the handler of a path; undefined when the request is no RPC. */
interface Routes {
  find(path: string, request: Request): Route | undefined;
  /** Undefined also for what is no RPC. */
  kindOf(path: string): CallKind | undefined;
}

function createRoutes(options: RpcHandlerOptions, limits: RpcLimits): Routes {
  const requestGate = async (context: HandlerContext) => {
    const call = context.values.get(callKey);
    followCall(context, call, options);
    if (call.refusal !== undefined) throw toConnectError(call.refusal, call.requestId);
  };
  const connectOptions = {
    requestGate,
    interceptors: [guardCall],
    // No brotli: at its default quality it takes seconds of CPU for a few megabytes.
    acceptCompression: [compressionGzip],
    // Only a backstop: bodies are read and checked before connect sees them.
    readMaxBytes: limits.maxJsonBytes,
    binaryOptions: { readUnknownFields: false },
    // A misspelt "filter" must not answer as if there were none. Binary requests of newer clients are read as far as known.
    jsonOptions: { ignoreUnknownFields: false, registry: detailRegistry },
  };
  const router = createConnectRouter(connectOptions);
  for (const { service, implementation } of options.services) router.service(service, implementation);
  const known = new Map(router.handlers.map((handler) => [handler.requestPath, routeOf(handler, true)]));

  // A method that no service has is refused in the dress of its protocol by one that exists.
  const [unary, stream] = createConnectRouter(connectOptions)
    .rpc(Health.method.check, () => ({}))
    .rpc(Health.method.watch, async function* () {})
    .handlers.map((handler) => routeOf(handler, false));

  return {
    kindOf: (path) => known.get(path)?.kind,
    find(path, request) {
      const route = known.get(path);
      if (route !== undefined || request.method !== "POST") return route;
      const format = requestFormat(request.headers["content-type"]);
      const plainJson = format === undefined || (format.json && !format.enveloped);
      if (plainJson && !RPC_PATH.test(path)) return undefined;
      return format?.encodingHeader === "connect-content-encoding" ? stream : unary;
    },
  };
}

/** `/package.Service/Method`. */
const RPC_PATH = /^\/\w+(?:\.\w+)+\/\w+$/;
/** How connect-node calls errors of connections that clients have closed. */
const CLIENT_LEFT: ReadonlySet<Code> = new Set([Code.Aborted, Code.Canceled]);

function isOfClientThatLeft(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  // What was being written when the connection broke; connect-node does not know this code.
  const wasWriting = (error.cause as NodeJS.ErrnoException | undefined)?.code === "ECANCELED";
  return wasWriting || CLIENT_LEFT.has(error.code);
}
const REQUEST_ID = /^[\w.:-]{1,128}$/;

function routeOf(handler: UniversalHandler, known: boolean): Route {
  const { input } = handler.method;
  const kind = known ? kindOf(handler.method) : undefined;
  return { handler, kind, known, scanFields: createFieldScan(input), scanJson: createJsonScan(input) };
}

function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Throws MALFORMED_REQUEST for a GET that connect would not bound, or would answer with INTERNAL. */
function assertQuery(request: UniversalServerRequest): void {
  if (request.method !== "GET") return;
  const query = new URL(request.url).searchParams;
  // A URL is short by itself; unzipped, 16 KB of one become 16 MB that no scan has seen.
  if ((query.get("compression") ?? "identity") !== "identity") {
    throw new QuiverError("MALFORMED_REQUEST", 'Query parameter "compression" must be absent: a GET is not compressed');
  }
  if (query.get("base64") !== "1") return;
  try {
    base64Decode(query.get("message") ?? "");
  } catch (error) {
    throw new QuiverError("MALFORMED_REQUEST", 'Query parameter "message" is not valid base64', { cause: error });
  }
}

function bodyOf(
  request: Request,
  universal: UniversalServerRequest,
  route: Route,
  limits: RpcLimits,
  lease: Lease,
): AsyncIterable<Uint8Array> {
  const { header } = universal;
  // Connect's own iterator destroys the connection when a body is refused midway, and the answer with it.
  const source: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
  const format = requestFormat(header.get("content-type"));
  if (format === undefined) return source;
  const encoding = header.get(format.encodingHeader) ?? "identity";
  if (encoding !== "identity" && encoding !== "gzip") return source;

  const { json, enveloped } = format;
  const length = header.get("content-length");
  if (!enveloped) {
    // The body reaches connect decompressed.
    header.delete(format.encodingHeader);
    header.delete("content-length");
  }
  return readRequestBody(source, length === null ? undefined : Number(length), {
    enveloped,
    json,
    gzip: encoding === "gzip",
    maxBytes: json ? limits.maxJsonBytes : limits.maxMessageBytes,
    check: (message) => (json ? route.scanJson : route.scanFields)(message, limits),
    reserve: lease.reserve,
    release: (bytes) => {
      if (!clientStreams(route.handler)) return;
      lease.release(bytes);
      // The time that the port gives a request's body starts anew.
      request.emit("progress");
    },
  });
}

/** Whether a call may bring messages without end, so that each is given back when the next is asked for. */
function clientStreams({ method }: UniversalHandler): boolean {
  return method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
}
