import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { Model, PartitionModel, type Place } from "./model.ts";
import { type Context, describe, type Operation, outcomeOf } from "./operation.ts";
import { randomOperation, randomWrite } from "./operations.ts";
import { chance, randomData, randomMetadata } from "./values.ts";
import { store } from "./vector-requests.ts";
import { Watchers } from "./watchers.ts";

const HISTORY = 15;
const RESTART_SHARE = 1 / 400;
const PARALLEL_SHARE = 0.1;
const WATCH_CHECK_EVERY = 500;

export interface RunOptions {
  readonly operations: number;
  /** Changes the clients, to see whether the run notices. */
  readonly tamper?: (clients: Clients) => Clients;
}

export interface RunResult {
  readonly counts: ReadonlyMap<string, number>;
  readonly restarts: number;
  readonly parallel: number;
  readonly watches: number;
}

/** Calls a server at random, and rejects with seed, number and last operations when it differs from the model. */
export async function runModel(t: TestContext, options: RunOptions): Promise<RunResult> {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const run = new Run(random, options);
  t.after(() => run.end());
  try {
    await run.start(temporaryDirectory());
    return await run.all();
  } catch (error) {
    const last = run.history.join("\n  ");
    const what = `QUIVER_TEST_SEED=${random.seed}, operation ${run.done}; the last ones:\n  ${last}`;
    throw new Error(`${(error as Error).message}\n${what}`, { cause: error });
  }
}

class Run {
  readonly history: string[] = [];
  done = 0;
  readonly #random: Random;
  readonly #options: RunOptions;
  readonly #model = new Model();
  readonly #counts = new Map<string, number>();
  #server: ServerProcess | undefined;
  #clients: Clients[] = [];
  #context: Context | undefined;
  #restarts = 0;
  #parallel = 0;

  constructor(random: Random, options: RunOptions) {
    this.#random = random;
    this.#options = options;
  }

  async start(data: string): Promise<void> {
    await this.#serve(data);
    const watchers = new Watchers(this.#client());
    this.#context = { random: this.#random, model: this.#model, watchers, floor: 0n };
    await this.#loadBigIndex();
  }

  async end(): Promise<void> {
    await this.#server?.kill();
    this.#context?.watchers.stop();
  }

  async all(): Promise<RunResult> {
    const context = this.#context as Context;
    let checked = 0;
    while (this.done < this.#options.operations) {
      if (chance(this.#random, RESTART_SHARE)) await this.#restart();
      else if (chance(this.#random, PARALLEL_SHARE)) await this.#runSideBySide();
      else await this.#runAll([randomOperation(context)]);
      if (this.done - checked < WATCH_CHECK_EVERY) continue;
      checked = this.done;
      await context.watchers.assertSettled(this.#model);
    }
    const watches = await context.watchers.assertSettled(this.#model);
    return { counts: this.#counts, restarts: this.#restarts, parallel: this.#parallel, watches };
  }

  async #serve(data: string): Promise<void> {
    this.#server = await ServerProcess.start(data);
    const { url } = this.#server;
    const { tamper = (clients: Clients) => clients } = this.#options;
    this.#clients = Object.values(PROTOCOLS).map((connect) => tamper(createClients(connect(url))));
  }

  /** Any of the protocols; streams of a client need HTTP/2, which only some of them speak here. */
  #client(operation?: Operation): Clients {
    const [, connect, grpc] = this.#clients;
    const streaming = [connect, grpc] as Clients[];
    return this.#random.pick(operation?.method === "VectorService/ImportVectors" ? streaming : this.#clients);
  }

  async #runAll(operations: readonly Operation[]): Promise<void> {
    const context = this.#context as Context;
    context.floor = this.#model.lsn;
    const calls = operations.map((operation) => {
      this.#note(operation);
      const clients = this.#client(operation);
      return { operation, clients, outcome: outcomeOf(operation.call(clients)) };
    });
    const outcomes = await Promise.all(calls.map(({ outcome }) => outcome));
    for (const [i, { operation, clients }] of calls.entries()) {
      const outcome = outcomes[i];
      if (outcome) await operation.settle(outcome, clients);
    }
  }

  #note(operation: Operation): void {
    this.done++;
    this.history.push(`${this.done} ${describe(operation)}`);
    if (this.history.length > HISTORY) this.history.shift();
    this.#counts.set(operation.method, (this.#counts.get(operation.method) ?? 0) + 1);
  }

  /** Reads, and writes of namespaces that nothing else in the group touches: their order does not matter. */
  async #runSideBySide(): Promise<void> {
    const context = this.#context as Context;
    const group: Operation[] = [];
    for (let i = 0; i < 6; i++) {
      const operation = randomOperation(context);
      if (operation.effect !== "alone" && !group.some((other) => conflict(other, operation))) group.push(operation);
    }
    this.#parallel += group.length;
    await this.#runAll(group);
  }

  /** Ends the server, gracefully or not, sometimes in the middle of a write, and starts it again. */
  async #restart(): Promise<void> {
    const context = this.#context as Context;
    const server = this.#server as ServerProcess;
    const kind = this.#random.pick(["stop", "kill", "kill in a write"] as const);
    this.history.push(`restart: ${kind}`);
    this.#restarts++;
    const write = kind === "kill in a write" ? randomWrite(context) : undefined;
    context.floor = this.#model.lsn;
    const first = write && this.#interrupt(write);
    for (let turns = first ? this.#random.below(30) : 0; turns > 0; turns--) await setImmediate();
    if (kind === "stop") assert.equal(await server.stop(), 0, "the exit code");
    else await server.kill();
    const answer = await first;
    await this.#serve(server.data);
    context.watchers.resume(this.#client());
    if (write) await this.#repeat(write, answer);
  }

  #interrupt(write: Operation): Promise<object | undefined> {
    this.#note(write);
    return write.call(this.#client(write)).catch(() => undefined);
  }

  /** The write came with an idempotency key: it happens once, whether the first try was stored or not. */
  async #repeat(write: Operation, first: object | undefined): Promise<void> {
    const clients = this.#client(write);
    const outcome = await outcomeOf(write.call(clients));
    if (first) {
      const again = "answer" in outcome ? outcome.answer : undefined;
      assert.ok(isDeepStrictEqual(again, first), "the answer before the crash and after it");
    }
    await write.settle(outcome, clients);
  }

  /** One index that is large enough for queries by graph. */
  async #loadBigIndex(): Promise<void> {
    const context = this.#context as Context;
    const place: Place = { bucket: "big", index: "big", namespace: "" };
    const dimension = 4;
    const clients = this.#client();
    const index = { vectorBucketName: "big", indexName: "big" };
    await clients.buckets.createVectorBucket({ vectorBucketName: "big" });
    await clients.indexes.createIndex({
      ...index,
      dataType: DataType.FLOAT32,
      dimension,
      distanceMetric: DistanceMetric.EUCLIDEAN,
      metadataConfiguration: { nonFilterableMetadataKeys: ["doc"] },
    });
    const keys = Array.from({ length: 3000 }, (_, i) => `k${i}`);
    const model = {
      bucket: "big",
      name: "big",
      dimension,
      metric: DistanceMetric.EUCLIDEAN,
      nonFilterableKeys: ["doc"],
      keys,
      tags: new Map<string, string>(),
      partitions: new Map([["", new PartitionModel()]]),
      m: 16,
      efConstruction: 200,
      deletionProtection: false,
    };
    this.#model.buckets.set("big", { name: "big", tags: new Map(), indexes: new Map([["big", model]]) });
    const partition = this.#model.openPartition(place);
    await context.watchers.open(place, clients);
    for (let i = 0; i < keys.length; i += 500) {
      const vectors = keys.slice(i, i + 500).map((key) => ({
        key,
        data: { float32: randomData(this.#random, dimension) },
        metadata: randomMetadata(this.#random),
      }));
      const { lsn } = await clients.vectors.putVectors({ ...index, vectors });
      for (const vector of vectors) store(partition, vector, lsn);
      this.#model.wrote(partition, lsn);
    }
  }
}

/** Whether the outcome of one could depend on the other. */
function conflict(a: Operation, b: Operation): boolean {
  if (a.effect === "read" && b.effect === "read") return false;
  return isDeepStrictEqual(a.place, b.place);
}
