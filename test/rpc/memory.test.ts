import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { resolve } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { AdminService, StorageState } from "../../gen/quiver/v1/admin_service_pb.ts";
import { PutVectorsRequestSchema } from "../../gen/quiver/v1/vector_service_pb.ts";
import { peakOf } from "../support/peak-memory.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { createIndex } from "../support/resources.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const timeout = 300_000;
const MIB = 1024 * 1024;
const LIMIT_MIB = 320;
const DIMENSION = 512;
const BATCH = 500;
/** A graph that is built quickly: its size is what counts. */
const GRAPH = { hnsw: { m: 16, efConstruction: 16 } };
const WHERE = { vectorBucketName: "bucket", indexName: "index" };
const transportTo = PROTOCOLS["Connect with protobuf"] as (typeof PROTOCOLS)[string];

/** The same data for the same seed, key by key. */
function dataOf(key: number): Float32Array {
  return new Random(key).vector(DIMENSION);
}

function reasonOf(error: unknown): string | undefined {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason;
}

/** Puts the batch whose keys begin at `from`; answers why it was refused, undefined when it was not. */
async function put(clients: Clients, from: number): Promise<ConnectError | undefined> {
  const vectors = Array.from({ length: BATCH }, (_, i) => ({
    key: `${from + i}`,
    data: { float32: Array.from(dataOf(from + i)) },
  }));
  try {
    await clients.vectors.putVectors({ ...WHERE, vectors });
    return undefined;
  } catch (error) {
    if (!["MEMORY_FULL", "INGEST_BACKLOG"].includes(`${reasonOf(error)}`)) throw error;
    return ConnectError.from(error);
  }
}

/** The call's answer; asks again when it is refused for want of memory. */
async function persistently<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (reasonOf(error) !== "MEMORY_FULL" || attempt === 60) throw error;
      await setTimeout(500);
    }
  }
}

const LINUX = process.platform === "linux" ? false : "the most that a process held is read from /proc";

/** Puts until the storage is read-only, or the process has held more than the limit; answers where the stored batches begin. */
async function fill(server: ServerProcess, clients: Clients): Promise<number[]> {
  const admin = createClient(AdminService, transportTo(server.url));
  await createIndex(clients, "bucket", "index", { dimension: DIMENSION, ...GRAPH });
  const stored: number[] = [];
  for (let from = 0; peakOf(server) <= LIMIT_MIB * MIB; from += BATCH) {
    assert.ok(stored.length < 1_000, "it holds all that and says that it does not");
    const refusal = await put(clients, from);
    if (!refusal) {
      stored.push(from);
      continue;
    }
    assert.equal(refusal.code, Code.ResourceExhausted);
    const { limit, used } = refusal.findDetails(ErrorInfoSchema)[0]?.metadata ?? {};
    if (limit !== undefined && used !== undefined) assert.ok(Number(limit) === LIMIT_MIB * MIB && Number(used) > 0);
    const { serverInfo } = await admin.getServerInfo({});
    if (serverInfo?.storageHealth?.state === StorageState.READ_ONLY) break;
    // Garbage may be in the way, or the graph behind.
    const delay = refusal.findDetails(RetryInfoSchema)[0]?.retryDelay;
    assert.ok(delay !== undefined);
    await setTimeout(Number(delay.seconds) * 1_000);
  }
  return stored;
}

suite("a server with a memory limit", { timeout, skip: LINUX }, () => {
  test("stays below it however much is put, and loses nothing", async (t) => {
    const server = await startServer(t, ["--memory-limit", `${LIMIT_MIB}MiB`]);
    const clients = createClients(transportTo(server.url));
    const admin = createClient(AdminService, transportTo(server.url));
    const stored = await fill(server, clients);
    const storedBytes = stored.length * BATCH * DIMENSION * Float32Array.BYTES_PER_ELEMENT;
    t.diagnostic(`${storedBytes / MIB} MiB of data stored, ${peakOf(server) / MIB} MiB held at most`);
    assert.ok(stored.length > 10, "much of the limit is for data");
    // Also while writes are refused: what is refused is garbage, too.
    for (let i = 0; i < 10; i++) {
      const from = (stored.at(-1) ?? 0) + BATCH;
      if (!(await put(clients, from))) stored.push(from);
    }

    const { serverInfo } = await admin.getServerInfo({});
    assert.equal(serverInfo?.memory?.limitBytes, BigInt(LIMIT_MIB * MIB));
    assert.ok(Number(serverInfo.memory.vectorBytes) >= storedBytes);
    for (const from of stored) {
      const keys = [0, BATCH - 1].map((i) => `${from + i}`);
      const { vectors } = await clients.vectors.getVectors({ ...WHERE, keys, returnData: true });
      const expected = keys.map((key) => ({ key, data: Array.from(dataOf(Number(key))) }));
      assert.deepEqual(
        vectors.map(({ key, data }) => ({ key, data: data?.float32 })),
        expected,
      );
    }
    const queryVector = { float32: Array.from(dataOf(stored[3] as number)) };
    const query = { topK: 1, queryVector, search: { mode: { case: "exact", value: true } } } as const;
    const { vectors: nearest } = await clients.vectors.queryVectors({ ...WHERE, ...query });
    assert.equal(nearest[0]?.key, `${stored[3]}`);

    const gone = await clients.vectors.deleteVectors({ ...WHERE, all: true });
    assert.equal(Number(gone.deletedCount), stored.length * BATCH, "every acknowledged vector was there");
    await persistently(async () => {
      const refusal = await put(clients, 0);
      if (refusal) throw refusal;
    });
    const healthy = await admin.getServerInfo({});
    assert.equal(healthy.serverInfo?.storageHealth?.state, StorageState.HEALTHY);
    assert.ok(peakOf(server) < LIMIT_MIB * MIB, `it held ${peakOf(server) / MIB} MiB`);
  });

  test("control: the same puts pass it when it is not minded", async (t) => {
    let server: ServerProcess | undefined;
    t.after(() => server?.kill());
    const program = resolve(import.meta.dirname, "../support/unminded-memory.ts");
    server = await ServerProcess.start(temporaryDirectory(), ["--memory-limit", `${LIMIT_MIB}MiB`], { program });
    await fill(server, createClients(transportTo(server.url)));
    assert.ok(peakOf(server) > LIMIT_MIB * MIB, `it held ${peakOf(server) / MIB} MiB`);
  });

  test("stays below it under hostile clients, and serves a good one", async (t) => {
    const limit = 512 * MIB;
    const server = await startServer(t, ["--memory-limit", "512MiB"]);
    const clients = createClients(transportTo(server.url));
    await createIndex(clients, "bucket", "index", { dimension: DIMENSION, ...GRAPH });
    for (let from = 0; from < 12 * BATCH; from += BATCH) assert.equal(await put(clients, from), undefined);
    const sockets = openSockets(t, server);
    const assertWell = async (after: string) => {
      const { vectors } = await persistently(() => clients.vectors.getVectors({ ...WHERE, keys: ["7"] }));
      assert.equal(vectors.length, 1, after);
      t.diagnostic(`${after}: ${Math.round(peakOf(server) / MIB)} MiB held at most`);
      assert.ok(peakOf(server) < limit, after);
    };

    const many = rounds("MEMORY_CLIENTS", { quick: 100, full: 256 });
    const exporting = Buffer.from(JSON.stringify({ ...WHERE, returnData: true }));
    const watching = Buffer.from(JSON.stringify({ ...WHERE, returnData: true }));
    for (const [method, json] of [
      ["ExportVectors", exporting],
      ["WatchVectors", watching],
    ] as const) {
      const envelope = Buffer.concat([Buffer.of(0, 0, 0, 0, json.length), json]);
      for (let i = 0; i < many; i++)
        sockets.open(request(method, "application/connect+json", envelope.length), envelope);
      for (let from = 0; from < 3 * BATCH; from += BATCH) await persistently(() => put(clients, from));
      await assertWell(`${many} unread streams of ${method}`);
      sockets.close();
    }

    for (let i = 0; i < 8 * many && i < 1_000; i++) {
      sockets.open(request("PutVectors", "application/proto", MIB), Buffer.alloc(60_000));
    }
    await assertWell("half requests");
    sockets.close();

    // No key may be so long: what is let in is decoded and then refused.
    const data = { float32: Array.from(dataOf(1)) };
    const vectors = Array.from({ length: 1_000 }, (_, i) => ({ key: `${i}`.padEnd(18_000, "x"), data }));
    const large = toBinary(PutVectorsRequestSchema, create(PutVectorsRequestSchema, { ...WHERE, vectors }));
    assert.ok(large.length > 19 * MIB && large.length < 20 * MIB);
    const clientsAtOnce = rounds("MEMORY_PUTS", { quick: 40, full: 100 });
    const answers = Array.from({ length: clientsAtOnce }, async () => {
      const socket = sockets.open(request("PutVectors", "application/proto", large.length), large);
      socket.resume();
      const [first] = (await Promise.race([once(socket, "data"), once(socket, "close")])) as [Buffer | boolean];
      return Buffer.isBuffer(first) ? first.subarray(9, 12).toString() : "cut";
    });
    const counted = Object.groupBy(await Promise.all(answers), (status) => status);
    t.diagnostic(
      Object.entries(counted)
        .map(([status, all]) => `${status}: ${all?.length}`)
        .join(", "),
    );
    await assertWell(`${clientsAtOnce} puts of 20 MiB at once`);
  });
});

function request(method: string, type: string, length: number): string {
  const head = [`POST /quiver.v1.VectorService/${method} HTTP/1.1`, "host: localhost", `content-type: ${type}`];
  return [...head, `content-length: ${length}`, "", ""].join("\r\n");
}

/** Connections that send and do not read. */
function openSockets(t: TestContext, { url }: ServerProcess) {
  const open = new Set<Socket>();
  const close = () => {
    for (const socket of open) socket.destroy();
    open.clear();
  };
  t.after(close);
  return {
    close,
    open(head: string, body: Uint8Array): Socket {
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      // The server may cut it at any time.
      socket.on("error", () => {});
      socket.pause();
      socket.write(head);
      socket.write(body);
      open.add(socket);
      return socket;
    },
  };
}
