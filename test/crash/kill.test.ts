import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type Bucket, Quiver } from "@quiver/client";
import type { PutVectorsResponse } from "../../gen/quiver/v1/vector_service_pb.ts";
import { exactSearch, recall } from "../support/exact-search.ts";
import type { Clients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { Load } from "./load.ts";

const ROUNDS = rounds("KILLS", { quick: 20, full: 500 });

/** Longer than a start takes, and than a write. */
const START_MS_MAX = 600;
const WRITE_MS_MAX = 10;

test("what was acknowledged before a kill -9 is there after the next start, whole, and nothing else", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const crashes = new Crashes(t, random);
  await crashes.begin();
  let kills = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await crashes.killUnderLoad();
    kills++;
    // Recovery is a time to be killed like any other, once or several times in a row.
    while (random.below(3) === 0) {
      await crashes.killWhileStarting();
      kills++;
    }
    await crashes.restart();
  }
  const { counts, failures, stored } = crashes.load;
  // On a slow machine eight clients may be too many.
  const { connection: _, OVERLOADED: __, ...others } = Object.fromEntries(failures);
  assert.deepEqual(others, {}, "no call fails but for the kills");
  t.diagnostic(`${kills} kills in ${ROUNDS} rounds, ${JSON.stringify(counts)}, ${stored} vectors at the end`);
});

for (const [what, sent] of Object.entries({
  "a write that was acknowledged but never sent": 0,
  "a batch of which only a part was sent": 0.5,
})) {
  test(`the comparison notices ${what}`, async (t) => {
    let puts = 0;
    let isDone = false;
    const crashes = new Crashes(t, new Random(), (clients) => ({
      ...clients,
      vectors: {
        ...clients.vectors,
        putVectors: async (request, options) => {
          const vectors = request.vectors ?? [];
          if (isDone || vectors.length < 2 || ++puts < 50) return clients.vectors.putVectors(request, options);
          isDone = true;
          const part = { ...request, vectors: vectors.slice(0, sent * vectors.length) } as typeof request;
          const answer = part.vectors?.length === 0 ? { lsn: 0n } : await clients.vectors.putVectors(part, options);
          return { ...answer, putCount: BigInt(vectors.length) } as PutVectorsResponse;
        },
      },
    }));
    await crashes.begin();
    await crashes.killAfterLoad(() => isDone);
    await assert.rejects(crashes.restart(), /finds something else than it wrote:/);
  });
}

test("a write-ahead log that is gone after a kill is noticed", async (t) => {
  const crashes = new Crashes(t, new Random());
  await crashes.begin();
  await crashes.killUnderLoad();
  for (const file of readdirSync(crashes.data)) if (file.endsWith(".log")) rmSync(join(crashes.data, file));
  await assert.rejects(crashes.restart());
});

test("a kill -9 in the middle of loading real word vectors loses none that was acknowledged", async (t) => {
  const words = await readWords(t);
  if (!words) return;
  let server: ServerProcess | undefined;
  t.after(() => server?.kill());
  const data = temporaryDirectory();
  server = await ServerProcess.start(data);
  const acknowledged = await loadWordsUntilKilled(server, words, 60_000);

  const started = performance.now();
  server = await ServerProcess.start(data);
  const index = bucketOf(server).index("i");
  const queries = words.slice(-20).map((word) => word.data);
  const atOnce = await index.query(queries[0] as Float32Array, { topK: 10, exact: true });
  const toFirstAnswer = performance.now() - started;
  const stored = new Map<string, Float32Array>();
  for await (const { key, data } of index.list({ data: true })) stored.set(key, data ?? new Float32Array());
  const sent = new Map(words.map(({ word, data }) => [word, data]));
  for (const key of acknowledged) assert.ok(stored.has(key), `"${key}" was acknowledged`);
  for (const [key, data] of stored) assert.deepEqual(sent.get(key), data, `"${key}" was never put so`);
  const nearest = exactSearch("cosine", stored, queries[0] as Float32Array, 10);
  assert.deepEqual(keysOf(atOnce.vectors), keysOf(nearest));
  assert.ok(atOnce.exact);

  await until(async () => (await index.stats()).unindexedVectors === 0);
  let found = 0;
  for (const query of queries) {
    const { vectors, exact } = await index.query(query, { topK: 10 });
    assert.ok(!exact);
    found += recall(exactSearch("cosine", stored, query, 10), vectors) / queries.length;
  }
  assert.ok(found >= 0.9, `recall ${found}`);
  t.diagnostic(
    `${acknowledged.length} acknowledged, ${stored.size} stored, first exact answer ${Math.round(toFirstAnswer)} ms after the start, recall by graph ${found.toFixed(3)}`,
  );
});

test("a second server on the same data is refused with one line and harms nothing", async (t) => {
  const server = await startServer(t);
  await bucketOf(server).create();
  await assert.rejects(
    ServerProcess.start(server.data),
    /ended with 3: quiver: Cannot open ".*": another process is using it/,
  );
  await assert.rejects(bucketOf(server).create(), /exists already/);
});

test("SIGTERM ends the server with exit code 0 while connections are open", async (t) => {
  const server = await startServer(t);
  await bucketOf(server).create();
  await fetch(new URL("/livez", server.url));
  assert.equal(await server.stop(), 0);
});

/** One data directory, the server on it, and the load that knows what it must hold. */
class Crashes {
  readonly data = temporaryDirectory();
  readonly load: Load;
  readonly #random: Random;
  #server: ServerProcess | undefined;

  constructor(t: TestContext, random: Random, tamper: (clients: Clients) => Clients = (clients) => clients) {
    this.load = new Load({ random, tamper });
    this.#random = random;
    t.after(() => this.#server?.kill());
  }

  async begin(): Promise<void> {
    this.#server = await ServerProcess.start(this.data);
    await this.load.prepare(this.#server.url);
  }

  /** Kills it at a random point: after some writes, and anywhere within the next ones. */
  async killUnderLoad(): Promise<void> {
    const server = this.#server as ServerProcess;
    const kill = async () => {
      await this.load.acknowledged(20 + this.#random.below(200));
      await setTimeout(WRITE_MS_MAX * this.#random.next());
      await server.kill();
    };
    await Promise.all([this.load.run(server.url), kill()]);
  }

  /** Kills it once every client has seen its last outcome. */
  async killAfterLoad(isDone: () => boolean): Promise<void> {
    const server = this.#server as ServerProcess;
    await this.load.run(server.url, isDone);
    await server.kill();
  }

  async killWhileStarting(): Promise<void> {
    const killAfterMs = 1 + this.#random.below(START_MS_MAX);
    await ServerProcess.start(this.data, [], { killAfterMs }).then(
      (server) => server.kill(),
      (error: Error) => assert.match(error.message, /ended with SIGKILL: /),
    );
  }

  async restart(): Promise<void> {
    this.#server = await ServerProcess.start(this.data);
    await this.load.retry(this.#server.url);
    await this.load.compare(this.#server.url);
  }
}

type Word = { readonly word: string; readonly data: Float32Array };

/** Puts words side by side, kills the server once so many are acknowledged, and resolves to those that are. */
async function loadWordsUntilKilled(server: ServerProcess, words: readonly Word[], killAt: number): Promise<string[]> {
  const bucket = bucketOf(server);
  const index = bucket.index("i");
  await bucket.create();
  await index.create({ dimension: 100, distanceMetric: "cosine" });
  const acknowledged: string[] = [];
  let next = 0;
  const write = async () => {
    for (;;) {
      const batch = words.slice(next, next + 500);
      next += batch.length;
      await index.put(batch.map(({ word, data }) => ({ key: word, data })));
      for (const { word } of batch) acknowledged.push(word);
      if (acknowledged.length >= killAt) await server.kill();
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: 4 }, write));
  assert.ok(ends.every(({ status }) => status === "rejected"));
  return acknowledged;
}

function bucketOf(server: ServerProcess): Bucket {
  return new Quiver({ transport: createGrpcTransport({ baseUrl: server.url }) }).bucket("b");
}

/** The demo's words; undefined, with the reason printed, where its packages are not installed. */
async function readWords(t: TestContext): Promise<readonly Word[] | undefined> {
  if (existsSync(resolve(import.meta.dirname, "../../demo/node_modules"))) {
    return (await import("../../demo/words.ts")).readWords();
  }
  const reason = "the demo's packages are not installed (scripts/install demo)";
  if (process.env.CI) throw new Error(reason);
  t.skip(reason);
  return undefined;
}

function keysOf(vectors: readonly { key: string }[]): string[] {
  return vectors.map(({ key }) => key);
}
