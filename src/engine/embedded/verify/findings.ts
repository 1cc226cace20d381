import { setImmediate } from "node:timers/promises";
import { QuiverError } from "../../../errors.ts";
import type { IndexRef, StorageProblem, Verification } from "../../engine.ts";
import { fileIn, readFailed } from "../storage/store.ts";

/** Problems that are told; more are not counted. */
const PROBLEMS_MAX = 1_000;

/** What a verification has read and found so far. */
export class Findings {
  files = 0;
  bytes = 0;
  vectors = 0;
  readonly #problems: StorageProblem[] = [];
  /** Where those that are about a file stand: what is read of one damaged file fails again and again. */
  readonly #byFile = new Map<string, number>();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Lets other calls have their turn. Throws the signal's reason once that is aborted. */
  async pause(): Promise<void> {
    await setImmediate();
    this.#signal.throwIfAborted();
  }

  /** `problem` is a sentence, or an error with one. Of each file the first is kept. */
  add(problem: unknown, where: { readonly file?: string; readonly index?: IndexRef | undefined } = {}): void {
    const error = typeof problem === "string" ? new QuiverError("CORRUPTION", problem) : readFailed(problem);
    const index = where.index && { bucket: where.index.bucket, index: where.index.index };
    const file = where.file ?? (typeof problem === "string" ? undefined : fileIn(error.message));
    const at = file === undefined ? undefined : this.#byFile.get(file);
    const known = at === undefined ? undefined : this.#problems[at];
    if (at !== undefined && known) {
      this.#problems[at] = { ...known, index: known.index ?? index };
    } else if (this.#problems.length < PROBLEMS_MAX) {
      if (file !== undefined) this.#byFile.set(file, this.#problems.length);
      this.#problems.push({ file, index, error });
    }
  }

  /** Runs what may find damage by an error of reason CORRUPTION, which is added; other errors are thrown. */
  async collect(
    work: () => Promise<void>,
    where: { readonly file?: string; readonly index?: IndexRef } = {},
  ): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#signal.throwIfAborted();
      if (readFailed(error).reason !== "CORRUPTION") throw error;
      this.add(error, where);
    }
  }

  at(lsn: number): Verification {
    return { problems: this.#problems, files: this.files, bytes: this.bytes, vectors: this.vectors, lsn };
  }
}
