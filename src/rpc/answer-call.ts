import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { QuiverError } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import { countAnswer, type TakeMemory } from "./answer-memory.ts";
import { type Call, type CallLogs, callKey } from "./call.ts";
import { discardRest } from "./discard-rest.ts";
import { toRequestError } from "./error.ts";
import { relaxGrpcMessage } from "./grpc-message.ts";
import type { Lease } from "./memory-budget.ts";
import type { Route } from "./method-routes.ts";
import { explainStatus, refusalResponse } from "./refusal.ts";
import { readRequestBody } from "./request-body.ts";
import { dropDistantDeadline, requestFormat } from "./request-format.ts";
import { createServeUnary } from "./unary.ts";

export interface ServeOptions extends CallLogs {
  /** Is told what answers take of the process's memory. */
  readonly takeMemory: TakeMemory;
}

/** Reads the request of a call, has its handler answer, and sends that. Rejects when it cannot be sent. */
export type Serve = (route: Route, request: HttpRequest, response: HttpResponse, call: Call) => Promise<void>;

export function createServe(options: ServeOptions): Serve {
  const { log, takeMemory } = options;
  const serveUnary = createServeUnary(options);

  const serve: Serve = async (...exchange) => {
    const left = await serveUnary(...exchange);
    if (left !== undefined) await serveByConnect(left, ...exchange);
  };

  const serveByConnect = async (source: AsyncIterable<Uint8Array>, ...exchange: Parameters<Serve>) => {
    const [, request, response, call] = exchange;
    const answer = await answerCall(source, ...exchange);
    const body = answer.body && countAnswer(finishBody(request, answer.body, answer.trailer), call.answer, takeMemory);
    if (body === undefined) return universalResponseToNodeResponse(answer, response);
    if (answer.trailer === undefined || request.httpVersionMajor < 2)
      return universalResponseToNodeResponse({ ...answer, body }, response);
    const first = body.next();
    const isEmpty = await first.then(
      ({ done }) => done === true,
      () => false,
    );
    if (isEmpty) sendTrailersOnly(response, answer);
    else await universalResponseToNodeResponse({ ...answer, body: resume(first, body) }, response);
  };

  const answerCall = async (
    source: AsyncIterable<Uint8Array>,
    ...[route, request, response, call]: Parameters<Serve>
  ) => {
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
    const answer = await route.handler({ ...universal, body: bodyOf(source, request, universal, route, call.lease) });
    if (answer.body !== undefined || answer.status < 400) return answer;
    const error = explainStatus(answer.status, universal.method, universal.header.get("content-type") ?? "");
    log.info({ requestId: call.requestId, method: call.method, status: answer.status }, error.rawMessage);
    return refusalResponse(answer.status, error, answer.header);
  };

  return serve;
}

/** Hands on the body of a response, and does what is left to do before its end is sent. */
async function* finishBody(request: HttpRequest, body: AsyncIterable<Uint8Array>, trailer: Headers | undefined) {
  yield* body;
  if (trailer !== undefined) relaxGrpcMessage(trailer);
  await discardRest(request);
}

async function* resume<T>(first: Promise<IteratorResult<T>>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  const { done, value } = await first;
  if (done) return;
  yield value;
  yield* rest;
}

/**
 * Sends the status of a gRPC call without messages as its only headers: clients try no call again, whatever its status, once
 * other headers have come. Not with writeHead(), after which the headers do not end the stream.
 */
function sendTrailersOnly(response: HttpResponse, { status, header, trailer }: UniversalServerResponse): void {
  response.statusCode = status;
  for (const [name, value] of [...(header ?? []), ...(trailer ?? [])]) response.setHeader(name, value);
  response.end();
}

/** How connect-node calls errors of connections that clients have closed. */
const CLIENT_LEFT: ReadonlySet<Code> = new Set([Code.Aborted, Code.Canceled]);

const CLOSED_WHILE_WRITING: ReadonlySet<unknown> = new Set(["ECANCELED", "ERR_HTTP2_STREAM_ERROR"]);

/** Whether a response could not be sent because its client has gone. */
export function isOfClientThatLeft(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  // What was being written when the connection broke or the stream was closed; connect-node does not know these codes.
  const wasWriting = CLOSED_WHILE_WRITING.has((error.cause as NodeJS.ErrnoException | undefined)?.code);
  return wasWriting || CLIENT_LEFT.has(error.code);
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
  source: AsyncIterable<Uint8Array>,
  request: HttpRequest,
  universal: UniversalServerRequest,
  { handler, limits, scanFields, scanJson }: Route,
  lease: Lease,
): AsyncIterable<Uint8Array> {
  const { header } = universal;
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
    check: (message) => (json ? scanJson : scanFields)(message, limits),
    reserve: lease.reserve,
    release: (bytes) => {
      if (!clientStreams(handler)) return;
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
