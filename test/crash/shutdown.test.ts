import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { connect as http2Connect } from "node:http2";
import { connect as netConnect } from "node:net";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { Random } from "../support/random.ts";
import { createIndex } from "../support/resources.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { until } from "../support/until.ts";

const SHUTDOWNS = rounds("SHUTDOWNS", { quick: 5, full: 100 });
const EXIT_MS_MAX = 15_000;
const PLACE = { vectorBucketName: "b", indexName: "i" };
const DIMENSION = 64;

/** What is open when the server is told to end. Each resolves once the server knows of it. */
type Guest = (round: Round) => Promise<void>;

interface Round {
  readonly t: TestContext;
  readonly server: ServerProcess;
  readonly random: Random;
  readonly acknowledged: string[];
  /** Ends that must be a whole answer, or UNAVAILABLE with SHUTTING_DOWN. */
  readonly ends: { readonly what: string; readonly end: Promise<unknown> }[];
  /** Calls one after the other, up to the first that fails. */
  readonly loops: Promise<void>[];
  /** Whether the server has been told to end. */
  isTold: boolean;
}

const GUESTS: Readonly<Record<string, Guest>> = {
  ...Object.fromEntries(Object.keys(PROTOCOLS).flatMap((protocol) => guestsOf(protocol))),
  "a gRPC import that goes on": (round) => openImport(round, "gRPC"),
  "a Connect import that goes on": (round) => openImport(round, "Connect with protobuf"),
  "a request whose body stops": (round) => stopBody(round),
  "a reader that stops": (round) => stopReading(round),
  "an idle HTTP/1.1 connection": (round) => keepAlive(round),
  "an idle HTTP/2 connection": async ({ t, server }) => {
    const session = http2Connect(server.url);
    session.on("error", () => {});
    t.after(() => session.destroy());
    await once(session, "connect");
  },
  "a connection that says nothing": (round) => connectAndSend(round, ""),
  "a connection that begins a preface": (round) => connectAndSend(round, "PRI * HTTP/2"),
  "a connection that begins a request": (round) =>
    connectAndSend(round, "POST /quiver.v1.VectorService/PutVectors HTTP/1.1\r\n"),
  "a job that runs": async ({ server, random }) => {
    const { jobs } = clientsOf(server, "gRPC");
    const vectors = Array.from({ length: 1_000 }, (_, i) => vectorOf(random, `job-${i}`));
    await jobs.startUpload({ ...PLACE, vectors });
  },
};

/** Told by a signal while few or many of these are open. */
test("a server that is told to end answers what is in flight, ends with 0 within 15 s, and keeps what it acknowledged", async (t) => {
  const random = new Random();
  t.diagnostic(`seed ${random.seed}`);
  let slowestMs = 0;
  const ends: Record<string, number> = {};
  for (let number = 0; number < SHUTDOWNS; number++) {
    // All of them at first; what stops in the middle makes the server wait to the end of its patience.
    const chosen = Object.entries(GUESTS).filter(
      ([what]) => number === 0 || random.next() < (what.endsWith("stops") ? 0.1 : 0.5),
    );
    const server = await startServer(t);
    const round: Round = { t, server, random, acknowledged: [], ends: [], loops: [], isTold: false };
    await prepare(round);
    for (const [, guest] of chosen) await guest(round);
    const startedAt = performance.now();
    round.isTold = true;
    assert.equal(await server.stop(), 0);
    const tookMs = performance.now() - startedAt;
    slowestMs = Math.max(slowestMs, tookMs);
    assert.ok(tookMs <= EXIT_MS_MAX, `the end took ${Math.round(tookMs)} ms with ${chosen.map(([what]) => what)}`);
    await Promise.all(round.loops);
    for (const { what, end } of round.ends) {
      const outcome = await end.then(() => "answered", reasonOf);
      assert.ok(outcome === "answered" || outcome === "SHUTTING_DOWN", `${what} ended with ${outcome}`);
      ends[outcome] = (ends[outcome] ?? 0) + 1;
    }
    await assertStored(t, server.data, round.acknowledged);
  }
  t.diagnostic(
    `${SHUTDOWNS} shutdowns, the slowest ${Math.round(slowestMs)} ms, calls in flight: ${JSON.stringify(ends)}`,
  );
});

test("a second signal ends the server at once", async (t) => {
  const server = await startServer(t);
  const round: Round = { t, server, random: new Random(), acknowledged: [], ends: [], loops: [], isTold: false };
  await prepare(round);
  await stopBody(round);
  const exit = server.stop();
  // The first is known by the port, which is closed.
  await until(() =>
    fetch(new URL("/livez", server.url)).then(
      () => false,
      () => true,
    ),
  );
  process.kill(server.pid ?? 0, "SIGINT");
  assert.equal(await exit, 130);
  await Promise.allSettled(round.ends.map(({ end }) => end));
  await assertStored(t, server.data, round.acknowledged);
});

function guestsOf(protocol: string): [string, Guest][] {
  return [
    [`${protocol}: puts`, (round) => putOn(round, protocol)],
    [`${protocol}: queries`, (round) => queryOn(round, protocol)],
    [`${protocol}: an export`, (round) => openExport(round, protocol)],
    [`${protocol}: a watch of vectors`, (round) => openWatch(round, protocol)],
    [`${protocol}: a watch of the health`, (round) => openHealth(round, protocol)],
  ];
}

/** Enough vectors for a graph, which is being built while the server ends. */
async function prepare({ server, random, acknowledged }: Round): Promise<void> {
  const clients = clientsOf(server, "gRPC");
  await createIndex(clients, "b", "i", { dimension: DIMENSION });
  for (let part = 0; part < 8; part++) {
    const vectors = Array.from({ length: 1_000 }, (_, i) => vectorOf(random, `first-${part * 1_000 + i}`));
    await clients.vectors.putVectors({ ...PLACE, vectors });
    acknowledged.push(...vectors.map(({ key }) => key));
  }
}

async function putOn(round: Round, protocol: string): Promise<void> {
  const { server, random, acknowledged, loops } = round;
  const { vectors } = clientsOf(server, protocol);
  let count = 0;
  const loop = untilRefused(round, `${protocol}: a call`, async () => {
    const vector = vectorOf(random, `${protocol.replaceAll(" ", "-")}-${count}`);
    await vectors.putVectors({ ...PLACE, vectors: [vector] });
    acknowledged.push(vector.key);
    count += 1;
  });
  loops.push(loop);
  await Promise.race([until(() => count > 2), loop]);
}

async function queryOn(round: Round, protocol: string): Promise<void> {
  const { server, random, loops } = round;
  const { vectors } = clientsOf(server, protocol);
  let count = 0;
  const loop = untilRefused(round, `${protocol}: a call`, async () => {
    const queryVector = { float32: [...random.vector(DIMENSION)] };
    await vectors.queryVectors({ ...PLACE, topK: 10, queryVector });
    count += 1;
  });
  loops.push(loop);
  await Promise.race([until(() => count > 2), loop]);
}

/**
 * A call that was begun before the signal is answered, or refused with SHUTTING_DOWN. One that is begun later may also find
 * that the port is closed, or that an idle connection is closed while it is on its way to it.
 */
async function untilRefused(round: Round, what: string, call: () => Promise<void>): Promise<void> {
  for (;;) {
    const { isTold } = round;
    const failure = await call().then(
      () => undefined,
      (error: unknown) => ConnectError.from(error),
    );
    if (failure === undefined) continue;
    const reason = reasonOf(failure);
    const time = isTold ? "after" : "before";
    const isLate = isTold && (failure.code === Code.Unavailable || isNotBegun(failure));
    assert.ok(reason === "SHUTTING_DOWN" || isLate, `${what} begun ${time} the signal ended with ${reason}`);
    return;
  }
}

/**
 * Whether it never reached the server: the network says so, as with ECONNREFUSED, or HTTP/2, or the client, whose connection
 * was closed before it had begun.
 */
function isNotBegun({ cause, message }: ConnectError): boolean {
  return (cause instanceof Error && "syscall" in cause) || /error code (NGHTTP2_REFUSED_STREAM|CANCEL)/.test(message);
}

async function openExport({ server, ends }: Round, protocol: string): Promise<void> {
  const { vectors } = clientsOf(server, protocol);
  const stream = vectors.exportVectors({ ...PLACE, returnData: true })[Symbol.asyncIterator]();
  await stream.next();
  ends.push({ what: `${protocol}: an export`, end: settled(readAll(stream)) });
}

async function openWatch({ server, random, acknowledged, ends }: Round, protocol: string): Promise<void> {
  const { vectors } = clientsOf(server, protocol);
  const vector = vectorOf(random, `watched-${protocol.replaceAll(" ", "-")}`);
  const { lsn } = await vectors.putVectors({ ...PLACE, vectors: [vector] });
  acknowledged.push(vector.key);
  const stream = vectors.watchVectors({ ...PLACE, fromLsn: lsn })[Symbol.asyncIterator]();
  await stream.next();
  ends.push({ what: `${protocol}: a watch`, end: settled(readAll(stream)) });
}

async function openHealth({ server, ends }: Round, protocol: string): Promise<void> {
  const health = createClient(Health, transportOf(server, protocol));
  const stream = health.watch({ service: "" })[Symbol.asyncIterator]();
  await stream.next();
  ends.push({ what: `${protocol}: a watch of the health`, end: settled(readAll(stream)) });
}

async function openImport({ server, random, ends }: Round, protocol: string): Promise<void> {
  const { vectors } = clientsOf(server, protocol);
  let sent = 0;
  const over = new AbortController();
  async function* messages() {
    while (!over.signal.aborted) {
      yield { ...(sent === 0 && PLACE), vectors: [vectorOf(random, `imported-${sent}`)] };
      sent += 1;
      await new Promise((wake) => setTimeout(wake, 5));
    }
  }
  const end = vectors.importVectors(messages()).finally(() => over.abort());
  ends.push({ what: `${protocol}: an import`, end: settled(end) });
  await until(() => sent > 5 || over.signal.aborted);
}

/** A put of which the first bytes come and the rest does not. The answer must. */
async function stopBody({ t, server, ends }: Round): Promise<void> {
  const session = http2Connect(server.url);
  session.on("error", () => {});
  t.after(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": "/quiver.v1.VectorService/PutVectors",
    "content-type": "application/json",
  });
  stream.write('{"vectors":');
  const end = (async () => {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    if (!body.includes("SHUTTING_DOWN")) throw new Error(`the answer is "${body}"`);
  })();
  ends.push({ what: "a request whose body stops", end: settled(end) });
  await fetch(new URL("/livez", server.url));
}

/** An export that nobody reads; its status cannot be sent. */
async function stopReading({ t, server }: Round): Promise<void> {
  const session = http2Connect(server.url, { settings: { initialWindowSize: 1_000 } });
  session.on("error", () => {});
  t.after(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": "/quiver.v1.VectorService/ExportVectors",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  // An ExportVectorsRequest with vector_bucket_name "b", index_name "i".
  stream.end(Buffer.from([0, 0, 0, 0, 6, 0x0a, 1, 0x62, 0x12, 1, 0x69]));
  await once(stream, "response");
}

async function keepAlive({ t, server }: Round): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const request = httpRequest(new URL("/livez", server.url), { agent });
  request.end();
  const [response] = await once(request, "response");
  response.resume();
  await once(response, "end");
}

async function connectAndSend({ t, server }: Round, text: string): Promise<void> {
  const { hostname, port } = new URL(server.url);
  const socket = netConnect({ host: hostname, port: Number(port), allowHalfOpen: true });
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  await once(socket, "connect");
  socket.write(text);
}

function transportOf(server: ServerProcess, protocol: string) {
  const open = PROTOCOLS[protocol];
  if (open === undefined) throw new Error(`No protocol ${protocol}`);
  return open(server.url);
}

function clientsOf(server: ServerProcess, protocol: string): Clients {
  return createClients(transportOf(server, protocol));
}

function vectorOf(random: Random, key: string) {
  return { key, data: { float32: [...random.vector(DIMENSION)] } };
}

async function readAll(stream: AsyncIterator<unknown>): Promise<void> {
  while (!(await stream.next()).done) {}
}

/** Looked at later: a rejection until then is not one that nobody handles. */
function settled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function reasonOf(error: unknown): string {
  const connectError = ConnectError.from(error);
  const reason = connectError.findDetails(ErrorInfoSchema)[0]?.reason;
  return reason ?? connectError.message;
}

async function assertStored(t: TestContext, data: string, acknowledged: readonly string[]): Promise<void> {
  const server = await ServerProcess.start(data);
  t.after(() => server.kill());
  const { vectors } = clientsOf(server, "gRPC");
  const stored = new Set<string>();
  for await (const part of vectors.exportVectors(PLACE)) for (const { key } of part.vectors) stored.add(key);
  assert.deepEqual(
    acknowledged.filter((key) => !stored.has(key)),
    [],
  );
  await server.kill();
}
