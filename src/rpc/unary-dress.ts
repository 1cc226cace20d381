import { isUtf8 } from "node:buffer";
import { create, fromBinary, fromJsonString, type Message, toBinary, toJsonString } from "@bufbuild/protobuf";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { compressionGzip } from "@connectrpc/connect-node";
import type { HttpRequest, HttpResponse } from "../node-http.ts";
import { ENVELOPE_HEADER_BYTES, envelope } from "./envelope.ts";
import { BINARY_OPTIONS, JSON_OPTIONS, type Route } from "./method-routes.ts";
import { timeoutOf } from "./request-format.ts";
import { type BodyMemory, sendBody } from "./send-body.ts";

/** How a call without streams, its request and its answer are laid out. */
export interface UnaryDress {
  readonly protocol: "grpc" | "grpc-web" | "connect";
  readonly json: boolean;
  /** Of the answer. */
  readonly contentType: string;
}

const GRPC: UnaryDress = { protocol: "grpc", json: false, contentType: "application/grpc+proto" };
const GRPC_WEB: UnaryDress = { protocol: "grpc-web", json: false, contentType: "application/grpc-web+proto" };
const CONNECT: UnaryDress = { protocol: "connect", json: false, contentType: "application/proto" };
const CONNECT_JSON: UnaryDress = { protocol: "connect", json: true, contentType: "application/json" };

/** By the content type of the request. */
const DRESSES: ReadonlyMap<string | undefined, UnaryDress> = new Map([
  ["application/grpc", GRPC],
  ["application/grpc+proto", GRPC],
  ["application/grpc-web", GRPC_WEB],
  ["application/grpc-web+proto", GRPC_WEB],
  ["application/proto", CONNECT],
  ["application/json", CONNECT_JSON],
]);

/** From here on an answer in JSON is compressed for clients that take it. One in binary is not: vectors hardly shrink. */
const COMPRESS_MIN_BYTES = 1_024;

const GRPC_TRAILERS = { "grpc-status": "0" };
const GRPC_WEB_TRAILERS = envelope(trailerFlag, trailerSerialize(new Headers(GRPC_TRAILERS)));

/** Undefined when anything about the request is unusual. */
export function dressOf({ headers, method, httpVersionMajor }: HttpRequest): UnaryDress | undefined {
  const dress = method === "POST" ? DRESSES.get(headers["content-type"]) : undefined;
  if (dress === undefined || (dress === GRPC && httpVersionMajor < 2)) return undefined;
  const [encodingHeader, timeoutHeader] = dress.protocol === "connect" ? CONNECT_HEADERS : GRPC_HEADERS;
  const encoding = headers[encodingHeader];
  if (encoding !== undefined && encoding !== "identity") return undefined;
  // Connect says what is wrong with a malformed one.
  if (headers[timeoutHeader] !== undefined && timeoutOf(headers) === Number.POSITIVE_INFINITY) return undefined;
  return dress;
}

const CONNECT_HEADERS = ["content-encoding", "connect-timeout-ms"] as const;
const GRPC_HEADERS = ["grpc-encoding", "grpc-timeout"] as const;

export function bodyBytesMax({ limits }: Route, { protocol, json }: UnaryDress): number {
  if (json) return limits.maxJsonBytes;
  return limits.maxMessageBytes + (protocol === "connect" ? 0 : ENVELOPE_HEADER_BYTES);
}

/** The message in a body; undefined when there is not exactly one that can be read. */
export function readMessage(route: Route, { protocol, json }: UnaryDress, body: Buffer): Message | undefined {
  if (protocol !== "connect" && !isOneEnvelope(body)) return undefined;
  const bytes = protocol === "connect" ? body : body.subarray(ENVELOPE_HEADER_BYTES);
  const { input } = route.handler.method;
  try {
    if (!json) {
      route.scanFields(bytes, route.limits);
      const options = route.binaryInput === input ? BINARY_OPTIONS : FLOATS_OPTIONS;
      return fromBinary(route.binaryInput, bytes, options);
    }
    if (!isUtf8(bytes)) return undefined;
    route.scanJson(bytes, route.limits);
    return fromJsonString(input, bytes.toString(), JSON_OPTIONS);
  } catch {
    return undefined;
  }
}

function isOneEnvelope(body: Buffer): boolean {
  const length = body.length - ENVELOPE_HEADER_BYTES;
  return length >= 0 && body[0] === 0 && body.readUInt32BE(1) === length;
}

/** The body of an answer. */
export function writeMessage(
  route: Route,
  { protocol, json }: UnaryDress,
  answer: Record<string, unknown>,
): Uint8Array {
  const { output } = route.handler.method;
  if (json) return Buffer.from(toJsonString(output, create(output, answer), JSON_OPTIONS));
  const bytes = toBinary(output, create(output, route.writeFloats?.(answer) ?? answer));
  switch (protocol) {
    case "connect":
      return bytes;
    case "grpc":
      return envelope(0, bytes);
    case "grpc-web":
      return Buffer.concat([envelope(0, bytes), GRPC_WEB_TRAILERS]);
  }
}

/** Resolves when the answer is handed over to be sent. */
export async function sendAnswer(
  request: HttpRequest,
  response: HttpResponse,
  { protocol, json, contentType }: UnaryDress,
  bytes: Uint8Array,
  memory: BodyMemory,
): Promise<void> {
  const headers: Record<string, string> = { "content-type": contentType };
  let body = bytes;
  if (json && bytes.length >= COMPRESS_MIN_BYTES && GZIP.test(`${request.headers["accept-encoding"]}`)) {
    headers["content-encoding"] = "gzip";
    body = await compressionGzip.compress(bytes);
  }
  if (protocol === "connect") headers["content-length"] = `${body.length}`;
  const trailer = protocol === "grpc" ? GRPC_TRAILERS : undefined;

  return sendBody(request, response, { status: 200, headers, body, trailer }, memory);
}

/** Floats stand in what is unknown. */
const FLOATS_OPTIONS = { ...BINARY_OPTIONS, readUnknownFields: true };

const GZIP = /\bgzip\b/;
