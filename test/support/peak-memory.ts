import { readFileSync } from "node:fs";
import type { ServerProcess } from "./server.ts";

/** The most that the process ever held, in bytes. Linux only. */
export function peakOf({ pid }: ServerProcess): number {
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1024;
}
