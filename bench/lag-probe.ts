/** Loaded into the server beside its program: measures how late its event loop is, and says so on SIGUSR2. */
import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 5;
const lateness = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
lateness.enable();
process.on("SIGUSR2", () => {
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const text = JSON.stringify({ p99: milliseconds(lateness.percentile(99)), max: milliseconds(lateness.max) });
  writeFileSync(process.env.BENCH_LAG_FILE ?? "/dev/null", text);
  lateness.reset();
});
