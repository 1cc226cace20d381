import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { BucketService } from "../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../gen/quiver/v1/index_service_pb.ts";
import { DataType, DistanceMetric } from "../gen/quiver/v1/resources_pb.ts";
import { VectorService } from "../gen/quiver/v1/vector_service_pb.ts";
import { ServerProcess } from "../test/support/server.ts";
import type { Row } from "./data.ts";
import { createGrpcJsClient } from "./grpc-js-client.ts";
import type { Equals, Peer, PeerOptions, PeerQuery } from "./peers/peer.ts";
import type { Probed } from "./probe.ts";
import { processorSecondsOf } from "./processor.ts";

const PLACE = { vectorBucketName: "bench", indexName: "vectors" };
const POLL_MS = 50;
const PROBE = join(import.meta.dirname, "probe.ts");

/** What a server says of itself beside what every peer does. */
export interface QuiverServer extends Peer {
  readonly url: string;
  /** Over gRPC with grpc-js, as the calls of a peer go. */
  readonly vectors: Client<typeof VectorService>;
  /** With connect-node. */
  over(protocol: "grpc" | "connect"): Client<typeof VectorService>;
  /** Ends the server as a service manager does and starts it on the same data; resolves to the seconds until it said that it serves. */
  restart(): Promise<number>;
  /** Lets the server have these processors only, as `taskset` names them: `0`, `0-1`. */
  runOn(processors: string): void;
  /** What the server's process says of its event loop and its memory. */
  probe(): Promise<Probed>;
}

/** A server in a process of its own, on a free port. */
export async function openQuiver({ dimension, metric, directory }: PeerOptions): Promise<QuiverServer> {
  const probed = join(directory, "probed.json");
  const start = () => {
    const env = { NODE_OPTIONS: `--import ${PROBE}`, BENCH_PROBE_FILE: probed };
    return ServerProcess.start(join(directory, "data"), [], { env });
  };
  let server = await start();
  let vectors = createGrpcJsClient(VectorService, server.url);
  await createGrpcJsClient(BucketService, server.url).createVectorBucket({ vectorBucketName: PLACE.vectorBucketName });
  let indexes = createGrpcJsClient(IndexService, server.url);
  await indexes.createIndex({
    ...PLACE,
    dimension,
    dataType: DataType.FLOAT32,
    distanceMetric: metric === "cosine" ? DistanceMetric.COSINE : DistanceMetric.EUCLIDEAN,
    hnsw: { m: 16, efConstruction: 200 },
  });
  let token = "";

  return {
    name: "Quiver",
    get vectors() {
      return vectors;
    },
    over(protocol) {
      const baseUrl = server.url;
      const transport =
        protocol === "grpc" ? createGrpcTransport({ baseUrl }) : createConnectTransport({ baseUrl, httpVersion: "2" });
      return createClient(VectorService, transport);
    },
    get url() {
      return server.url;
    },
    insert: (rows) => putRows(vectors, rows),
    async complete() {
      while ((await indexes.getIndexStats(PLACE)).unindexedVectors > 0n) await setTimeout(POLL_MS);
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
      return Number((await indexes.getIndexStats(PLACE)).bytes?.disk ?? 0n);
    },
    runOn(processors) {
      execFileSync("taskset", ["-a", "-c", "-p", processors, `${server.pid}`]);
    },
    async probe() {
      rmSync(probed, { force: true });
      process.kill(server.pid ?? 0, "SIGUSR2");
      while (!existsSync(probed)) await setTimeout(POLL_MS);
      return JSON.parse(readFileSync(probed, "utf8"));
    },
    async restart() {
      await server.stop();
      const before = performance.now();
      server = await start();
      const seconds = (performance.now() - before) / 1_000;
      vectors = createGrpcJsClient(VectorService, server.url);
      indexes = createGrpcJsClient(IndexService, server.url);
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
