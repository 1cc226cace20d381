import type { ConnectError } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import { codeToHttpStatus, errorToJson, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { QuiverError } from "../errors.ts";
import { toConnectError } from "./error.ts";

/**
 * The response to a request that no protocol could take. The client's protocol is unknown or impossible then, so that
 * the body is an error in JSON whatever it sent.
 */
export function refusalResponse(status: number, error: ConnectError, header = new Headers()): UniversalServerResponse {
  header.set("content-type", "application/json");
  return { status, header, body: once(errorToJsonBytes(error, undefined)) };
}

/** The same for a path beside those of the RPCs: a status of HTTP and a body in JSON. */
export function plainRefusal(error: QuiverError) {
  const connectError = toConnectError(error, "");
  return { status: codeToHttpStatus(connectError.code), body: errorToJson(connectError, undefined) };
}

/** Why connect answered a bare status: the request's method, HTTP version or content type. */
export function explainStatus(status: number, method: string, contentType: string): ConnectError {
  return toConnectError(new QuiverError("MALFORMED_REQUEST", statusMessage(status, method, contentType)), "");
}

function statusMessage(status: number, method: string, contentType: string): string {
  switch (status) {
    case 405:
      return `RPC does not take HTTP method "${method}": use POST, or GET for methods without side effects`;
    case 415:
      return `RPC does not take content type "${contentType}": methods without streams take application/json, application/proto, application/grpc and application/grpc-web, those with streams application/connect+json, application/connect+proto, application/grpc and application/grpc-web`;
    case 505:
      return "RPC with streams in both directions needs HTTP/2";
    default:
      return `RPC cannot be answered over HTTP: status ${status}`;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
