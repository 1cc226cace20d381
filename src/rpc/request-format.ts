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

const TIMER_MAX_MS = 2 ** 31 - 1;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Takes out deadlines that lie further away than a timer reaches (25 days): as timers they would be over at once.
 * Malformed ones stay, to be refused.
 */
export function dropDistantDeadline(headers: Headers): void {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(headers.get("grpc-timeout") ?? "") ?? [];
  if (Number(amount) * (UNIT_MS[unit ?? ""] ?? 0) > TIMER_MAX_MS) headers.delete("grpc-timeout");
  const connect = headers.get("connect-timeout-ms") ?? "";
  if (/^\d{1,10}$/.test(connect) && Number(connect) > TIMER_MAX_MS) headers.delete("connect-timeout-ms");
}
