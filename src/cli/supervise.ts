import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { type Log, openLog } from "../log.ts";
import type { Command } from "./command.ts";
import { EXIT_CODES, isLasting } from "./exit-codes.ts";

const HELP = `Runs the server and starts it again when it crashes

Usage: npm run quiver -- supervise [options of the server]

Pauses grow from 0.5 s to 30 s, and are short again after a minute without a crash. SIGINT and SIGTERM are handed on to the
server, whose end is then the end. A wrong option, a data directory that is in use, and damaged data are not tried
again: the exit code is the server's. See docs/guides/running.md.
`;

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
const PAUSE_MIN_MS = 500;
const PAUSE_MAX_MS = 30_000;
/** After so long without a crash, the next one is as good as the first. */
const HEALTHY_MS = 60_000;
/** Ended by a second signal: 128 + SIGINT and 128 + SIGTERM. */
const ENDED_AT_ONCE: readonly (number | null)[] = [130, 143];

export const supervise: Command = {
  help: HELP,
  async run(args) {
    const log = openLog({ to: "stderr" });
    const supervision = new Supervision(args, log);
    for (const signal of SIGNALS) process.on(signal, () => supervision.stop(signal));
    return supervision.run();
  },
};

interface End {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

class Supervision {
  readonly #args: readonly string[];
  readonly #log: Log;
  readonly #stopped = new AbortController();
  #child: ChildProcess | undefined;

  constructor(args: readonly string[], log: Log) {
    this.#args = args;
    this.#log = log;
  }

  /** Resolves to the exit code when the server has ended for good. */
  async run(): Promise<number> {
    let pauseMs = PAUSE_MIN_MS;
    for (;;) {
      const startedAt = performance.now();
      const end = await this.#runOnce();
      const ranForMs = Math.round(performance.now() - startedAt);
      if (this.#isLast(end)) return end.exitCode ?? EXIT_CODES.ok;
      if (isLasting(end.exitCode)) {
        this.#log.fatal(end, "The server cannot start until somebody mends what it says above");
        return end.exitCode ?? EXIT_CODES.failed;
      }
      if (ranForMs >= HEALTHY_MS) pauseMs = PAUSE_MIN_MS;
      this.#log.error({ ...end, ranForMs, pauseMs }, "The server crashed: it is started again after a pause");
      await setTimeout(pauseMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
      if (this.#stopped.signal.aborted) return EXIT_CODES.ok;
      pauseMs = Math.min(PAUSE_MAX_MS, 2 * pauseMs);
    }
  }

  /** Hands the signal on; the server is not started again. */
  stop(signal: NodeJS.Signals): void {
    this.#stopped.abort();
    this.#child?.kill(signal);
  }

  #isLast({ exitCode }: End): boolean {
    return this.#stopped.signal.aborted || exitCode === EXIT_CODES.ok || ENDED_AT_ONCE.includes(exitCode);
  }

  async #runOnce(): Promise<End> {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? "", ...this.#args], {
      // The server ends when the channel does.
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      // Ctrl+C at a terminal reaches the supervisor alone, which hands it on once.
      detached: true,
    });
    this.#child = child;
    this.#log.info({ pid: child.pid }, "The server starts");
    const [exitCode, signal] = await once(child, "exit");
    this.#child = undefined;
    return { exitCode, signal };
  }
}
