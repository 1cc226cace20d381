import type { Job } from "./job.ts";

/** Jobs that are worked on at a time; in one namespace it is one. */
const WORKING_MAX = 4;

/** Works on jobs: on those of one namespace one after the other, in the order in which they were added. */
export class JobQueue {
  readonly #work: (job: Job) => Promise<void>;
  readonly #waiting = new Set<Job>();
  /** By namespace. */
  readonly #working = new Map<string, Job>();
  #closed = false;

  /** `work` never rejects. */
  constructor(work: (job: Job) => Promise<void>) {
    this.#work = work;
  }

  add(job: Job): void {
    this.#waiting.add(job);
    this.#startNext();
  }

  /** Takes a job out, or stops its work before the next part and waits for that. */
  async remove(job: Job): Promise<void> {
    this.#waiting.delete(job);
    job.stop.abort();
    await job.work;
  }

  /** Stops all work before the next part and waits for that. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#waiting, ...this.#working.values()].map((job) => this.remove(job)));
  }

  #startNext(): void {
    const taken = new Set(this.#working.keys());
    for (const job of this.#waiting) {
      if (this.#closed || this.#working.size >= WORKING_MAX) return;
      if (taken.has(job.namespace)) continue;
      taken.add(job.namespace);
      this.#waiting.delete(job);
      this.#start(job);
    }
  }

  #start(job: Job): void {
    this.#working.set(job.namespace, job);
    job.work = this.#work(job).finally(() => {
      job.work = undefined;
      this.#working.delete(job.namespace);
      this.#startNext();
    });
  }
}
