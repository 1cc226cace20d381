import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import type { GetVectorsResponse, PutVectorsResponse } from "../../gen/quiver/v1/vector_service_pb.ts";
import { patientTransport } from "../support/patient.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { History } from "./history.ts";

const HISTORIES = rounds("HISTORIES", { quick: 100, full: 2_000 });

/** So many histories are made side by side, so that each of them sees the kill and the pauses. */
const TOGETHER = 10;
const CLIENTS = 8;
const CALLS = 12;
const PAUSE_MS_MAX = 60;

const INDEX = { vectorBucketName: "b", indexName: "i" } as const;

test("calls on single keys are linearizable, across kills and pauses of the server", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const histories = new Histories(t, random);
  await histories.begin();
  while (histories.made < HISTORIES) await histories.make(Math.min(TOGETHER, HISTORIES - histories.made));
  const { made, operations, open, kills, pauses } = histories;
  t.diagnostic(`${made} histories, ${operations} operations, ${open} calls lost in ${kills} kills, ${pauses} pauses`);
});

/** Makes clients that show what a server with this fault would answer. */
const FAULTS: Readonly<Record<string, () => (clients: Clients) => Clients>> = {
  "reads that are answered from a cache": () => {
    const cache = new Map<string, GetVectorsResponse>();
    return (clients) =>
      withVectors(clients, {
        getVectors: async (request, options) => {
          const id = `${request.namespace} ${request.keys}`;
          const answer = cache.get(id) ?? (await clients.vectors.getVectors(request, options));
          cache.set(id, answer);
          return answer;
        },
      });
  },
  "writes that are acknowledged before they are applied": () => (clients) =>
    withVectors(clients, {
      putVectors: async (request, options) => {
        if (request.vectors?.[0]?.ifVersion !== undefined) return clients.vectors.putVectors(request, options);
        const put = async () => {
          await setTimeout(3);
          await clients.vectors.putVectors(request, options);
        };
        put().catch(() => {});
        return { lsn: 0n, putCount: 1n } as PutVectorsResponse;
      },
    }),
  "writes that are lost": () => {
    let puts = 0;
    return (clients) =>
      withVectors(clients, {
        putVectors: async (request, options) => {
          if (++puts % 10 !== 0) return clients.vectors.putVectors(request, options);
          return { lsn: 0n, putCount: 1n } as PutVectorsResponse;
        },
      });
  },
};

for (const [fault, tamper] of Object.entries(FAULTS)) {
  test(`${fault} are found`, async (t) => {
    const random = new Random();
    t.diagnostic(`seed ${random.seed}`);
    const histories = new Histories(t, random, tamper());
    await histories.begin();
    await assert.rejects(histories.make(3), /are not linearizable/);
  });
}

/** One data directory, the server on it, and the histories that are made on it. */
class Histories {
  made = 0;
  operations = 0;
  /** Calls whose outcome was not seen. */
  open = 0;
  kills = 0;
  pauses = 0;
  readonly #random: Random;
  readonly #tamper: (clients: Clients) => Clients;
  readonly #data = temporaryDirectory();
  #server: Promise<ServerProcess> | undefined;
  #calls = 0;
  /** Who waits for which call to begin. */
  readonly #marks = new Map<number, () => void>();

  constructor(t: TestContext, random: Random, tamper: (clients: Clients) => Clients = (clients) => clients) {
    this.#random = random;
    this.#tamper = tamper;
    t.after(async () => (await this.#server)?.kill());
  }

  async begin(): Promise<void> {
    const clients = await this.#connectPatiently();
    await clients.buckets.createVectorBucket({ vectorBucketName: INDEX.vectorBucketName });
    const dataType = DataType.FLOAT32;
    await clients.indexes.createIndex({ ...INDEX, dataType, dimension: 2, distanceMetric: DistanceMetric.EUCLIDEAN });
  }

  /** Makes so many side by side, with one kill and some pauses in the middle of them, and judges them. */
  async make(count: number): Promise<void> {
    const places = Array.from({ length: count }, () => ({ ...INDEX, namespace: `h${this.made++}` }));
    const admin = await this.#connectPatiently();
    await Promise.all(places.map((place) => admin.namespaces.createNamespace(place)));
    const histories = places.map((place) => new History(place, this.#random));
    this.#calls = 0;
    this.#marks.clear();
    const running = histories.flatMap((history) => Array.from({ length: CLIENTS }, () => this.#callAll(history)));
    await Promise.all([...running, this.#disturb(running.length * CALLS)]);
    const clients = await this.#connectPatiently();
    await Promise.all(histories.map((history) => history.finish(clients)));
    for (const history of histories) {
      history.assertLinearizable();
      this.operations += history.size;
    }
    await Promise.all(places.map((place) => clients.namespaces.deleteNamespace(place)));
  }

  /** One client: calls one after the other, on another connection once it has lost its own. */
  async #callAll(history: History): Promise<void> {
    let clients = await this.#connect();
    for (let i = 0; i < CALLS; i++) {
      this.#marks.get(++this.#calls)?.();
      if (await history.callOnce(clients)) continue;
      this.open++;
      clients = await this.#connect();
    }
  }

  /** Kills the server at a random point of so many calls, and pauses it before and after. */
  async #disturb(calls: number): Promise<void> {
    // Three calls, not one of them twice: of two who wait for the same call only one would hear of it.
    const marks = new Set<number>();
    while (marks.size < 3) marks.add(1 + this.#random.below(calls));
    const [first, middle, last] = [...marks]
      .sort((a, b) => a - b)
      .map((mark) => new Promise<void>((reach) => this.#marks.set(mark, reach)));
    await first;
    await this.#pause();
    await middle;
    const server = (await this.#server) as ServerProcess;
    this.kills++;
    this.#server = server.kill().then(() => ServerProcess.start(this.#data));
    await last;
    await this.#pause();
  }

  async #pause(): Promise<void> {
    const { pid } = (await this.#server) as ServerProcess;
    process.kill(pid as number, "SIGSTOP");
    await setTimeout(this.#random.below(PAUSE_MS_MAX));
    process.kill(pid as number, "SIGCONT");
    this.pauses++;
  }

  async #connect(): Promise<Clients> {
    return this.#tamper(createClients(createGrpcTransport({ baseUrl: await this.#url() })));
  }

  async #connectPatiently(): Promise<Clients> {
    return this.#tamper(createClients(patientTransport(await this.#url())));
  }

  async #url(): Promise<string> {
    this.#server ??= ServerProcess.start(this.#data);
    return (await this.#server).url;
  }
}

function withVectors(clients: Clients, vectors: Partial<Clients["vectors"]>): Clients {
  return { ...clients, vectors: { ...clients.vectors, ...vectors } };
}
