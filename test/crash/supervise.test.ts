import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type Clients, createClients } from "../support/protocols.ts";
import { createIndex } from "../support/resources.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const CRASHES = rounds("NATIVE_CRASHES", { quick: 2, full: 20 });
const CRASHED = "The process crashed";
const timeout = 120_000;

const SIGNALS = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"] as const;

test("a native crash: the server is back by itself, with all that it acknowledged, and says what ran", {
  timeout: timeout + CRASHES * 10_000,
}, async (t) => {
  const supervised = new Supervised(t, temporaryDirectory());
  let clients = clientsOf(t, await supervised.url(1));
  await createIndex(clients, "b", "i");
  const acknowledged: string[] = [];
  for (let round = 1; round <= CRASHES; round++) {
    const signal = SIGNALS[round % SIGNALS.length] ?? "SIGSEGV";
    const before = acknowledged.length;
    // Puts may all be on their way to the client when the server crashes; this call is not.
    const watch = watchOnce(clients);
    const writers = Array.from({ length: 4 }, (_, i) => write(clients, `${round}-${i}`, acknowledged));
    await until(() => acknowledged.length >= before + 100);
    process.kill(await supervised.serverPid(), signal);
    await Promise.all([...writers, watch]);
    clients = clientsOf(t, await supervised.url(round + 1));
    const stored = await keysOf(clients);
    assert.deepEqual(
      acknowledged.filter((key) => !stored.has(key)),
      [],
    );
  }
  const crashes = supervised.log.filter(({ msg }) => msg === CRASHED);
  assert.equal(crashes.length, CRASHES);
  const calls = supervised.log.filter(({ msg }) => msg === "Was running at the crash").map(({ call }) => `${call}`);
  assert.ok(calls.length >= CRASHES, `${calls}`);
  for (const call of calls) assert.match(call, /^quiver\.v1\.VectorService\/(PutVectors|WatchVectors) b\/i [\w-]{36}$/);
  assert.equal(supervised.log.filter(({ msg }) => `${msg}`.startsWith("The server crashed")).length, CRASHES);
  t.diagnostic(`${CRASHES} crashes, ${acknowledged.length} writes acknowledged, ${calls.length} calls named`);

  supervised.kill("SIGTERM");
  assert.equal(await supervised.exitCode(), 0);
});

test("a crash ends a server that nobody supervises by the same signal", { timeout }, async (t) => {
  const server = await startServer(t);
  process.kill(server.pid ?? 0, "SIGSEGV");
  await assert.rejects(async () => {
    while (true) await fetch(new URL("/livez", server.url));
  });
});

test("what a restart cannot mend ends the supervisor with the server's exit code", { timeout }, async (t) => {
  const data = temporaryDirectory();
  const wrong = new Supervised(t, data, ["--write-buffer", "much"]);
  assert.equal(await wrong.exitCode(), 2);
  const holder = await ServerProcess.start(data);
  t.after(() => holder.kill());
  const second = new Supervised(t, data);
  assert.equal(await second.exitCode(), 3);
  assert.equal(second.log.filter(({ msg }) => msg === "The server starts").length, 1);
});

for (const signal of ["SIGKILL", "SIGHUP"] as const) {
  test(`a supervisor that ${signal} ends takes the server with it`, { timeout }, async (t) => {
    const supervised = new Supervised(t, temporaryDirectory());
    await supervised.url(1);
    const pid = await supervised.serverPid();
    supervised.kill(signal);
    await until(() => !isRunning(pid));
  });
}

test("a supervisor that is killed while the server starts takes it with it", { timeout }, async (t) => {
  const supervised = new Supervised(t, temporaryDirectory());
  const pid = await supervised.serverPid();
  supervised.kill("SIGKILL");
  await until(() => !isRunning(pid));
});

/** `quiver supervise` in a process of its own. */
class Supervised {
  readonly log: Record<string, unknown>[] = [];
  readonly #urls: string[] = [];
  readonly #child: ChildProcess;

  constructor(t: TestContext, data: string, args: readonly string[] = []) {
    const main = resolve(import.meta.dirname, "../../src/main.ts");
    const all = [main, "supervise", "--port", "0", "--data", data, ...args];
    const child = spawn(process.execPath, all, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = / at (https?:\/\/\S+)$/.exec(line)?.[1];
      if (url !== undefined) this.#urls.push(url);
    });
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (line.startsWith("{")) this.log.push(JSON.parse(line));
    });
    // The server ends with it.
    t.after(() => this.kill("SIGKILL"));
  }

  /** Of the latest run. */
  async serverPid(): Promise<number> {
    const start = () => this.log.findLast(({ msg }) => msg === "The server starts");
    await until(() => start() !== undefined);
    return start()?.pid as number;
  }

  /** Of the server's so many-th run. */
  async url(run: number): Promise<string> {
    await until(() => this.#urls.length >= run || this.#child.exitCode !== null);
    const url = this.#urls[run - 1];
    if (url === undefined) throw new Error(`The supervisor ended: ${JSON.stringify(this.log)}`);
    return url;
  }

  async exitCode(): Promise<number | null> {
    if (this.#child.exitCode === null) await once(this.#child, "close");
    return this.#child.exitCode;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** Puts one vector after the other until a call fails. */
async function write({ vectors }: Clients, prefix: string, acknowledged: string[]): Promise<void> {
  for (let i = 0; ; i++) {
    const key = `${prefix}-${i}`;
    const put = vectors.putVectors({
      vectorBucketName: "b",
      indexName: "i",
      vectors: [{ key, data: { float32: [i, 1] } }],
    });
    const isStored = await put.then(
      () => true,
      () => false,
    );
    if (!isStored) return;
    acknowledged.push(key);
  }
}

/** Watches until the server ends. */
async function watchOnce({ vectors }: Clients): Promise<void> {
  try {
    for await (const _ of vectors.watchVectors({ vectorBucketName: "b", indexName: "i" }));
  } catch {
    // As it must.
  }
}

async function keysOf({ vectors }: Clients): Promise<Set<string>> {
  const keys = new Set<string>();
  const parts = vectors.exportVectors({ vectorBucketName: "b", indexName: "i" });
  for await (const part of parts) for (const { key } of part.vectors) keys.add(key);
  return keys;
}

function clientsOf(t: TestContext, url: string): Clients {
  const sessionManager = new Http2SessionManager(url);
  t.after(() => sessionManager.abort());
  return createClients(createGrpcTransport({ baseUrl: url, sessionManager }));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
