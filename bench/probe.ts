/** Loaded into the server beside its program: on SIGUSR2 it says how late its event loop was and what it holds in memory. */
import { renameSync, writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { collectGarbage } from "./collect-garbage.ts";

/** What the probe writes. */
export interface Probed {
  /** Lateness of the event loop since the last question, in milliseconds. */
  readonly lag: { readonly p99: number; readonly max: number };
  /** Of the process, without garbage and the room that V8 keeps for it, which has a bound of its own. */
  readonly residentBytes: number;
}

const RESOLUTION_MS = 5;
const lateness = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
const file = process.env.BENCH_PROBE_FILE;
if (file !== undefined) {
  lateness.enable();
  process.on("SIGUSR2", () => answer(file));
}

function answer(file: string): void {
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const lag = { p99: milliseconds(lateness.percentile(99)), max: milliseconds(lateness.max) };
  collectGarbage();
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  const probed: Probed = { lag, residentBytes: rss - heapTotal + heapUsed };
  writeFileSync(`${file}.new`, JSON.stringify(probed));
  renameSync(`${file}.new`, file);
  lateness.reset();
}
