import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

/** What some work took. */
export interface Took {
  readonly seconds: number;
  /** Of all processors together: of this process and of those that are measured with it. */
  readonly processorSeconds: number;
  /** Of these, the part of the other processes. */
  readonly otherSeconds: number;
}

/** Runs work and measures it; `others` tells the processor time of other processes that take part. */
export async function measure(others: () => number, work: () => Promise<unknown>): Promise<Took> {
  const clock = startClock(others);
  await work();
  return clock();
}

/** Linux counts what other processes take in hundredths of a second. */
const ENOUGH_SECONDS = 1;
const LOOK_MS = 100;

/** The same of work that is too short to be measured once: runs it until all have taken a second together. */
export async function measureMany(
  others: () => number,
  work: (i: number) => Promise<unknown>,
): Promise<Took & { readonly count: number }> {
  const clock = startClock(others);
  let nextLook = performance.now() + LOOK_MS;
  for (let count = 1; ; count++) {
    await work(count - 1);
    if (performance.now() < nextLook) continue;
    const took = clock();
    if (took.processorSeconds >= ENOUGH_SECONDS) return { ...took, count };
    nextLook = performance.now() + LOOK_MS;
  }
}

function startClock(others: () => number): () => Took {
  const own = process.cpuUsage();
  const before = others();
  const start = performance.now();
  return () => {
    const seconds = (performance.now() - start) / 1_000;
    const { user, system } = process.cpuUsage(own);
    const otherSeconds = others() - before;
    return { seconds, processorSeconds: (user + system) / 1e6 + otherSeconds, otherSeconds };
  };
}

/** The processor time of a process with its children, also of those that have ended. */
export function processorSecondsOf(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean);
  return [pid, ...children].reduce<number>((sum, member) => sum + secondsOf(member), 0);
}

const TICKS_PER_SECOND = 100;

function secondsOf(pid: number | string): number {
  try {
    // After the name, which may hold anything: utime, stime, cutime and cstime are the 12th to 15th.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ").slice(11, 15) ?? [];
    return fields.reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
  } catch {
    // It has just ended: the parent has its time from now on.
    return 0;
  }
}

const SETTLED_SHARE = 0.05;
const SETTLE_LOOK_MS = 500;
const SETTLE_LOOKS_MAX = 60;

/** Waits until processes have nothing more to do in the background, such as measuring their recall or tidying up. */
export async function settle(processorSeconds: () => number): Promise<void> {
  for (let look = 0, before = processorSeconds(); look < SETTLE_LOOKS_MAX; look++) {
    await setTimeout(SETTLE_LOOK_MS);
    const now = processorSeconds();
    if (now - before < (SETTLED_SHARE * SETTLE_LOOK_MS) / 1_000) return;
    before = now;
  }
}

/** Runs `work` for each item, so many at a time. */
export async function each<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) await work(items[next++] as T);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

export function batches<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
