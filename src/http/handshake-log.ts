import type { TLSSocket } from "node:tls";
import type { Log } from "../log.ts";

const REPORT_MS = 1_000;

/** Hears of a TLS handshake that failed. */
export type NoteHandshake = (error: NodeJS.ErrnoException, socket: TLSSocket) => void;

/** Logs TLS handshakes that the server or its clients have refused: a line a second at most, with their number and the last cause. */
export function createHandshakeLog(log: Log): NoteHandshake {
  let refused = 0;
  let cause: string | undefined;
  const report = () => {
    log.warn({ refused, cause }, "TLS handshakes were refused");
    refused = 0;
  };
  return (error, { authorizationError }) => {
    // A client that only looks whether the port is open.
    if (error.code === "ECONNRESET" && !authorizationError) return;
    refused += 1;
    cause = authorizationError ? `client certificate: ${authorizationError}` : (error.code ?? error.message);
    if (refused === 1) setTimeout(report, REPORT_MS).unref();
  };
}
