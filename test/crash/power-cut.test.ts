import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Clients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import type { ServerProcess } from "../support/server.ts";
import { Load } from "./load.ts";
import { Disk, type DiskOptions, hasShim } from "./shim/shim.ts";
import { WideWriter } from "./wide-writer.ts";

const ROUNDS = rounds("POWER_CUTS", { quick: 20, full: 500 });
const CONTROL_ROUNDS = 30;
const SYNC_MS = 4;

test("what was acknowledged before a power cut is there after the next start, whole, and nothing else", async (t) => {
  if (!hasShim(t)) return;
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const failures: string[] = [];
  const counts = { acknowledged: 0, unknown: 0, refused: 0, duringStart: 0 };
  for (let round = 0; round < ROUNDS; ) {
    const run = new PowerCuts(t, random);
    try {
      for (; round < ROUNDS; round++) await run.round();
      assert.equal(await run.stop(), 0);
    } catch (error) {
      // The others go on with data of their own.
      failures.push(`cut ${round++}: ${(error as Error).message}; ${await run.lastWords()}`);
    }
    counts.acknowledged += run.load.counts.acknowledged;
    counts.unknown += run.load.counts.unknown;
    counts.refused += run.load.counts.refused;
    counts.duringStart += run.cutsDuringStart;
  }
  t.diagnostic(
    `${ROUNDS} cuts under load, ${counts.duringStart} during starts; ${counts.acknowledged} writes acknowledged, ${counts.unknown} without an outcome, ${counts.refused} refused; ${failures.length} failures`,
  );
  assert.deepEqual(failures, []);
});

for (const ignoreSyncs of ["files", "directories"] as const) {
  test(`the comparison notices a disk that ignores syncs of ${ignoreSyncs}`, async (t) => {
    if (!hasShim(t)) return;
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const run = new PowerCuts(t, random, { ignoreSyncs });
    const failure = await (async () => {
      for (let round = 0; round < CONTROL_ROUNDS; round++) await run.round();
    })().catch((error: unknown) => error);
    assert.ok(failure instanceof Error, `${CONTROL_ROUNDS} cuts went unnoticed`);
    assert.match(
      failure.message,
      /lost: |finds something else than it wrote|Cannot (open|list)|does not exist|has lost its stored vectors/,
    );
    t.diagnostic(failure.message.split("\n").slice(0, 3).join(" "));
  });
}

/** A server under load on a disk whose power is cut again and again. */
class PowerCuts {
  readonly load: Load;
  cutsDuringStart = 0;
  readonly #wide = new WideWriter(16);
  readonly #random: Random;
  readonly #disk: Disk;
  #server: ServerProcess | undefined;
  /** Cuts the power right after the next answer to a creation or drop of an index. */
  #cutAfterIndex = false;

  constructor(t: TestContext, random: Random, options?: DiskOptions) {
    this.#random = random;
    this.#disk = new Disk(options);
    // As a disk does, so that many cuts come between a write and its sync.
    this.#disk.setFaults([{ call: "fsync", pattern: "*", first: 1, count: 0, action: "delay", value: SYNC_MS }]);
    this.load = new Load({ random: this.#random, tamper: (clients) => this.#watchIndexes(clients) });
    t.after(() => this.#server?.kill());
  }

  /** Load, a cut, a start, a comparison. */
  async round(): Promise<void> {
    const random = this.#random;
    this.#server ??= await this.#firstStart();
    this.#cutAfterIndex = random.below(3) === 0;
    const { url } = this.#server;
    const running = Promise.all([this.load.run(url), this.#wide.run(url)]);
    await this.load.acknowledged(random.below(60));
    await new Promise((resolve) => setTimeout(resolve, random.below(20)));
    await this.#server.kill();
    await running;
    this.#cutAfterIndex = false;
    this.#cut();
    while (random.below(4) === 0) await this.#cutDuringStart();
    this.#server = await this.#disk.start();
    await this.load.compare(this.#server.url);
    await this.#wide.check(this.#server.url);
  }

  /** Of the server that ran last; ends it. */
  async lastWords(): Promise<string | undefined> {
    return this.#server?.lastWords();
  }

  async stop(): Promise<number | null | undefined> {
    return this.#server?.stop();
  }

  async #firstStart(): Promise<ServerProcess> {
    const server = await this.#disk.start();
    await this.load.prepare(server.url);
    await this.#wide.prepare(server.url);
    return server;
  }

  #cut(): void {
    this.#disk.cut(this.#random.below(2) === 0 ? this.#random : undefined);
  }

  async #cutDuringStart(): Promise<void> {
    const killAfterMs = 100 + this.#random.below(500);
    const outcome = await this.#disk.start([], { killAfterMs }).catch((error: Error) => error);
    if (outcome instanceof Error) assert.match(outcome.message, /^The server ended with SIGKILL/);
    else await outcome.kill();
    this.cutsDuringStart++;
    this.#cut();
  }

  #watchIndexes(clients: Clients): Clients {
    const { createIndex, deleteIndex } = clients.indexes;
    const killing =
      <Request extends unknown[], Answer>(call: (...request: Request) => Promise<Answer>) =>
      async (...request: Request) => {
        const answer = await call(...request);
        if (this.#cutAfterIndex) await this.#server?.kill();
        return answer;
      };
    const indexes = { ...clients.indexes, createIndex: killing(createIndex), deleteIndex: killing(deleteIndex) };
    return { ...clients, indexes };
  }
}
