import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { DataSet } from "./data.ts";
import { batches, each, measure, measureMany, settle } from "./processor.ts";
import type { PutWork } from "./put-worker.ts";
import { openQuiver, type QuiverServer, queryBatch, queryKeys } from "./quiver.ts";
import { CALLS_AT_ONCE, insertAll, runSingle } from "./workloads.ts";

const TOP_K = 10;
const BATCH = 100;
const CORES_BATCHES = 40;

/** Runs work with a server on an empty directory, which is gone afterwards. */
export async function withQuiver<T>(data: DataSet, work: (server: QuiverServer) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "quiver-bench-"));
  const server = await openQuiver({ ...data, directory });
  try {
    return await work(server);
  } finally {
    await server.close();
    rmSync(directory, { recursive: true });
  }
}

/** Processor time of a query with connect-node, of client and server. */
export async function runConnect(
  server: QuiverServer,
  protocol: "grpc" | "connect",
  data: DataSet,
  efSearch: number,
): Promise<number> {
  const vectors = server.over(protocol);
  const run = () => runSingle(server, (query) => queryKeys(vectors, query), data, efSearch);
  // A client is slow until V8 has compiled it; that of other queries has been asked for their ef_search before.
  await run();
  return (await run()).processorMs;
}

/** Processor time of a query in batches of 100; the data set has a multiple of 100. */
export async function runBatches(
  server: QuiverServer,
  { queries }: DataSet,
  efSearch: number,
): Promise<{ processorMs: number; serverMs: number }> {
  const asked = batches(queries, BATCH).map((batch) => batch.map((vector) => ({ vector, topK: TOP_K, efSearch })));
  const { processorSeconds, otherSeconds, count } = await measureMany(
    () => server.processorSeconds(),
    (i) => queryBatch(server.vectors, asked[i % asked.length] ?? []),
  );
  const perQueryMs = 1_000 / (count * BATCH);
  return { processorMs: processorSeconds * perQueryMs, serverMs: otherSeconds * perQueryMs };
}

/** Queries per second in batches of 100, with the server on one core and on all. */
export async function runCores(
  server: QuiverServer,
  { queries }: DataSet,
  efSearch: number,
): Promise<{ one: number; two: number }> {
  const some = batches(queries, BATCH);
  const asked = Array.from({ length: CORES_BATCHES }, (_, i) => some[i % some.length] ?? []);
  const perSecond = async (cores: string) => {
    server.runOn(cores);
    const { seconds } = await measure(
      () => 0,
      () =>
        each(asked, CALLS_AT_ONCE, (batch) =>
          queryBatch(
            server.vectors,
            batch.map((vector) => ({ vector, topK: TOP_K, efSearch })),
          ),
        ),
    );
    return (CORES_BATCHES * BATCH) / seconds;
  };
  const one = await perSecond("0");
  return { one, two: await perSecond("0-1") };
}

/** The 99th percentile of queries on a quarter of the data, alone and while the rest is put at full speed, and the lag. */
export async function runMixed(data: DataSet, efSearch: number) {
  return withQuiver(data, async (server) => {
    const quarter = Math.floor(data.rows.length / 4);
    await insertAll(server, { ...data, rows: data.rows.slice(0, quarter) });
    await server.complete();
    await settle(() => server.processorSeconds());
    const idle = await runSingle(server, server.query, data, efSearch);
    await server.probe();
    const workerData: PutWork = { url: server.url, rows: data.rows.slice(quarter) };
    const putting = new Worker(new URL("put-worker.ts", import.meta.url), { workerData });
    const ended = once(putting, "exit");
    const busy: number[] = [];
    let isOver = false;
    void ended.finally(() => {
      isOver = true;
    });
    for (let i = 0; !isOver; i++) {
      const vector = data.queries[i % data.queries.length] as Float32Array;
      const before = performance.now();
      await server.query({ vector, topK: TOP_K, efSearch });
      busy.push(performance.now() - before);
    }
    await ended;
    busy.sort((a, b) => a - b);
    const { lag } = await server.probe();
    const busyP99Ms = busy[Math.floor(0.99 * busy.length)] ?? Number.NaN;
    return { idleP99Ms: idle.p99Ms, busyP99Ms, queries: busy.length, lag };
  });
}

/** Seconds from the start of the process to the first answer, with a saved graph. */
export async function runRestart(server: QuiverServer, { queries }: DataSet, efSearch: number): Promise<number> {
  const seconds = await server.restart();
  const vector = queries[0] as Float32Array;
  const before = performance.now();
  await server.query({ vector, topK: TOP_K, efSearch });
  return seconds + (performance.now() - before) / 1_000;
}
