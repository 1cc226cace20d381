import assert from "node:assert/strict";
import { ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DataType } from "../../gen/quiver/v1/resources_pb.ts";
import { REASONS, type Reason } from "../../src/errors.ts";
import { reasonOf } from "../model/operation.ts";
import { patientTransport } from "../support/patient.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { type Answer, type Operation, randomOperation } from "./load-operations.ts";
import { readAll } from "./load-reads.ts";
import {
  assertNothingElse,
  BUCKET,
  differences,
  type Found,
  foundOf,
  SHARED,
  SHARED_INDEX,
  type State,
} from "./load-state.ts";

/** A call that takes longer hangs. */
const CALL_MS_MAX = 60_000;

/** The codes that promise that a write was not applied; of these, a load gets only the ones that resources explain. */
const REFUSALS: ReadonlySet<string> = new Set(["RESOURCE_EXHAUSTED"]);
const UNKNOWN: ReadonlySet<string> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"]);

export interface LoadOptions {
  readonly random: Random;
  /** Default 8. */
  readonly clients?: number;
  /** Changes what the clients call, to see whether the comparison notices. */
  readonly tamper?: (clients: Clients) => Clients;
}

/**
 * Clients that put, overwrite, update, delete, create and drop at random, side by side, and know what the server must
 * hold: each its own keys, so that it knows exactly. An outcome that a client does not see leaves two states that are
 * right, that before and that after, both whole; it stops there.
 *
 *     const load = new Load({ random });
 *     await load.prepare(url);            // once for a data directory
 *     const running = load.run(url);      // until every client has lost the server, or until isDone()
 *     await load.acknowledged(100);       // so many more writes
 *     ... kill the server, start it again ...
 *     await running;
 *     await load.compare(url);            // rejects when anything differs; then run() again
 */
export class Load {
  /** Calls by what became of them. */
  readonly counts = { operations: 0, acknowledged: 0, refused: 0, unknown: 0, retried: 0 };
  /** How often each reason was answered; "connection" where the server was gone. */
  readonly failures = new Map<string, number>();
  /** The vectors that the last comparison saw. */
  stored = 0;
  readonly #options: LoadOptions;
  readonly #clients: LoadClient[];
  #waiting: { readonly acknowledged: number; readonly resolve: () => void }[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    const { random, clients = 8 } = options;
    // Each with a generator of its own, so that a client's writes do not depend on how fast the others are.
    this.#clients = Array.from(
      { length: clients },
      (_, id) => new LoadClient(id, new Random(random.below(2 ** 31)), this),
    );
  }

  /** Creates what the clients share, in an empty server. */
  async prepare(url: string): Promise<void> {
    const clients = this.#connectPatiently(url);
    await clients.buckets.createVectorBucket({ vectorBucketName: BUCKET });
    await clients.indexes.createIndex({
      vectorBucketName: BUCKET,
      indexName: SHARED_INDEX,
      dataType: DataType.FLOAT32,
      ...SHARED,
    });
  }

  /**
   * Runs every client until `isDone` or until it does not see an outcome. Rejects on a refusal that nothing explains and
   * on a wrong answer.
   */
  async run(url: string, isDone: () => boolean = () => false): Promise<void> {
    try {
      await Promise.all(this.#clients.map((client) => client.run(this.#connect(url), isDone)));
    } finally {
      for (const { resolve } of this.#waiting) resolve();
      this.#waiting = [];
    }
  }

  /** Resolves after so many more acknowledged writes, or when the clients stop. Call it after `run`. */
  acknowledged(more: number): Promise<void> {
    const acknowledged = this.counts.acknowledged + more;
    return new Promise((resolve) => void this.#waiting.push({ acknowledged, resolve }));
  }

  /** Calls what had no outcome again, for about half of such clients: that must be harmless. Before `compare`. */
  async retry(url: string): Promise<void> {
    const { random } = this.#options;
    for (const client of this.#clients) if (random.below(2) === 0) await client.retry(this.#connectPatiently(url));
  }

  /**
   * Reads all that the server holds, in every way that there is, and rejects when a client's vectors are neither in the
   * state that it knows nor, after an outcome that it did not see, in the other one. What is found is what it knows then.
   */
  async compare(url: string): Promise<void> {
    const places = await this.#read(url);
    for (const client of this.#clients) client.adopt(foundOf(client.id, places));
    this.stored = places.values().reduce((sum, { size }) => sum + size, 0);
  }

  /** As `compare`, but outcomes that were not seen stay open: a server that cannot write may show the state before. */
  async check(url: string): Promise<void> {
    await this.#read(url);
  }

  /** Counts one outcome. */
  count(outcome: "acknowledged" | "refused" | "unknown" | "retried", failure?: string): void {
    this.counts[outcome]++;
    if (outcome !== "retried") this.counts.operations++;
    if (failure !== undefined) this.failures.set(failure, (this.failures.get(failure) ?? 0) + 1);
    this.#waiting = this.#waiting.filter(({ acknowledged, resolve }) => {
      if (this.counts.acknowledged < acknowledged) return true;
      resolve();
      return false;
    });
  }

  async #read(url: string) {
    const { lsns, places } = await readAll(this.#connectPatiently(url));
    assertNothingElse(this.#clients.length, places);
    for (const client of this.#clients) client.check(foundOf(client.id, places), lsns);
    return places;
  }

  /** Every client has a connection of its own. */
  #connect(url: string): Clients {
    return this.#tamper(createClients(createGrpcTransport({ baseUrl: url })));
  }

  #connectPatiently(url: string): Clients {
    return this.#tamper(createClients(patientTransport(url)));
  }

  #tamper(clients: Clients): Clients {
    return this.#options.tamper?.(clients) ?? clients;
  }
}

/** One writer, which calls one operation after the other. */
class LoadClient {
  readonly id: number;
  readonly #random: Random;
  readonly #load: Load;
  #state: State = new Map([["keys", new Map()]]);
  /** The write whose outcome was not seen. */
  #open: Operation | undefined;
  #batches = 0;
  #lsn = 0n;

  constructor(id: number, random: Random, load: Load) {
    this.id = id;
    this.#random = random;
    this.#load = load;
  }

  async run(clients: Clients, isDone: () => boolean): Promise<void> {
    while (!isDone()) {
      assert.equal(this.#open, undefined, "compare before the next run: an outcome is open");
      const options = { random: this.#random, client: this.id, state: this.#state, batch: ++this.#batches };
      const operation = randomOperation(options);
      const outcome = await this.#call(clients, operation);
      if ("failure" in outcome) {
        this.#load.count(outcome.applied, outcome.failure);
        if (outcome.applied === "refused") continue;
        this.#open = operation;
        return;
      }
      operation.check?.(outcome.answer);
      this.#done(operation, outcome.answer.lsn);
      this.#load.count("acknowledged");
    }
  }

  async retry(clients: Clients): Promise<void> {
    const operation = this.#open;
    if (!operation) return;
    this.#load.count("retried");
    const outcome = await this.#call(clients, operation);
    if ("failure" in outcome) assert.equal(outcome.failure, operation.doneReason, `a retry of ${operation.name}`);
    else if (operation.isIdempotent) operation.check?.(outcome.answer);
    const isKnown = operation.isIdempotent && "answer" in outcome;
    this.#done(operation, isKnown ? outcome.answer.lsn : undefined);
  }

  check(found: Found, lsns: readonly bigint[]): void {
    for (const lsn of lsns) assert.ok(lsn >= this.#lsn, `lost: ${this.#lsn} was acknowledged, the server is at ${lsn}`);
    const states = this.#open ? [this.#state, this.#open.after(undefined)] : [this.#state];
    const told = states.map((state) => differences(found, state));
    if (told.every((each) => each.length > 0)) {
      const open = this.#open ? ` (${this.#open.name} had no outcome: before, then after it)` : "";
      const list = told.map((each) => each.slice(0, 10).join("\n  ")).join("\n or\n  ");
      assert.fail(`Client ${this.id} finds something else than it wrote${open}:\n  ${list}`);
    }
  }

  adopt(found: Found): void {
    this.#open = undefined;
    // With the versions that it did not know.
    this.#state = found as State;
  }

  #done(operation: Operation, lsn: bigint | undefined): void {
    this.#state = operation.after(lsn);
    this.#open = undefined;
    if (lsn !== undefined && lsn > this.#lsn) this.#lsn = lsn;
  }

  async #call(clients: Clients, operation: Operation): Promise<Outcome> {
    try {
      return { answer: await operation.call(clients, { timeoutMs: CALL_MS_MAX }) };
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      const reason = reasonOf(error) as Reason | undefined;
      if (reason === undefined) return { applied: "unknown", failure: "connection" };
      const code = REASONS[reason];
      if (REFUSALS.has(code)) return { applied: "refused", failure: reason };
      if (UNKNOWN.has(code)) return { applied: "unknown", failure: reason };
      if (reason === operation.doneReason && this.#open) return { applied: "refused", failure: reason };
      throw new Error(`Client ${this.id} cannot ${operation.name}: ${error.message}`, { cause: error });
    }
  }
}

type Outcome = { readonly answer: Answer } | { readonly applied: "refused" | "unknown"; readonly failure: string };
