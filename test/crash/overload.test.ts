import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { type LoadRequest, type LoadResult, putKey } from "./overload-generator.ts";

const SECONDS = rounds("OVERLOAD_SECONDS", { quick: 20, full: 300 });
const IS_FULL = SECONDS >= 300;
const VECTORS = 20_000;
const DIMENSION = 128;
const TIMES_CAPACITY = 5;
/** Of a client on an idle machine. Where the server answers slowly at its peak already, clients are more patient. */
const DEADLINE_MS = 1_000;
const PATIENCE = 10;
/** Enough for every place of a kind, and some that wait. */
const AT_PEAK = 24;
const REFUSAL_MS_MAX = 50;
const PUT_SHARE = 0.05;
const PLACE = { vectorBucketName: "b", indexName: "i" };

test("at five times what the server can serve, it serves as much, refuses the rest at once, and loses nothing", async (t) => {
  const { server, random } = await startWithVectors(t);
  const { peak, overload, probes } = await overloaded(t, server, random);
  assertAdmitted(peak, overload);
  assert.ok(probes.refused > 0, "no refusal was looked at");
  assert.equal(probes.wrong, "");

  assert.equal(await server.stop(), 0);
  const restarted = await ServerProcess.start(server.data);
  t.after(() => restarted.kill());
  const clients = clientsOf(t, restarted.url);
  const stored = await listKeys(clients);
  const lost = overload.acknowledged.filter((number) => !stored.has(putKey("overload-", number)));
  assert.deepEqual(lost, []);
});

test("without admission control, the same load shows it", async (t) => {
  const { server, random } = await startWithVectors(t, resolve(import.meta.dirname, "overload-unlimited.ts"));
  const { peak, overload } = await overloaded(t, server, random);
  assert.throws(() => assertAdmitted(peak, overload));
});

test("a client that floods the server does not take the turns of another", async (t) => {
  const { server, random } = await startWithVectors(t);
  const flood = generate(t, {
    ...base(server, random),
    localAddress: "127.0.0.2",
    connections: 1_000,
    seconds: SECONDS / 2,
    load: { atOnce: 4_000 },
  });
  const good = await generate(t, {
    ...base(server, random),
    seconds: SECONDS / 2,
    connections: 1,
    load: { perSecond: 10 },
  });
  const flooded = await flood;
  t.diagnostic(`flood ${describe(flooded)}`);
  t.diagnostic(`good ${describe(good)}`);
  assert.ok(flooded.refused > 10 * good.due, "that was no flood");
  assert.ok(good.ok >= 0.99 * good.due, `${good.ok} of ${good.due} calls of the good client were served`);
});

/** The pass of the table in docs/reliability.md. */
function assertAdmitted(peak: LoadResult, overload: LoadResult): void {
  const goodput = goodputOf(peak, overload);
  assert.ok(goodput >= 0.8, `goodput is ${goodput.toFixed(2)} of the peak`);
  assert.ok(overload.refused > overload.ok, "that was no overload");
  // Tests that run beside the quick form take the processor away now and then.
  const refusalMs = IS_FULL ? overload.refusedMs.p99 : overload.refusedMs.p50;
  assert.ok(refusalMs < REFUSAL_MS_MAX, `refusals took ${refusalMs.toFixed(1)} ms`);
}

/** Answers in time, as a share of what the server answers when no more is asked of it. */
function goodputOf(peak: LoadResult, overload: LoadResult): number {
  return overload.ok / overload.seconds / rateOf(peak);
}

function rateOf({ ok, late, seconds }: LoadResult): number {
  return (ok + late) / seconds;
}

async function overloaded(t: TestContext, server: ServerProcess, random: Random) {
  const peak = await generate(t, { ...base(server, random), seconds: SECONDS / 4, load: { atOnce: AT_PEAK } });
  t.diagnostic(`peak ${describe(peak)}`);
  const perSecond = TIMES_CAPACITY * rateOf(peak);
  const deadlineMs = Math.round(Math.max(DEADLINE_MS, PATIENCE * peak.okMs.p50));
  const seconds = (SECONDS * 3) / 4;
  const probing = probe(t, server, random, { seconds, deadlineMs });
  const overload = await generate(t, {
    ...base(server, random),
    seconds,
    load: { perSecond },
    keyPrefix: "overload-",
    deadlineMs,
  });
  const probes = await probing;
  t.diagnostic(`at ${Math.round(perSecond)}/s ${describe(overload)}`);
  t.diagnostic(`goodput ${goodputOf(peak, overload).toFixed(3)} of the peak`);
  t.diagnostic(`a real client: ${probes.ok} answers, ${probes.refused} refusals ${probes.wrong}`);
  return { peak, overload, probes };
}

function base(server: ServerProcess, random: Random): LoadRequest {
  return {
    url: server.url,
    seed: random.below(2 ** 31),
    dimension: DIMENSION,
    connections: 32,
    seconds: 1,
    load: { atOnce: 1 },
    putShare: PUT_SHARE,
    keyPrefix: "peak-",
    deadlineMs: DEADLINE_MS * PATIENCE,
  };
}

/** Runs the load in a process of its own. */
async function generate(t: TestContext, request: LoadRequest): Promise<LoadResult> {
  const child = fork(resolve(import.meta.dirname, "overload-generator.ts"));
  t.after(() => child.kill());
  child.send(request);
  const [result] = await once(child, "message");
  child.disconnect();
  return result as LoadResult;
}

/** Asks as a real client does meanwhile, and looks at every refusal. */
async function probe(
  t: TestContext,
  server: ServerProcess,
  random: Random,
  { seconds, deadlineMs }: { seconds: number; deadlineMs: number },
) {
  const { vectors } = clientsOf(t, server.url);
  const seen = { ok: 0, refused: 0, wrong: "" };
  const endAt = performance.now() + seconds * 1_000;
  const ask = async () => {
    const queryVector = { float32: [...random.vector(DIMENSION)] };
    try {
      await vectors.queryVectors({ ...PLACE, topK: 10, queryVector }, { timeoutMs: deadlineMs });
      seen.ok += 1;
    } catch (error) {
      const wrong = differenceFromRefusal(ConnectError.from(error));
      if (wrong === "") seen.refused += 1;
      else seen.wrong ||= wrong;
    }
  };
  while (performance.now() < endAt) await Promise.all([ask(), ask()]);
  return seen;
}

function differenceFromRefusal(error: ConnectError): string {
  const reason = error.findDetails(ErrorInfoSchema)[0]?.reason;
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const isRefusal = error.code === Code.ResourceExhausted && reason === "OVERLOADED" && delay !== undefined;
  return isRefusal ? "" : `${error.message} (${reason}); `;
}

async function startWithVectors(t: TestContext, program?: string) {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  const server = await ServerProcess.start(temporaryDirectory(), [], program === undefined ? {} : { program });
  t.after(() => server.kill());
  const clients = clientsOf(t, server.url);
  await clients.buckets.createVectorBucket({ vectorBucketName: "b" });
  const index = { dimension: DIMENSION, dataType: DataType.FLOAT32, distanceMetric: DistanceMetric.COSINE };
  await clients.indexes.createIndex({ ...PLACE, ...index });
  for (let from = 0; from < VECTORS; from += 1_000) {
    const vectors = Array.from({ length: 1_000 }, (_, i) => ({
      key: `first-${from + i}`,
      data: { float32: [...random.vector(DIMENSION)] },
    }));
    await clients.vectors.putVectors({ ...PLACE, vectors });
  }
  while ((await clients.indexes.getIndexStats(PLACE)).unindexedVectors !== 0n) await pause();
  return { server, random };
}

function pause(): Promise<void> {
  return new Promise((wake) => setTimeout(wake, 100));
}

function clientsOf(t: TestContext, url: string): Clients {
  const sessionManager = new Http2SessionManager(url);
  t.after(() => sessionManager.abort());
  return createClients(createGrpcTransport({ baseUrl: url, sessionManager }));
}

async function listKeys({ vectors }: Clients): Promise<Set<string>> {
  const keys = new Set<string>();
  for await (const part of vectors.exportVectors({ ...PLACE })) for (const { key } of part.vectors) keys.add(key);
  return keys;
}

function describe({ seconds, due, ok, late, refused, failed, okMs, refusedMs, puts }: LoadResult): string {
  const ms = ({ p50, p99, max }: LoadResult["okMs"]) => `${p50.toFixed(1)}/${p99.toFixed(1)}/${max.toFixed(1)} ms`;
  return `${due} due in ${seconds.toFixed(1)} s (${puts} puts): ${ok} served (${ms(okMs)}), ${late} late, ${refused} refused (${ms(refusedMs)}), ${failed} failed`;
}
