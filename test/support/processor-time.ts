import { readFileSync } from "node:fs";

/** Seconds of all processors together. */
export interface ProcessorTime {
  /** Taken by the process that is looked at, in user and kernel mode. */
  readonly taken: number;
  /** Taken by nobody: the process could have had it, too. */
  readonly idle: number;
}

const TICKS_PER_SECOND = 100;

/** What Linux has counted since its start, to be subtracted; zeros where there is no /proc. */
export function readProcessorTime(pid: number): ProcessorTime {
  try {
    // After the name, which may hold anything: utime and stime are the 12th and 13th.
    const ofProcess = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
    const [, , , , idle, waitingForDisk] = readFileSync("/proc/stat", "latin1").split(/\s+/).map(Number);
    const taken = (Number(ofProcess[11]) + Number(ofProcess[12])) / TICKS_PER_SECOND;
    return { taken, idle: ((idle ?? 0) + (waitingForDisk ?? 0)) / TICKS_PER_SECOND };
  } catch {
    return { taken: 0, idle: 0 };
  }
}

export function processorTimeSince(before: ProcessorTime, pid: number): ProcessorTime {
  const now = readProcessorTime(pid);
  return { taken: now.taken - before.taken, idle: now.idle - before.idle };
}
