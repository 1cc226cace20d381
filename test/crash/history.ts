import assert from "node:assert/strict";
import { ConnectError } from "@connectrpc/connect";
import type { Vector } from "../../gen/quiver/v1/resources_pb.ts";
import { REASONS, type Reason } from "../../src/errors.ts";
import { reasonOf } from "../model/operation.ts";
import { type Call, isLinearizable } from "../support/linearizable.ts";
import type { Clients } from "../support/protocols.ts";
import type { Random } from "../support/random.ts";
import { ABSENT, type RegisterOperation, register } from "../support/register.ts";

const KEYS = Array.from({ length: 10 }, (_, i) => `k${i}`);
const ALL = { returnData: true, returnMetadata: true } as const;
/** A call that takes longer hangs. */
const CALL_MS_MAX = 60_000;

const UNKNOWN: ReadonlySet<string> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"]);

/** Where a history is made: a namespace that nothing else uses. */
export interface HistoryPlace {
  readonly vectorBucketName: string;
  readonly indexName: string;
  readonly namespace: string;
}

type Version = { readonly value: number; readonly version: bigint };

/**
 * What several clients asked about ten keys, and what they were answered, in the order in which it happened. Every value
 * is written once. Reads by get, list and exact query are all reads of the keys that they show, and of those that they
 * do not show.
 */
export class History {
  readonly #place: HistoryPlace;
  readonly #random: Random;
  readonly #calls = new Map<string, Call<RegisterOperation>[]>(KEYS.map((key) => [key, []]));
  /** What was seen of a key last, by whichever client: what conditional puts expect. */
  readonly #seen = new Map<string, Version>();
  readonly #versions = new Map<string, bigint>();
  #time = 0;
  #values = ABSENT;

  constructor(place: HistoryPlace, random: Random) {
    this.#place = place;
    this.#random = random;
  }

  /** How many operations on keys it holds. */
  get size(): number {
    return this.#calls.values().reduce((sum, calls) => sum + calls.length, 0);
  }

  /** One call at random. Resolves to false when its outcome was not seen: another connection is needed then. */
  async callOnce(clients: Clients): Promise<boolean> {
    const key = this.#random.pick(KEYS);
    const call = this.#random.pick([
      () => this.#put(clients, key),
      () => this.#put(clients, key),
      () => this.#compareAndPut(clients, key),
      () => this.#compareAndPut(clients, key),
      () => this.#delete(clients, key),
      () => this.#get(clients, [key]),
      () => this.#get(clients, [key]),
      () => this.#list(clients),
      () => this.#query(clients),
    ]);
    return call();
  }

  /** Reads every key, so that what is still open shows. */
  async finish(clients: Clients): Promise<void> {
    assert.ok(await this.#get(clients, KEYS));
  }

  /** Rejects unless every key is one register that calls change one after the other. */
  assertLinearizable(): void {
    for (const [key, calls] of this.#calls) {
      if (isLinearizable(calls, ABSENT, register)) continue;
      const told = calls
        .toSorted((a, b) => a.invoked - b.invoked)
        .map(({ operation, invoked, returned }) => `${invoked} to ${returned}: ${JSON.stringify(operation)}`);
      assert.fail(`The calls on "${key}" of ${this.#place.namespace} are not linearizable:\n  ${told.join("\n  ")}`);
    }
  }

  async #put(clients: Clients, key: string): Promise<boolean> {
    const value = ++this.#values;
    const request = { ...this.#place, vectors: [vectorOf(key, value)] };
    const put = () => clients.vectors.putVectors(request, { timeoutMs: CALL_MS_MAX });
    return this.#call(put, (outcome) => {
      this.#noteOutcome(key, value, outcome);
      return [[key, { kind: "put", value }]];
    });
  }

  async #compareAndPut(clients: Clients, key: string): Promise<boolean> {
    const value = ++this.#values;
    const { value: expected, version } = this.#seen.get(key) ?? { value: ABSENT, version: 0n };
    const request = { ...this.#place, vectors: [{ ...vectorOf(key, value), ifVersion: version }] };
    const put = () => clients.vectors.putVectors(request, { timeoutMs: CALL_MS_MAX });
    const record = (outcome: Outcome<{ lsn: bigint }>): [string, RegisterOperation][] => {
      this.#noteOutcome(key, value, outcome);
      const done = outcome === "lost" ? undefined : outcome !== "mismatch";
      return [[key, { kind: "compareAndPut", expected, value, done }]];
    };
    return this.#call(put, record);
  }

  async #delete(clients: Clients, key: string): Promise<boolean> {
    const request = { ...this.#place, keys: [key] };
    const remove = () => clients.vectors.deleteVectors(request, { timeoutMs: CALL_MS_MAX });
    return this.#call(remove, (outcome) => {
      this.#seen.delete(key);
      const wasThere = typeof outcome === "string" ? undefined : outcome.answer.deletedCount === 1n;
      return [[key, { kind: "delete", wasThere }]];
    });
  }

  #get(clients: Clients, keys: readonly string[]): Promise<boolean> {
    const request = { ...this.#place, ...ALL, keys: [...keys] };
    return this.#read(() => clients.vectors.getVectors(request, { timeoutMs: CALL_MS_MAX }), keys);
  }

  #list(clients: Clients): Promise<boolean> {
    const request = { ...this.#place, ...ALL, maxResults: 100 };
    return this.#read(() => clients.vectors.listVectors(request, { timeoutMs: CALL_MS_MAX }), KEYS);
  }

  #query(clients: Clients): Promise<boolean> {
    const search = { mode: { case: "exact", value: true } } as const;
    const request = { ...this.#place, ...ALL, queryVector: { float32: [1, 1] }, topK: 100, search };
    return this.#read(() => clients.vectors.queryVectors(request, { timeoutMs: CALL_MS_MAX }), KEYS);
  }

  /** A read without an answer says nothing, so it is no part of the history. */
  async #read(
    read: () => Promise<{ readonly vectors: readonly Pick<Vector, "key" | "data" | "metadata" | "version">[] }>,
    keys: readonly string[],
  ): Promise<boolean> {
    return this.#call(read, (outcome) => {
      if (typeof outcome === "string") return [];
      const { vectors } = outcome.answer;
      const found = new Map(vectors.map((vector) => [vector.key, writtenValue(vector)]));
      assert.equal(found.size, vectors.length, "a key stands twice in an answer");
      for (const key of keys) this.#seen.delete(key);
      for (const { key, version } of vectors) this.#note(key, found.get(key) as number, version);
      return keys.map((key) => [key, { kind: "read", answer: found.get(key) ?? ABSENT }]);
    });
  }

  /** Calls and notes what the outcome says of which keys. Resolves to false when the outcome was not seen. */
  async #call<Answer>(
    call: () => Promise<Answer>,
    record: (outcome: Outcome<Answer>) => (readonly [string, RegisterOperation])[],
  ): Promise<boolean> {
    const invoked = ++this.#time;
    const outcome = await outcomeOf(call());
    // If it did something nevertheless, a read shows a value that nobody has put.
    if (outcome === "refused") return true;
    const returned = outcome === "lost" ? Number.POSITIVE_INFINITY : ++this.#time;
    for (const [key, operation] of record(outcome)) this.#calls.get(key)?.push({ operation, invoked, returned });
    return outcome !== "lost";
  }

  /** What is known of a key after a put; nothing unless it was done. */
  #noteOutcome(key: string, value: number, outcome: Outcome<{ lsn: bigint }>): void {
    this.#seen.delete(key);
    if (typeof outcome !== "string") this.#note(key, value, outcome.answer.lsn);
  }

  /** A value has one version for as long as it stands; 0 is an answer that names none. */
  #note(key: string, value: number, version: bigint): void {
    if (version === 0n) return;
    const id = `${key} ${value}`;
    const known = this.#versions.get(id) ?? version;
    assert.equal(version, known, `value ${value} of "${key}" has two versions`);
    this.#versions.set(id, version);
    this.#seen.set(key, { value, version });
  }
}

/** "mismatch": its condition does not hold; "refused": it did nothing; "lost": it may have taken effect, or not. */
type Outcome<Answer> = { readonly answer: Answer } | "mismatch" | "refused" | "lost";

async function outcomeOf<Answer>(call: Promise<Answer>): Promise<Outcome<Answer>> {
  try {
    return { answer: await call };
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const reason = reasonOf(error) as Reason | undefined;
    if (reason === "VERSION_MISMATCH") return "mismatch";
    if (reason === "OVERLOADED") return "refused";
    if (reason === undefined || UNKNOWN.has(REASONS[reason])) return "lost";
    throw error;
  }
}

/** The value stands in both, so that a vector that is made of two writes shows. */
function vectorOf(key: string, value: number) {
  return { key, data: { float32: [value, 1] }, metadata: { value } };
}

function writtenValue({ key, data, metadata }: Pick<Vector, "key" | "data" | "metadata">): number {
  const value = data?.float32[0] ?? Number.NaN;
  assert.equal(metadata?.value, value, `"${key}" has the data of another write than its metadata`);
  return value;
}
