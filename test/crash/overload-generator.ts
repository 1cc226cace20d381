import { setTimeout } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { PutVectorsRequestSchema, QueryVectorsRequestSchema } from "../../gen/quiver/v1/vector_service_pb.ts";
import { type ProcessorTime, processorTimeSince, readProcessorTime } from "../support/processor-time.ts";
import { Random } from "../support/random.ts";
import { type End, type Frames, framesOfCall, grpcHeaders, LoadConnection } from "./overload-connection.ts";

/** What one process of load does; sent to it as a message. */
export interface LoadRequest {
  readonly url: string;
  readonly serverPid: number;
  readonly seed: number;
  readonly dimension: number;
  readonly connections: number;
  readonly localAddress?: string;
  readonly seconds: number;
  /** Calls a second, whether others have ended or not; or so many calls at a time, each after the end of another. */
  readonly load: { readonly perSecond: number } | { readonly atOnce: number };
  /** The share of puts; the others are queries. */
  readonly putShare: number;
  /** Keys of puts begin with it. */
  readonly keyPrefix: string;
  /** An answer that comes later is worth nothing. In milliseconds. */
  readonly deadlineMs: number;
}

/** What came of it; sent back. Latencies in milliseconds, from when a call was due. */
export interface LoadResult {
  readonly seconds: number;
  readonly due: number;
  readonly ok: number;
  readonly late: number;
  readonly refused: number;
  readonly failed: number;
  readonly okMs: Percentiles;
  readonly refusedMs: Percentiles;
  /** Numbers of the puts that were acknowledged, and how many were sent. */
  readonly acknowledged: readonly number[];
  readonly puts: number;
  /** What processors did from the first call to the end of the time, in seconds. */
  readonly processors: ProcessorTime;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

const SERVICE = "/quiver.v1.VectorService";
const TEMPLATES = 200;
const KEY_DIGITS = 8;
/** How often a call without an answer is waited for, in milliseconds after the end. */
const TAIL_MS = 3_000;

/** Sent before the result, once the server has taken all connections. */
export const ACCEPTED = "accepted";

process.on("message", (request: LoadRequest) => {
  run(request).then((result) => process.send?.(result));
});

/** The data of put `number`, which the test compares with what is stored. */
export function putVectors(seed: number, dimension: number): Float32Array[] {
  const random = new Random(seed);
  return Array.from({ length: TEMPLATES }, () => random.vector(dimension));
}

export function putKey(prefix: string, number: number): string {
  return prefix + String(number).padStart(KEY_DIGITS, "0");
}

async function run(request: LoadRequest): Promise<LoadResult> {
  const load = new Load(request);
  load.accepted.then(() => process.send?.(ACCEPTED));
  const before = readProcessorTime(request.serverPid);
  const startedAt = performance.now();
  const endAt = startedAt + request.seconds * 1_000;
  if ("atOnce" in request.load) {
    for (let i = 0; i < request.load.atOnce; i++) load.keepCalling(endAt);
    await setTimeout(request.seconds * 1_000);
  } else {
    const { perSecond } = request.load;
    let due = 0;
    for (let now = performance.now(); now < endAt; now = performance.now()) {
      const until = Math.floor(((now - startedAt) / 1_000) * perSecond);
      for (; due < until; due++) load.waiting.push(startedAt + (due / perSecond) * 1_000);
      load.send();
      await setTimeout(1);
    }
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const processors = processorTimeSince(before, request.serverPid);
  while (load.open > 0 && performance.now() < endAt + TAIL_MS) await setTimeout(1);
  return load.finish(seconds, processors);
}

interface PutTemplate {
  readonly frames: Frames;
  readonly keyAt: number;
}

class Load {
  /** When calls were due that no connection had room for. */
  readonly waiting: number[] = [];
  open = 0;
  readonly #request: LoadRequest;
  readonly #random: Random;
  readonly #connections: LoadConnection[];
  readonly #queries: Frames[];
  readonly #puts: PutTemplate[];
  readonly #latencies: Record<End, number[]> = { ok: [], refused: [], failed: [] };
  readonly #acknowledged: number[] = [];
  #putCount = 0;
  #due = 0;
  #next = 0;

  constructor(request: LoadRequest) {
    this.#request = request;
    this.#random = new Random(request.seed);
    const url = new URL(request.url);
    this.#connections = Array.from(
      { length: request.connections },
      () => new LoadConnection(url, request.localAddress),
    );
    const timeout = `${request.deadlineMs}m`;
    const queryHeaders = grpcHeaders(url, `${SERVICE}/QueryVectors`, timeout);
    const putHeaders = grpcHeaders(url, `${SERVICE}/PutVectors`, timeout);
    this.#queries = Array.from({ length: TEMPLATES }, () => framesOfCall(queryHeaders, this.#encodeQuery()));
    this.#puts = putVectors(request.seed, request.dimension).map((data) => this.#encodePut(putHeaders, data));
  }

  /** Calls until the time is over, one call after the other. */
  keepCalling(endAt: number): void {
    const now = performance.now();
    if (now >= endAt) return;
    this.waiting.push(now);
    this.send(() => this.keepCalling(endAt));
  }

  /** Sends what waits, as far as connections have room. */
  send(after?: () => void): void {
    let at = 0;
    for (; at < this.waiting.length; at++) {
      const connection = this.#freeConnection();
      if (connection === undefined) break;
      this.#call(connection, this.waiting[at] ?? 0, after);
    }
    this.waiting.splice(0, at);
  }

  /** Resolves once the server has taken all connections. */
  get accepted(): Promise<unknown> {
    return Promise.all(this.#connections.map((connection) => connection.accepted));
  }

  finish(seconds: number, processors: ProcessorTime): LoadResult {
    for (const connection of this.#connections) connection.close();
    const { ok, refused, failed } = this.#latencies;
    const late = ok.filter((ms) => ms > this.#request.deadlineMs).length;
    return {
      seconds,
      due: this.#due + this.waiting.length,
      ok: ok.length - late,
      late,
      refused: refused.length,
      failed: failed.length,
      okMs: percentiles(ok),
      refusedMs: percentiles(refused),
      acknowledged: this.#acknowledged,
      puts: this.#putCount,
      processors,
    };
  }

  #freeConnection(): LoadConnection | undefined {
    for (let tries = 0; tries < this.#connections.length; tries++) {
      const connection = this.#connections[this.#next++ % this.#connections.length];
      if (connection?.isFree) return connection;
    }
    return undefined;
  }

  #call(connection: LoadConnection, dueAt: number, after: (() => void) | undefined): void {
    this.open += 1;
    this.#due += 1;
    const put = this.#random.next() < this.#request.putShare ? this.#putCount++ : undefined;
    const done = (end: End) => {
      this.open -= 1;
      this.#latencies[end].push(performance.now() - dueAt);
      if (end === "ok" && put !== undefined) this.#acknowledged.push(put);
      after?.();
    };
    const { bytes, dataAt } = put === undefined ? this.#random.pick(this.#queries) : this.#putFrames(put);
    connection.call({ bytes: Buffer.from(bytes), dataAt }, done);
  }

  #putFrames(number: number): Frames {
    const { frames, keyAt } = this.#puts[number % TEMPLATES] as PutTemplate;
    frames.bytes.write(putKey(this.#request.keyPrefix, number), keyAt, "latin1");
    return frames;
  }

  #encodeQuery(): Uint8Array {
    const data = { float32: [...this.#random.vector(this.#request.dimension)] };
    const message = create(QueryVectorsRequestSchema, { ...PLACE, topK: 10, queryVector: data });
    return toBinary(QueryVectorsRequestSchema, message);
  }

  #encodePut(headers: Buffer, data: Float32Array): PutTemplate {
    const key = putKey(this.#request.keyPrefix, 0);
    const vectors = [{ key, data: { float32: [...data] } }];
    const message = toBinary(PutVectorsRequestSchema, create(PutVectorsRequestSchema, { ...PLACE, vectors }));
    const frames = framesOfCall(headers, message);
    return { frames, keyAt: frames.bytes.indexOf(key) };
  }
}

const PLACE = { vectorBucketName: "b", indexName: "i" };

function percentiles(values: number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}
