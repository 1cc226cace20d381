import type { DescMessage, DescMethod, Message } from "@bufbuild/protobuf";
import { createConnectRouter, type HandlerContext } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { compressionGzip } from "@connectrpc/connect-node";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import type { HttpRequest } from "../node-http.ts";
import { type CallKind, kindOf } from "./admission.ts";
import { type CallLogs, callKey, followCall } from "./call.ts";
import type { RpcService } from "./define-service.ts";
import type { ElementLimits } from "./element-count.ts";
import { detailRegistry, toConnectError } from "./error.ts";
import { createFloatWriter, withoutFloats } from "./float-bytes.ts";
import { guardCall } from "./interceptor.ts";
import { createJsonScan } from "./json-scan.ts";
import { isPublic } from "./public-services.ts";
import { requestFormat } from "./request-format.ts";
import { PUBLIC_BYTES_MAX, type RpcLimits, shorterMessages } from "./rpc-limits.ts";
import { createFieldScan } from "./wire-scan.ts";

/** How the calls of a method are served. */
export interface Route {
  readonly handler: UniversalHandler;
  /** Undefined: served without waiting. */
  readonly kind: CallKind | undefined;
  readonly known: boolean;
  /** Of its messages. */
  readonly limits: RpcLimits;
  readonly scanFields: MessageScan;
  readonly scanJson: MessageScan;
  /** As which type its binary requests are read. */
  readonly binaryInput: DescMessage;
  /** Applied to answers that are written as binary. */
  readonly writeFloats: ((answer: Answer) => Answer) | undefined;
  /** What answers its calls, when it has no streams. */
  readonly unary: UnaryHandler | undefined;
}

export type UnaryHandler = (request: Message, context: HandlerContext) => Answer | Promise<Answer>;
/** As the fields of a message, or that message. */
export type Answer = Record<string, unknown>;

/** How messages are read and written. */
export const BINARY_OPTIONS = { readUnknownFields: false };
/** A misspelt "filter" must not answer as if there were none. Binary requests of newer clients are read as far as known. */
export const JSON_OPTIONS = { ignoreUnknownFields: false, registry: detailRegistry };

/** Throws when a message must not be decoded. */
type MessageScan = (message: Uint8Array, limits: ElementLimits) => void;

/** Finds the handler of a path; undefined when the request is no RPC. */
export interface MethodRoutes {
  find(path: string, request: HttpRequest): Route | undefined;
  /** Undefined also for what is no RPC. */
  kindOf(path: string): CallKind | undefined;
}

/** Of services, whose calls are logged. */
export function createMethodRoutes(services: readonly RpcService[], limits: RpcLimits, logs: CallLogs): MethodRoutes {
  const requestGate = async (context: HandlerContext) => {
    const call = context.values.get(callKey);
    followCall(context, call, logs);
    if (call.refusal !== undefined) throw toConnectError(call.refusal, call.requestId);
  };
  const connectOptions = {
    requestGate,
    interceptors: [guardCall],
    // No brotli: at its default quality it takes seconds of CPU for a few megabytes.
    acceptCompression: [compressionGzip],
    // Only a backstop: bodies are read and checked before connect sees them.
    readMaxBytes: limits.maxJsonBytes,
    binaryOptions: BINARY_OPTIONS,
    jsonOptions: JSON_OPTIONS,
  };
  const router = createConnectRouter(connectOptions);
  for (const { service, implementation } of services) router.service(service, implementation);
  const unaryHandlers = unaryHandlersOf(services);
  const bytesMax = new Map(services.map(({ service, maxMessageBytes }) => [service, maxMessageBytes]));
  const known = new Map(
    router.handlers.map((handler) => {
      const unary = unaryHandlers.get(handler.method);
      const maxBytes = bytesMax.get(handler.method.parent);
      const own = maxBytes === undefined ? limits : shorterMessages(limits, maxBytes);
      return [handler.requestPath, { ...routeOf(handler, true, own), unary }];
    }),
  );

  // A method that no service has is refused in the dress of its protocol by one that exists.
  const [unary, stream] = createConnectRouter(connectOptions)
    .rpc(Health.method.check, () => ({}))
    .rpc(Health.method.watch, async function* () {})
    .handlers.map((handler) => routeOf(handler, false, limits));

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
function routeOf(handler: UniversalHandler, known: boolean, all: RpcLimits): Route {
  const { input, output, parent } = handler.method;
  const kind = known ? kindOf(handler.method) : undefined;
  const limits = isPublic(parent.typeName) ? shorterMessages(all, PUBLIC_BYTES_MAX) : all;
  const [scanFields, scanJson] = [createFieldScan(input), createJsonScan(input)];
  const [binaryInput, writeFloats] = [withoutFloats(input), createFloatWriter(output)];
  return { handler, kind, known, limits, scanFields, scanJson, binaryInput, writeFloats, unary: undefined };
}

function unaryHandlersOf(services: readonly RpcService[]): ReadonlyMap<DescMethod, UnaryHandler> {
  const handlers = new Map<DescMethod, UnaryHandler>();
  for (const { service, implementation } of services) {
    for (const method of service.methods) {
      const handler = implementation[method.localName];
      if (method.methodKind === "unary" && handler) handlers.set(method, handler as UnaryHandler);
    }
  }
  return handlers;
}
