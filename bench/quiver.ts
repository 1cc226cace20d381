import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { BucketService } from "../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../gen/quiver/v1/index_service_pb.ts";
import { DataType, DistanceMetric } from "../gen/quiver/v1/resources_pb.ts";
import { VectorService } from "../gen/quiver/v1/vector_service_pb.ts";
import { ServerProcess } from "../test/support/server.ts";
import type { Row } from "./data.ts";
import type { Equals, Peer, PeerOptions, PeerQuery } from "./peers/peer.ts";
import { processorSecondsOf } from "./processor.ts";

const PLACE = { vectorBucketName: "bench", indexName: "vectors" };
const POLL_MS = 50;
const LAG_PROBE = join(import.meta.dirname, "lag-probe.ts");

/** What a server says of itself beside what every peer does. */
export interface QuiverServer extends Peer {
  readonly url: string;
  readonly vectors: Client<typeof VectorService>;
  /** Another way to the same server. */
  over(transport: "grpc" | "connect"): Client<typeof VectorService>;
  /** Ends the server as a service manager does and starts it on the same data; resolves to the seconds until it said that it serves. */
  restart(): Promise<number>;
  stats(): Promise<{ bytes: number; vectors: number }>;
  /** Of the server's process. */
  memoryBytes(): number;
  /** Lets the server have these processors only, as `taskset` names them: `0`, `0-1`. */
  runOn(processors: string): void;
  /** Lateness of the server's event loop since the last question, in milliseconds. */
  lag(): Promise<{ p99: number; max: number }>;
}

/** A server in a process of its own, on a free port. `threads`: of how many processors it knows. Default all. */
export async function openQuiver({ dimension, metric, directory }: PeerOptions): Promise<QuiverServer> {
  const start = () => {
    const env = { NODE_OPTIONS: `--import ${LAG_PROBE}`, BENCH_LAG_FILE: join(directory, "lag.json") };
    return ServerProcess.start(join(directory, "data"), [], { env });
  };
  let server = await start();
  const transports = () => ({
    grpc: createGrpcTransport({ baseUrl: server.url }),
    connect: createConnectTransport({ baseUrl: server.url, httpVersion: "2", useBinaryFormat: true }),
  });
  let ways: Record<"grpc" | "connect", Transport> = transports();
  let vectors = createClient(VectorService, ways.grpc);
  await createClient(BucketService, ways.grpc).createVectorBucket({ vectorBucketName: PLACE.vectorBucketName });
  await createClient(IndexService, ways.grpc).createIndex({
    ...PLACE,
    dimension,
    dataType: DataType.FLOAT32,
    distanceMetric: metric === "cosine" ? DistanceMetric.COSINE : DistanceMetric.EUCLIDEAN,
    hnsw: { m: 16, efConstruction: 200 },
  });
  const stats = () => createClient(IndexService, ways.grpc).getIndexStats(PLACE);
  let token = "";

  return {
    name: "Quiver",
    get vectors() {
      return vectors;
    },
    over: (transport) => createClient(VectorService, ways[transport]),
    get url() {
      return server.url;
    },
    insert: (rows) => putRows(vectors, rows),
    async complete() {
      while ((await stats()).unindexedVectors > 0n) await setTimeout(POLL_MS);
    },
    query: (query) => queryKeys(vectors, query),
    async get(keys) {
      const answer = await vectors.getVectors({ ...PLACE, keys: [...keys], returnData: true, returnMetadata: true });
      return answer.vectors.filter(({ data, metadata }) => data && metadata).length;
    },
    async list(after, count) {
      const nextToken = after === "" ? "" : token;
      if (after !== "" && token === "") return [];
      const answer = await vectors.listVectors({ ...PLACE, maxResults: count, nextToken });
      token = answer.nextToken;
      return answer.vectors.map(({ key }) => key);
    },
    processorSeconds: () => processorSecondsOf(server.pid ?? 0),
    async diskBytes() {
      return Number((await stats()).bytes?.disk ?? 0n);
    },
    async stats() {
      const { bytes, vectorCount } = await stats();
      const memory = (bytes?.vectors ?? 0n) + (bytes?.graph ?? 0n) + (bytes?.keys ?? 0n) + (bytes?.metadata ?? 0n);
      return { bytes: Number(memory), vectors: Number(vectorCount) };
    },
    memoryBytes: () => residentBytes(server.pid ?? 0),
    runOn(processors) {
      execFileSync("taskset", ["-a", "-c", "-p", processors, `${server.pid}`]);
    },
    async lag() {
      process.kill(server.pid ?? 0, "SIGUSR2");
      await setTimeout(POLL_MS);
      return JSON.parse(readFileSync(join(directory, "lag.json"), "utf8"));
    },
    async restart() {
      await server.stop();
      const before = performance.now();
      server = await start();
      const seconds = (performance.now() - before) / 1_000;
      ways = transports();
      vectors = createClient(VectorService, ways.grpc);
      return seconds;
    },
    async close() {
      await server.stop();
    },
  };
}

export async function putRows(vectors: Client<typeof VectorService>, rows: readonly Row[]): Promise<void> {
  await vectors.putVectors({ ...PLACE, vectors: rows.map(toVector) });
}

export function queryKeys(vectors: Client<typeof VectorService>, query: PeerQuery): Promise<readonly string[]> {
  return vectors.queryVectors({ ...PLACE, ...toQuery(query) }).then((answer) => answer.vectors.map(({ key }) => key));
}

export async function queryBatch(
  vectors: Client<typeof VectorService>,
  queries: readonly PeerQuery[],
): Promise<readonly (readonly string[])[]> {
  const answer = await vectors.batchQueryVectors({ ...PLACE, queries: queries.map(toQuery) });
  return answer.results.map((result) => result.vectors.map(({ key }) => key));
}

function toQuery({ vector, topK, efSearch, filter }: PeerQuery) {
  return {
    queryVector: { float32: Array.from(vector) },
    topK,
    search: { mode: { case: "efSearch", value: efSearch } } as const,
    ...(filter && { filter: toFilter(filter) }),
    returnDistance: true,
  };
}

function toFilter({ field, value }: Equals) {
  return { [field]: { $eq: value } };
}

function toVector({ key, data, metadata }: Row) {
  return { key, data: { float32: Array.from(data) }, metadata: { ...metadata } };
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) * 1_024;
}
