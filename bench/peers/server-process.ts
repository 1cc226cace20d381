import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { processorSecondsOf } from "../processor.ts";

const START_SECONDS_MAX = 60;

/** The process of a peer that is a server; it ends with this process at the latest. */
export class ServerProcess {
  readonly #process: ChildProcess;
  readonly #kill = () => this.#process.kill("SIGINT");
  #log = "";

  constructor(command: string, args: readonly string[], options: SpawnOptions) {
    this.#process = spawn(command, args, { ...options, stdio: ["ignore", "ignore", "pipe"] });
    this.#process.on("error", (error) => this.#report(error.message));
    this.#process.stderr?.setEncoding("utf8").on("data", (text: string) => this.#report(text));
    process.once("exit", this.#kill);
  }

  /** Asks again until there is an answer. Rejects when the process has ended, or needs more than a minute. */
  async untilAnswers<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    const deadline = performance.now() + 1_000 * START_SECONDS_MAX;
    for (;;) {
      try {
        return await ask();
      } catch (cause) {
        if (this.#hasEnded()) throw new Error(`The server has ended:\n${this.#log}`, { cause });
        if (performance.now() > deadline) throw new Error(`The server does not answer:\n${this.#log}`, { cause });
        await setTimeout(50);
      }
    }
  }

  /** Taken by the process and its children, also by those that have ended. */
  processorSeconds(): number {
    return processorSecondsOf(this.#process.pid ?? 0);
  }

  /** Resolves when it has ended on SIGINT, in good order. */
  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    if (this.#hasEnded()) return;
    const closed = once(this.#process, "close");
    this.#kill();
    await closed;
  }

  #report(text: string): void {
    this.#log = (this.#log + text).slice(-4_096);
  }

  #hasEnded(): boolean {
    const { pid, exitCode, signalCode } = this.#process;
    return pid === undefined || exitCode !== null || signalCode !== null;
  }
}
