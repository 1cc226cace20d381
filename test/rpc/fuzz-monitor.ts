/**
 * A thread that watches a server from outside while it is fuzzed: how long a cheap request takes on a connection of its
 * own, and how much memory the process holds. Of a time, that is left out in which the machine ran other programs.
 */
import { readFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

export interface MonitorInput {
  readonly url: string;
  readonly pid: number;
}

export interface MonitorReport {
  readonly samples: number;
  readonly failures: number;
  readonly lagMaxMs: number;
  /** With what other programs took. */
  readonly latencyMaxMs: number;
  readonly rssFirst: number;
  readonly rssMax: number;
  readonly rssLast: number;
}

const EVERY_MS = 10;
const PAGE_BYTES = 4096;
const { url, pid } = workerData as MonitorInput;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** Nanoseconds for which a thread was ready to run, but did not. */
function waited(thread: string): number {
  try {
    return Number(readFileSync(`/proc/${thread}/schedstat`, "utf8").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

function residentBytes(): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

function request(): Promise<boolean> {
  return new Promise((resolve) => {
    const sent = get(`${url}/livez`, { agent }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode === 200));
    });
    sent.once("error", () => resolve(false));
  });
}

let stopped = false;
parentPort?.once("message", () => {
  stopped = true;
});

const report = {
  samples: 0,
  failures: 0,
  lagMaxMs: 0,
  latencyMaxMs: 0,
  rssFirst: residentBytes(),
  rssMax: 0,
  rssLast: 0,
};
while (!stopped) {
  const waitedBefore = waited(`${pid}/task/${pid}`) + waited("thread-self");
  const startedAt = performance.now();
  if (!(await request())) report.failures++;
  const latency = performance.now() - startedAt;
  const others = waited(`${pid}/task/${pid}`) + waited("thread-self") - waitedBefore;
  report.samples++;
  report.latencyMaxMs = Math.max(report.latencyMaxMs, latency);
  report.lagMaxMs = Math.max(report.lagMaxMs, latency - others);
  report.rssLast = residentBytes();
  report.rssMax = Math.max(report.rssMax, report.rssLast);
  await sleep(EVERY_MS);
}
agent.destroy();
parentPort?.postMessage(report);
