import { type DestinationStream, destination, type Logger, pino } from "pino";

export type Log = Logger;

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  /** Lines below this level are dropped. Default `info`. */
  level?: LogLevel;
  /** Where the lines go. Default `stdout`. A stream is for tests. */
  to?: "stdout" | "stderr" | DestinationStream;
}

/** Names under which a credential may stand in a logged object, or in `headers` of one. */
const SECRETS = [
  "authorization",
  "cookie",
  '["set-cookie"]',
  '["proxy-authorization"]',
  '["x-api-key"]',
  '["api-key"]',
];

/**
 * Opens the log: one JSON object a line with `level` as a word, `time` in ISO 8601 and `msg`. Credentials in headers
 * are replaced by `[redacted]`. Lines are written off the calling path and flushed when the process exits.
 */
export function openLog(options: LogOptions = {}): Log {
  const to = options.to ?? "stdout";
  const stream = typeof to === "string" ? destination({ fd: to === "stdout" ? 1 : 2, sync: false }) : to;
  return pino(
    {
      level: options.level ?? "info",
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRETS.flatMap(secretPaths), censor: "[redacted]" },
    },
    stream,
  );
}

/** No wildcards: with them a line costs 11 us instead of 2.5. */
function secretPaths(name: string): string[] {
  return [name, name.startsWith("[") ? `headers${name}` : `headers.${name}`];
}
