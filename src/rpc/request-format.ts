import type { IncomingHttpHeaders } from "node:http";

/** How the body of a request is laid out, by its headers. */
export interface RequestFormat {
  /** Messages stand in envelopes: gRPC, gRPC-Web, and Connect's streams. */
  readonly enveloped: boolean;
  readonly json: boolean;
  /** The header that names the compression. */
  readonly encodingHeader: string;
}

const CONTENT_TYPE = /^application\/(?:(grpc|grpc-web|connect)(?:\+(proto|json))?|(proto|json))\s*(?:;.*)?$/i;

/** Reads a Content-Type; undefined when it is none of an RPC. */
export function requestFormat(contentType: string | null | undefined): RequestFormat | undefined {
  const match = CONTENT_TYPE.exec(contentType ?? "");
  if (match === null) return undefined;
  const [, protocol, codec = "proto", unary] = match.map((part) => part?.toLowerCase());
  if (unary !== undefined) return { enveloped: false, json: unary === "json", encodingHeader: "content-encoding" };
  const encodingHeader = protocol === "connect" ? "connect-content-encoding" : "grpc-encoding";
  return { enveloped: true, json: codec === "json", encodingHeader };
}

export const TIMER_MAX_MS = 2 ** 31 - 1;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };
const GRPC_TIMEOUT = "grpc-timeout";
const CONNECT_TIMEOUT = "connect-timeout-ms";

/**
 * Takes out deadlines that lie further away than a timer reaches (25 days): as timers they would be over at once.
 * Malformed ones stay, to be refused.
 */
export function dropDistantDeadline(headers: Headers): void {
  const grpc = headers.get(GRPC_TIMEOUT);
  if (grpc !== null && (grpcTimeout(grpc) ?? 0) > TIMER_MAX_MS) headers.delete(GRPC_TIMEOUT);
  const connect = headers.get(CONNECT_TIMEOUT);
  if (connect !== null && (connectTimeout(connect) ?? 0) > TIMER_MAX_MS) headers.delete(CONNECT_TIMEOUT);
}

/** How long the client waits, in milliseconds; Infinity when the headers have no deadline, or a malformed one. */
export function timeoutOf(headers: IncomingHttpHeaders): number {
  const grpc = headers[GRPC_TIMEOUT];
  const connect = headers[CONNECT_TIMEOUT];
  if (typeof grpc === "string") return grpcTimeout(grpc) ?? Number.POSITIVE_INFINITY;
  if (typeof connect === "string") return connectTimeout(connect) ?? Number.POSITIVE_INFINITY;
  return Number.POSITIVE_INFINITY;
}

/** Leaves `restMs` of the time of a well-formed deadline: some of it passed while the call waited. */
export function shortenDeadline(headers: IncomingHttpHeaders, restMs: number): void {
  const rest = Math.max(1, Math.ceil(restMs));
  if (rest > 99_999_999) return;
  if (headers[GRPC_TIMEOUT] !== undefined) headers[GRPC_TIMEOUT] = `${rest}m`;
  if (headers[CONNECT_TIMEOUT] !== undefined) headers[CONNECT_TIMEOUT] = `${rest}`;
}

function grpcTimeout(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  return amount === undefined ? undefined : Number(amount) * (UNIT_MS[unit ?? ""] ?? 0);
}

function connectTimeout(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
