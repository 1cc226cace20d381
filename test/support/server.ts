import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, type TestContext } from "node:test";
import { temporaryDirectory } from "./temporary-directory.ts";

const main = resolve(import.meta.dirname, "../../src/main.ts");

export interface StartOptions {
  /** Beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Ends it as `kill` does, so long after its process began, whether it serves by then or not. */
  readonly killAfterMs?: number;
  /** The program, which prints its URL as src/main.ts does. Default that one. */
  readonly program?: string;
}

const COMPLAINTS_LENGTH_MAX = 1_000_000;
const LAST_WORDS_LENGTH = 2_000;

/** A server in a process of its own, as a user runs it. */
export class ServerProcess {
  readonly url: string;
  readonly data: string;
  readonly #child: ChildProcess;
  readonly #complaints: { text: string };

  private constructor(url: string, data: string, child: ChildProcess, complaints: { text: string }) {
    this.url = url;
    this.data = data;
    this.#child = child;
    this.#complaints = complaints;
  }

  /** Starts one on a free port and resolves once it serves; rejects with what it wrote when it does not. */
  static async start(
    data: string,
    args: readonly string[] = [],
    { env, killAfterMs, program = main }: StartOptions = {},
  ): Promise<ServerProcess> {
    const all = [program, "--port", "0", "--data", data, "--log-level", "warn", ...args];
    const child = spawn(process.execPath, all, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
      timeout: killAfterMs,
      killSignal: "SIGKILL",
    });
    const complaints = { text: "" };
    child.stderr.setEncoding("utf8").on("data", (chunk) => {
      complaints.text = `${complaints.text}${chunk}`.slice(-COMPLAINTS_LENGTH_MAX);
    });
    for await (const line of createInterface({ input: child.stdout })) {
      const url = / at (https?:\/\/\S+)$/.exec(line)?.[1];
      if (!url) continue;
      child.stdout.resume();
      return new ServerProcess(url, data, child, complaints);
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    throw new Error(`The server ended with ${child.exitCode ?? child.signalCode}: ${complaints.text}`);
  }

  /** Ends it as a crash of the machine's memory would: no handler runs. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends it as a service manager does, and resolves to its exit code. */
  async stop(): Promise<number | null> {
    await this.#end("SIGTERM");
    return this.#child.exitCode;
  }

  /** Resolves, once it has ended by itself, to its exit code or to the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  /** What it has logged lately, from level warn on. */
  get complaints(): string {
    return this.#complaints.text;
  }

  /** Ends it, unless it has ended, and resolves to how it ended and what it logged last: for the message of a failure. */
  async lastWords(): Promise<string> {
    await this.kill();
    return `the server ended with ${await this.ended()}; it said: ${this.complaints.slice(-LAST_WORDS_LENGTH) || "nothing"}`;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill(signal);
    await exit;
  }
}

/** A server on a temporary directory that ends with the test. */
export async function startServer(t: Pick<TestContext, "after">, args: readonly string[] = []): Promise<ServerProcess> {
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  server = await ServerProcess.start(temporaryDirectory(), args);
  return server;
}

/**
 * The same for all tests of a file, which begin once `prepare` is done: hooks `before` at the top of a file do not wait for
 * each other.
 */
export function serverOfFile(prepare: () => Promise<void> = async () => {}): { readonly url: string } {
  const ends: (() => unknown)[] = [];
  let server: ServerProcess | undefined;
  before(async () => {
    server = await startServer({ after: (end) => void ends.push(end as () => unknown) });
    await prepare();
  });
  after(async () => {
    for (const end of ends) await end();
  });
  return {
    get url() {
      if (!server) throw new Error("The server does not run yet: ask in tests, and in hooks of suites");
      return server.url;
    },
  };
}
