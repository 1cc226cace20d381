import { closeSync, openSync } from "node:fs";
import { destination, pino } from "pino";
import { QuiverError } from "./errors.ts";
import type { Log } from "./log.ts";

/** What one call was, without any of its content. */
export interface AuditEntry {
  readonly requestId: string;
  /** Access key; undefined on a server without keys, "" for a caller that brought no valid one. */
  readonly keyId: string | undefined;
  readonly address: string;
  /** Such as `quiver.v1.VectorService/PutVectors`. */
  readonly method: string;
  /** The bucket, index or job that the request names; "-" for none, or when it was refused before it was read. */
  readonly on: string;
  /** The gRPC code as a word. */
  readonly code: string;
  readonly reason: string | undefined;
}

const SAY_AGAIN_MS = 60_000;

/** Keeps who did what, one JSON object a line. */
export interface AuditLog {
  add(entry: AuditEntry): void;
  /** Writes what is left. */
  close(): void;
}

/**
 * Appends to a file, off the calling path: what was done in the last moments before a crash may be missing. Throws
 * INVALID_FIELD when the file cannot be opened. When it cannot be written any more, `log` says so once a minute, and calls go on.
 */
export function openAuditLog(path: string, log: Log): AuditLog {
  try {
    closeSync(openSync(path, "a", 0o600));
  } catch (cause) {
    const message = `Cannot write the audit log "${path}": ${(cause as Error).message}; choose another file with --audit-log`;
    throw new QuiverError("INVALID_FIELD", message, { cause });
  }
  const file = destination({ dest: path, sync: false });
  let saidAt = Number.NEGATIVE_INFINITY;
  // A disk that is full must not end the server.
  file.on("error", (err) => {
    if (performance.now() - saidAt < SAY_AGAIN_MS) return;
    saidAt = performance.now();
    log.error({ err, path }, "The audit log cannot be written: it misses calls");
  });
  const lines = pino(
    {
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    file,
  );
  return {
    add: ({ keyId, ...entry }) => lines.info({ key: keyId ?? "open", ...entry }),
    close: () => file.flushSync(),
  };
}
