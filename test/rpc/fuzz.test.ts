import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { Worker } from "node:worker_threads";
import type { DescService } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { type Clients, createClients } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { createIndex } from "../support/resources.ts";
import { rounds } from "../support/rounds.ts";
import { openRpcHarness } from "../support/rpc-harness.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { fuzzFrames } from "./fuzz-frames.ts";
import { fuzzHttp1 } from "./fuzz-http1.ts";
import { Http2Lane } from "./fuzz-http2.ts";
import type { MonitorReport } from "./fuzz-monitor.ts";
import { BOUND_MS, FuzzBatch, FuzzReport } from "./fuzz-report.ts";
import { RequestSource } from "./fuzz-requests.ts";
import { FUZZ_BUCKET, FUZZ_INDEX, servicesOf } from "./fuzz-values.ts";

const REQUESTS = rounds("FUZZ", { quick: 20_000, full: 1_000_000 });
const LAG_MAX_MS = 250;
const RSS_GROWTH_MAX = 200 * 1024 * 1024;
const WARM_UP = 2_000;
/** Batches after which what the fuzz writes into is created again, where the fuzz has deleted it. */
const REPAIR_EVERY = 40;
const MINUTE_MS = 60_000;

interface Target {
  readonly url: string;
  readonly source: RequestSource;
  readonly seed: number;
  readonly report: FuzzReport;
  /** Numbers the batches, so that each is made anew from the seed alone. */
  batch: number;
  readonly boundMs: number;
}

test("malformed requests are refused, disturb nobody and leave nothing behind", async (t) => {
  const { seed } = new Random();
  t.diagnostic(`seed ${seed}, ${REQUESTS} requests`);
  // Without a limit, JavaScript collects garbage when it likes, which says nothing of what stays.
  const server = await ServerProcess.start(temporaryDirectory(), ["--memory-limit", "384MiB"]);
  t.after(() => server.kill());
  // A request that is right by chance creates an access key, which closes an open server.
  const apiKey = await closeServer(server.url);
  const clients = clientsWith(server.url, apiKey);
  await fillGood(clients);
  const good = await readGood(clients);
  const source = new RequestSource(await generatedServices(), apiKey);
  const target: Target = { url: server.url, source, seed, report: new FuzzReport(), batch: 0, boundMs: BOUND_MS };
  await fuzz(target, Math.min(WARM_UP, REQUESTS / 10), () => repair(clients));
  const monitor = new Monitor(t, server);
  const startedAt = performance.now();
  await fuzz(target, REQUESTS, () => repair(clients));
  const seconds = (performance.now() - startedAt) / 1_000;
  const seen = await monitor.stop();

  const { report } = target;
  t.diagnostic(`${source.methods.length} methods, ${Math.round(report.requests / seconds)} requests a second`);
  t.diagnostic(`answers: ${[...report.statuses].map(([status, count]) => `${count} ${status}`).join(", ")}`);
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20);
  t.diagnostic(
    `loop lag at most ${seen.lagMaxMs.toFixed(0)} ms (${seen.latencyMaxMs.toFixed(0)} ms with what other programs took) ` +
      `in ${seen.samples} samples, resident ${mib(seen.rssFirst)} MiB, at most ${mib(seen.rssMax)}, at last ${mib(seen.rssLast)}`,
  );
  for (const problem of report.problems.slice(0, 20)) t.diagnostic(problem);
  const faults = server.complaints.split("\n").filter((line) => /"level":"(error|fatal)"|^\S*Error/.test(line));
  for (const fault of faults.slice(0, 20)) t.diagnostic(fault.slice(0, 1_000));
  assert.equal(report.problems.length, 0, "requests were not answered as they must be");
  assert.deepEqual(faults, []);
  assert.deepEqual(await readGood(clients), good);
  assert.equal(seen.failures, 0, "a good client was not answered");
  assert.ok((report.statuses.get("200") ?? 0) > report.requests / 100, "Some requests are right");
  assert.ok(seen.lagMaxMs < LAG_MAX_MS, `${seen.lagMaxMs} ms without a turn for others`);
  assert.ok(seen.rssMax - seen.rssFirst < RSS_GROWTH_MAX, `from ${seen.rssFirst} to ${seen.rssMax} bytes`);
});

test("a method that throws a TypeError is reported", async (t) => {
  const thrown = () => {
    throw new TypeError("Planted");
  };
  const problems = await fuzzPlanted(t, { putVectors: thrown, boundMs: BOUND_MS });
  assert.ok(problems.length > 10, problems.join("\n").slice(0, 2_000));
  for (const problem of problems) assert.match(problem, /answered.*(internal|grpc-status: 13)/);
});

test("a method that never answers is reported", async (t) => {
  // Shorter than the deadline of the requests, after which the server answers in the method's place.
  const problems = await fuzzPlanted(t, { putVectors: () => new Promise<never>(() => {}), boundMs: 200 });
  assert.ok(problems.some((problem) => /not (answered|closed)/.test(problem)));
});

/** The problems that a server with this method shows. */
async function fuzzPlanted(
  t: TestContext,
  { putVectors, boundMs }: { readonly putVectors: () => Promise<never> | never; readonly boundMs: number },
): Promise<readonly string[]> {
  const harness = await openRpcHarness(t, { services: [defineService(VectorService, { putVectors })] });
  const source = new RequestSource([{ ...VectorService, methods: [VectorService.method.putVectors] } as DescService]);
  const report = new FuzzReport();
  const { seed } = new Random();
  t.diagnostic(`seed ${seed}`);
  await fuzz({ url: harness.url, source, seed, report, batch: 0, boundMs }, 500, async () => {});
  return report.problems;
}

/** Sends so many requests more, in every way that the server can be reached. */
async function fuzz(target: Target, count: number, keepUp: () => Promise<void>): Promise<void> {
  const { url, source, report, seed, boundMs } = target;
  const port = Number(new URL(url).port);
  const session = new Http2Lane(url);
  const until = report.requests + count;
  const lane = async (name: string, send: (random: Random, batch: FuzzBatch) => Promise<void>) => {
    while (report.requests < until) {
      const number = target.batch++;
      if (number % REPAIR_EVERY === 0) await keepUp();
      await send(new Random(seed + number), new FuzzBatch(`seed ${seed}, batch ${number} over ${name}`, report));
    }
  };
  const http1 = (random: Random, batch: FuzzBatch) => fuzzHttp1(port, source, random, batch, boundMs);
  const http2 = (random: Random, batch: FuzzBatch) => session.fuzz(source, random, batch, boundMs);
  const frames = (random: Random, batch: FuzzBatch) => fuzzFrames(port, source, random, batch, boundMs);
  await Promise.all([
    lane("HTTP/1.1", http1),
    lane("HTTP/1.1", http1),
    lane("HTTP/2", http2),
    lane("HTTP/2", http2),
    lane("frames", frames),
  ]);
  session.close();
}

/** Every service of the generated code. */
async function generatedServices(): Promise<DescService[]> {
  const root = resolve(import.meta.dirname, "../../gen");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith("_pb.ts"));
  return servicesOf(await Promise.all(files.map((file) => import(resolve(root, file)) as Promise<object>)));
}

/** Creates the first access key; its api key. */
async function closeServer(url: string): Promise<string> {
  const { apiKey } = await clientsWith(url, "").admin.createAccessKey({ role: AccessRole.ADMIN });
  return apiKey;
}

function clientsWith(baseUrl: string, apiKey: string): Clients {
  const identify: Interceptor = (next) => (request) => {
    if (apiKey !== "") request.header.set("api-key", apiKey);
    return next(request);
  };
  return createClients(createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [identify] }));
}

async function repair(clients: Clients): Promise<void> {
  await createIndex(clients, FUZZ_BUCKET, FUZZ_INDEX).catch(() => {});
  await createIndex(clients, FUZZ_BUCKET, "sparse", { distanceMetric: 3 }).catch(() => {});
}

async function fillGood(clients: Clients): Promise<void> {
  const random = new Random(1);
  await createIndex(clients, "good", "index", { dimension: 32 });
  await clients.vectors.putVectors({
    vectorBucketName: "good",
    indexName: "index",
    vectors: Array.from({ length: 500 }, (_, i) => ({
      key: `${i}`,
      data: { float32: [...random.vector(32)] },
      metadata: { i, text: "good" },
    })),
  });
}

/** What the fuzz must not touch. */
async function readGood(clients: Clients) {
  const place = { vectorBucketName: "good", indexName: "index" };
  const all = { returnData: true, returnMetadata: true, maxResults: 1_000 };
  const { vectors } = await clients.vectors.listVectors({ ...place, ...all });
  const { indexes } = await clients.indexes.listIndexes({ vectorBucketName: "good" });
  const bucket = await clients.buckets.getVectorBucket({ vectorBucketName: "good" });
  return { vectors, indexes, bucket };
}

/** The thread that watches the server from outside. */
class Monitor {
  readonly #worker: Worker;

  constructor(t: TestContext, { url, pid }: ServerProcess) {
    this.#worker = new Worker(new URL("fuzz-monitor.ts", import.meta.url), { workerData: { url, pid } });
    t.after(() => this.#worker.terminate());
  }

  async stop(): Promise<MonitorReport> {
    this.#worker.postMessage("stop");
    const [report] = (await once(this.#worker, "message", { signal: AbortSignal.timeout(MINUTE_MS) })) as [
      MonitorReport,
    ];
    return report;
  }
}
