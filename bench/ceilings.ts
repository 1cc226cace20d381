import { once } from "node:events";
import { connect, createServer, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import hnswlib from "hnswlib-node";
import { VectorService } from "../gen/quiver/v1/vector_service_pb.ts";
import { createGraph, type Graph } from "../native/hnsw.ts";
import { openDatabase } from "../native/rocksdb.ts";
import { WriteBatch } from "../native/write-batch.ts";
import type { DataSet } from "./data.ts";
import { batches, each, measure, measureMany } from "./processor.ts";

const M = 16;
const EF_CONSTRUCTION = 200;
const TOP_K = 10;

export interface GraphFigures {
  /** Processor seconds per 100,000 vectors. */
  readonly buildSeconds: number;
  /** Processor time of one query, of all in one call. */
  readonly queryMs: number;
  /** Of vectors and links. */
  readonly bytesPerVector: number;
}

/** The HNSW graph of hnswlib through our addon, with nothing around it. */
export async function rawGraph({ dimension, metric, rows, queries }: DataSet, efSearch: number): Promise<GraphFigures> {
  const graph = createGraph({ dimension, metric, m: M, efConstruction: EF_CONSTRUCTION });
  const built = await measure(none, async () => {
    for (const [i, batch] of batches(rows, 10_000).entries()) {
      const ordinals = Uint32Array.from(batch, (_, j) => i * 10_000 + j);
      const vectors = new Float32Array(batch.length * dimension);
      for (const [j, { data }] of batch.entries()) vectors.set(data, j * dimension);
      graph.add(ordinals, vectors);
      await graph.build(batch.length);
    }
  });
  const all = new Float32Array(queries.length * dimension);
  for (const [i, query] of queries.entries()) all.set(query, i * dimension);
  const searched = await measureMany(none, () => graph.search(all, { k: TOP_K, efSearch }));
  const figures = {
    buildSeconds: (built.processorSeconds / rows.length) * 100_000,
    queryMs: (searched.processorSeconds / (searched.count * queries.length)) * 1_000,
    bytesPerVector: bytesOf(graph) / rows.length,
  };
  graph.dispose();
  return figures;
}

function bytesOf(graph: Graph): number {
  const { vectorBytes, graphBytes } = graph.stats();
  return vectorBytes + graphBytes;
}

/** The same through hnswlib-node, which has one thread and no SIMD of this machine's. */
export async function hnswlibNode(
  { dimension, metric, rows, queries }: DataSet,
  efSearch: number,
): Promise<Omit<GraphFigures, "bytesPerVector">> {
  const index = new hnswlib.HierarchicalNSW(metric === "cosine" ? "cosine" : "l2", dimension);
  index.initIndex(rows.length, M, EF_CONSTRUCTION, 100);
  const built = await measure(none, async () => {
    for (const [i, { data }] of rows.entries()) index.addPoint(Array.from(data), i);
  });
  index.setEf(efSearch);
  const searched = await measureMany(none, async () => {
    for (const query of queries) index.searchKnn(Array.from(query), TOP_K);
  });
  return {
    buildSeconds: (built.processorSeconds / rows.length) * 100_000,
    queryMs: (searched.processorSeconds / (searched.count * queries.length)) * 1_000,
  };
}

/** Bytes of vectors through our addon into RocksDB, 500 a batch, four batches at a time, each fsynced. */
export async function rawRocksdb({ rows }: DataSet, directory: string): Promise<{ insertsPerSecond: number }> {
  const database = await openDatabase(join(directory, "rocksdb"), { createIfMissing: true });
  const { seconds } = await measure(none, () =>
    each(batches(rows, 500), 4, (batch) => {
      const written = new WriteBatch();
      for (const { key, data, metadata } of batch) {
        const value = Buffer.concat([Buffer.from(data.buffer), Buffer.from(JSON.stringify(metadata))]);
        written.put(0, Buffer.from(key), value);
      }
      return database.write(written.bytes());
    }),
  );
  await database.close();
  return { insertsPerSecond: rows.length / seconds };
}

/** Processor time of a call of connect-node that does nothing, of client and server, with a vector in the request. */
export async function connectEcho(dimension: number): Promise<{ callMs: number }> {
  const handler = connectNodeAdapter({
    routes: (router) => router.service(VectorService, { queryVectors: () => ({}) }),
  });
  const server = await listen(createServer(handler));
  const client = createClient(VectorService, createGrpcTransport({ baseUrl: server.url }));
  const float32 = Array.from({ length: dimension }, Math.random);
  const figures = await echo(() => client.queryVectors({ queryVector: { float32 } }));
  server.close();
  return figures;
}

/** The same of bare HTTP/2 of Node's, of as many bytes. */
export async function http2Echo(bytes: number): Promise<{ callMs: number }> {
  const server = await listen(
    createServer((request, response) => {
      request.on("data", () => {}).on("end", () => response.end("ok"));
    }),
  );
  const session = connect(server.url);
  const body = Buffer.alloc(bytes);
  const figures = await echo(async () => {
    const stream = session.request({ ":method": "POST", ":path": "/" });
    stream.end(body);
    stream.resume();
    await once(stream, "close");
  });
  session.close();
  server.close();
  return figures;
}

/** By then V8 has compiled what it will. */
const WARM_UP_CALLS = 3_000;

async function echo(call: () => Promise<unknown>): Promise<{ callMs: number }> {
  await each(Array.from({ length: WARM_UP_CALLS }), 1, call);
  const { processorSeconds, count } = await measureMany(none, call);
  return { callMs: (processorSeconds / count) * 1_000 };
}

async function listen(server: Http2Server): Promise<{ url: string; close(): void }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

function none(): number {
  return 0;
}
