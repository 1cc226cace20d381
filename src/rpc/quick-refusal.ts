import type { ServerResponse } from "node:http";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import {
  codeToHttpStatus,
  endStreamFlag,
  endStreamToJson,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { QuiverError } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import { discardRest } from "./discard-rest.ts";
import { envelope } from "./envelope.ts";
import { toConnectError } from "./error.ts";
import { relaxGrpcMessage } from "./grpc-message.ts";
import { requestFormat } from "./request-format.ts";

/** What is sent of one error, by protocol. */
interface Dress {
  readonly grpcHeaders: Readonly<Record<string, string>>;
  /** Names and values in turns, which Node sends with less work. */
  readonly grpcHeaderList: readonly string[];
  readonly grpcWebBody: Buffer;
  readonly connectStatus: number;
  readonly connectBody: Buffer;
  readonly connectStreamBody: Buffer;
}

/** Delays are multiples of this, so that few errors need to be encoded. */
const DELAY_STEP_MS = 50;
const DELAY_MIN_MS = 200;
const DELAY_MAX_MS = 5_000;
const dresses = new Map<number, Dress>();

/** The delay of RetryInfo: twice the expected wait, spread at random so that clients do not come back together. */
export function retryDelay(waitMs: number): number {
  const middle = Math.min(DELAY_MAX_MS, Math.max(DELAY_MIN_MS, 2 * waitMs));
  return Math.ceil((middle * (0.5 + Math.random())) / DELAY_STEP_MS) * DELAY_STEP_MS;
}

export function overloaded(retryAfterMs: number): QuiverError {
  const message = "The server has more calls than it can serve soon: try again after the delay in RetryInfo";
  return new QuiverError("OVERLOADED", message, { retryAfterMs });
}

/**
 * Answers with OVERLOADED without the work of connect, in bytes that are made once per delay: a server that refuses four
 * of five calls must not spend its time on that. False: the request is odd, and nothing has been done.
 */
export function refuseQuickly(
  request: HttpRequest,
  response: HttpResponse,
  isStream: boolean,
  retryAfterMs: number,
): boolean {
  const type = request.headers["content-type"];
  const format = requestFormat(type);
  if (request.method === "GET") {
    if (isStream) return false;
  } else if (format === undefined || (!format.enveloped && isStream)) return false;
  const dress = dressOf(retryAfterMs);
  if (format === undefined || !format.enveloped) {
    send(request, response, { status: dress.connectStatus, type: "application/json", body: dress.connectBody });
  } else if (format.encodingHeader === "connect-content-encoding") {
    if (!isStream) return false;
    send(request, response, { status: 200, type, body: dress.connectStreamBody });
  } else if (/^application\/grpc-web/i.test(type ?? "")) {
    send(request, response, { status: 200, type, body: dress.grpcWebBody });
  } else {
    if (request.httpVersionMajor < 2) return false;
    send(request, response, { status: 200, type, headers: dress.grpcHeaders });
  }
  return true;
}

/** The same for a gRPC call over HTTP/2 of which there is no request yet. */
export function refuseStream(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  retryAfterMs: number,
  requestId: string,
): void {
  if (stream.closed) return;
  const { grpcHeaderList } = dressOf(retryAfterMs);
  const own = [":status", "200", "content-type", headers["content-type"] ?? "", "x-request-id", requestId];
  // Without a reader, Node drops what comes of the body, and resets a stream of which more would come.
  stream.respond(own.concat(grpcHeaderList), END_STREAM);
  if (stream.readableFlowing && !stream.readableEnded) stream.close();
}

const END_STREAM = { endStream: true, sendDate: false };

interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

function send(request: HttpRequest, response: HttpResponse, { status, type, headers, body }: Answer): void {
  response.statusCode = status;
  if (type !== undefined) response.setHeader("content-type", type);
  for (const name in headers) response.setHeader(name, headers[name] ?? "");
  if (body !== undefined) response.setHeader("content-length", body.length);
  if (request.httpVersionMajor === 1) {
    if (body !== undefined) (response as ServerResponse).write(body);
    void discardRest(request).then(() => response.end());
    return;
  }
  // Not write() before: without a body, the headers then end the stream, which is how gRPC wants it.
  if (body === undefined) response.end();
  else (response as ServerResponse).end(body);
  void discardRest(request);
}

function dressOf(retryAfterMs: number): Dress {
  const known = dresses.get(retryAfterMs);
  if (known !== undefined) return known;
  const error = toConnectError(overloaded(retryAfterMs), "");
  const dress = makeDress(error);
  dresses.set(retryAfterMs, dress);
  return dress;
}

function makeDress(error: ConnectError): Dress {
  const trailer = setTrailerStatus(new Headers(), error);
  relaxGrpcMessage(trailer);
  const endStream = Buffer.from(JSON.stringify(endStreamToJson(new Headers(), error, undefined)));
  return {
    grpcHeaders: Object.fromEntries(trailer),
    grpcHeaderList: [...trailer].flat(),
    grpcWebBody: envelope(trailerFlag, trailerSerialize(trailer)),
    connectStatus: codeToHttpStatus(error.code),
    connectBody: Buffer.from(errorToJsonBytes(error, undefined)),
    connectStreamBody: envelope(endStreamFlag, endStream),
  };
}
