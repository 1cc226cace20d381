import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { AuditLog } from "../audit-log.ts";
import type { QuiverError } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import type { Caller } from "../service/access/caller.ts";
import { nobody, type Origin } from "../service/access/callers.ts";
import { createServe } from "./answer-call.ts";
import type { TakeMemory } from "./answer-memory.ts";
import { apiKeyOf } from "./api-key-header.ts";
import { type CallPlan, type Calls, type CallsOptions, connectionOf, createCalls, requestIdOf } from "./calls.ts";
import { originOf } from "./client-address.ts";
import { applyCors } from "./cors.ts";
import { notImplemented, type RpcService } from "./define-service.ts";
import { createMethodRoutes, type Route } from "./method-routes.ts";
import { isPublic } from "./public-services.ts";
import { refuseQuickly, refuseStream } from "./quick-refusal.ts";
import { requestFormat } from "./request-format.ts";
import { DEFAULT_RPC_LIMITS, type RpcLimits } from "./rpc-limits.ts";

export interface RpcHandlerOptions extends Omit<CallsOptions, "limits"> {
  services: readonly RpcService[];
  /** Keeps who did what. Default: nothing does. */
  audit?: AuditLog | undefined;
  limits?: Partial<RpcLimits>;
  /** Who calls, by the api key that the call brings. What it throws is the answer, before the body is read. */
  identify(apiKey: string | undefined, origin: Origin): Caller;
  /** Is told of HTTP/2 connections whose calls bring valid credentials, for each call. Default: nobody is. */
  onLetIn?(connection: Http2Session): void;
  /** Why a request is refused, whoever calls and whatever it asks for. Default: none is. */
  refuse?(request: HttpRequest): QuiverError | undefined;
  /** Origins whose pages may call from a browser; `*` is every origin. Default none. */
  corsOrigins?: readonly string[];
  /** Is told what answers take of the process's memory. Default: nobody is. */
  takeMemory?: TakeMemory;
}

export interface RpcHandler {
  /** Answers a request if it is an RPC; false means that it is none and that nothing has been done. */
  (request: HttpRequest, response: HttpResponse): boolean;
  /** Refuses a gRPC call of the many that come under overload, as cheaply as possible. */
  turnAway(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean;
  /** What its calls share with those of other protocols. */
  readonly calls: Calls;
}

/** Serves gRPC, gRPC-Web and Connect, binary and JSON. */
export function createRpcHandler(options: RpcHandlerOptions): RpcHandler {
  const { log, takeMemory = () => undefined } = options;
  const limits: RpcLimits = { ...DEFAULT_RPC_LIMITS, ...options.limits };
  const corsOrigins = options.corsOrigins ?? [];
  const routes = createMethodRoutes(options.services, limits, options);
  const serve = createServe({ log, audit: options.audit, takeMemory });
  const calls = createCalls({ ...options, limits });

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

  const turnAway: RpcHandler["turnAway"] = (stream, headers) => {
    const { session } = stream;
    const type = headers["content-type"];
    if (session === undefined || type === undefined || !GRPC_TYPE.test(type) || headers[":method"] !== "POST")
      return false;
    const kind = routes.kindOf(headers[":path"] ?? "");
    if (kind === undefined || headers.origin !== undefined) return false;
    // What comes of its body while the refusal is held back is dropped.
    const client = { connection: session, headers, onHeld: () => stream.resume() };
    return calls.turnAway(kind, client, (retryAfterMs) =>
      refuseStream(stream, headers, retryAfterMs, requestIdOf(headers)),
    );
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
    const plan: CallPlan = {
      requestId,
      method,
      kind: route.kind,
      endsWithCaller: route.handler.method.methodKind !== "unary",
      caller,
      refusal: () => foreign ?? stranger ?? unknownMethod(route, method),
      openAnswer: (answers) => answers.open(route.handler.method),
      refuseQuickly: (retryAfterMs) => refuseQuickly(request, response, route.kind === "stream", retryAfterMs),
      serve: (call) => serve(route, request, response, call),
    };
    calls.run(plan, request, response);
    return true;
  };
  return Object.assign(answer, { turnAway, calls });
}

/** As a client of gRPC names it; who writes it otherwise is answered in the usual way. */
const GRPC_TYPE = /^application\/grpc(?:\+proto|\+json)?$/;

function isRpcPost({ method, headers }: HttpRequest): boolean {
  return method === "POST" && requestFormat(headers["content-type"]) !== undefined;
}

function unknownMethod({ known }: Route, method: string): QuiverError | undefined {
  return known ? undefined : notImplemented(method);
}
