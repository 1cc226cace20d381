import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import type { Random } from "../../support/random.ts";
import { ServerProcess, type StartOptions } from "../../support/server.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { cutPower } from "./power-cut.ts";

/** Calls that meet a fault: see faults.c. */
export interface Fault {
  readonly call: "open" | "write" | "fsync" | "ftruncate" | "fallocate" | "rename" | "unlink" | "link" | "mkdir";
  /** Of fnmatch, for the path below the tree; data is in "data/". */
  readonly pattern: string;
  /** The call that meets it first; counted from 1 and from when it is set. */
  readonly first: number;
  /** How many calls meet it; 0: all from the first on. */
  readonly count: number;
  readonly action: "error" | "short" | "delay" | "swallow" | "kill";
  /** Of an error, its errno; of a short write, its bytes; of a delay, milliseconds. */
  readonly value: number;
}

/** A line of the library's log. */
export interface Event {
  readonly what: "fault" | "sync";
  readonly call: string;
  readonly result: number;
  readonly inode: number;
  readonly path: string;
}

export interface DiskOptions {
  /** Syncs of these do nothing and answer OK. Default: none. */
  readonly ignoreSyncs?: "files" | "directories" | "all";
}

let library: string | undefined;
let compileCache: string | undefined;

/**
 * Builds the library, once. Where nothing can build it: false, with the reason printed; in CI it throws. `environment` has
 * PATH, CC and CI.
 */
export function hasShim(t: Pick<TestContext, "skip">, environment: NodeJS.ProcessEnv = process.env): boolean {
  const reason = whyNotBuilt(environment);
  if (reason !== undefined) {
    if (environment.CI) throw new Error(reason);
    t.skip(reason);
    return false;
  }
  if (library === undefined) {
    const build = temporaryDirectory();
    execFileSync("make", ["-s", "-C", import.meta.dirname, `BUILD=${build}`], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    library = join(build, "shim.so");
    // A server that is killed leaves nothing in the cache: a process that ends by itself fills it for the others.
    compileCache = join(build, "compiled");
    execFileSync(process.execPath, ["--import", "./src/server.ts", "src/main.ts", "--version"], {
      cwd: resolve(import.meta.dirname, "../../.."),
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    });
  }
  return true;
}

function whyNotBuilt(environment: NodeJS.ProcessEnv): string | undefined {
  if (process.platform !== "linux") return "the shim stands in for calls of Linux";
  const tools = ["make", environment.CC || "cc"];
  const missing = tools.find((tool) => spawnSync(tool, ["--version"], { env: environment }).error);
  return missing && `${missing} is not installed, which builds the shim`;
}

/** A disk with a cache that a power cut empties, and with faults; the data directory of a server is on it. */
export class Disk {
  readonly data: string;
  readonly #root = temporaryDirectory();
  readonly #tree = join(this.#root, "tree");
  readonly #state = join(this.#root, "state");
  readonly #faults = join(this.#root, "faults");
  readonly #log = join(this.#root, "log");
  readonly #options: DiskOptions;
  readonly #events: Event[] = [];
  /** How much of the log stands in `#events`. */
  #readTo = 0;

  constructor(options: DiskOptions = {}) {
    mkdirSync(this.#tree);
    this.data = join(this.#tree, "data");
    this.#options = options;
    this.setFaults([]);
  }

  /** Starts a server on it. What the disk holds by now is durable. */
  start(args: readonly string[] = [], { env, ...options }: StartOptions = {}): Promise<ServerProcess> {
    rmSync(this.#state, { recursive: true, force: true });
    mkdirSync(this.#state);
    writeFileSync(this.#log, "");
    this.#events.length = 0;
    this.#readTo = 0;
    return ServerProcess.start(this.data, args, {
      ...options,
      env: {
        NODE_COMPILE_CACHE: compileCache as string,
        LD_PRELOAD: library as string,
        SHIM_TREE: this.#tree,
        SHIM_STATE: this.#state,
        SHIM_FAULTS: this.#faults,
        SHIM_LOG: this.#log,
        ...(this.#options.ignoreSyncs && { SHIM_IGNORE: this.#options.ignoreSyncs }),
        ...env,
      },
    });
  }

  /** Takes back what was not durable; with `random`, a part of it alone. The server must have ended. */
  cut(random?: Random): void {
    cutPower({ tree: this.#tree, state: this.#state, random });
  }

  /** Replaces the faults; a server that runs meets them from its next call on. */
  setFaults(faults: readonly Fault[]): void {
    const lines = faults.map(
      ({ call, pattern, first, count, action, value }) => `${call} ${pattern} ${first} ${count} ${action} ${value}\n`,
    );
    writeFileSync(`${this.#faults}.new`, lines.join(""));
    renameSync(`${this.#faults}.new`, this.#faults);
  }

  /** What the library has seen since the start, in its order. */
  events(): readonly Event[] {
    const log = openSync(this.#log, "r");
    const { size } = fstatSync(log);
    const text = Buffer.alloc(size - this.#readTo);
    readSync(log, text, 0, text.length, this.#readTo);
    closeSync(log);
    const end = text.lastIndexOf("\n") + 1;
    this.#readTo += end;
    for (const line of text.toString("utf8", 0, end).split("\n").slice(0, -1)) {
      const [what, call, result, inode, path] = line.split(" ");
      this.#events.push({ what, call, result: Number(result), inode: Number(inode), path } as Event);
    }
    return this.#events;
  }
}
