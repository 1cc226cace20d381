import { LIMITS } from "../limits.ts";
import type { Job } from "./job.ts";

const HOUR_MS = 3_600_000;

/** Which finished jobs are kept, and for how long. */
export class FinishedJobs {
  /** In the order in which they finished, with the bytes of their records. */
  readonly #kept = new Map<Job, number>();
  #bytes = 0;

  /** Jobs come in the order in which they finished. */
  add(job: Job): void {
    const bytes = JSON.stringify(job.record).length;
    this.#kept.set(job, bytes);
    this.#bytes += bytes;
  }

  /** Takes out those that are too old, or too many. */
  takeExpired(now = Date.now()): Job[] {
    const expired: Job[] = [];
    for (const [job, bytes] of this.#kept) {
      const isTooOld = (job.record.finishedAt ?? 0) < now - LIMITS.jobsKeptHours * HOUR_MS;
      if (!isTooOld && this.#kept.size <= LIMITS.jobsKeptMax && this.#bytes <= LIMITS.jobsKeptBytesMax) break;
      this.#kept.delete(job);
      this.#bytes -= bytes;
      expired.push(job);
    }
    return expired;
  }
}
