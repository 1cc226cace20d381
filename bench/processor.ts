import { readProcessorTime } from "../test/support/processor-time.ts";

/** What some work took. */
export interface Took {
  readonly seconds: number;
  /** Of all processors together: of this process and of those that are measured with it. */
  readonly processorSeconds: number;
}

/** Runs work and measures it; `others` tells the processor time of other processes that take part. */
export async function measure(others: () => number, work: () => Promise<unknown>): Promise<Took> {
  const own = process.cpuUsage();
  const before = others();
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1_000;
  const { user, system } = process.cpuUsage(own);
  return { seconds, processorSeconds: (user + system) / 1e6 + others() - before };
}

/** The processor time of a process, of all of its threads. */
export function processorSecondsOf(pid: number): number {
  return readProcessorTime(pid).taken;
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
