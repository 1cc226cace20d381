import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { constants, connect as http2Connect } from "node:http2";
import { request as httpsRequest } from "node:https";
import { connect as netConnect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { generate } from "selfsigned";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import type { PortLimits } from "../../src/http/limits.ts";
import { openPort } from "../../src/http/port.ts";
import { createRoutes } from "../../src/http/routes.ts";
import type { HttpHandler } from "../../src/http/types.ts";
import { openLog } from "../../src/log.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { DIALECTS, openRpcHarness, sendHttp1, sendHttp2, sendTcp } from "../support/rpc-harness.ts";

const vectors = defineService(VectorService, { putVectors: () => ({ lsn: 7n }) });
const quiet = () => openLog({ level: "silent" });

/** Opens a port with one handler; it is drained when the test ends. */
async function open(t: TestContext, handler: HttpHandler, limits: Partial<PortLimits> = {}) {
  const port = await openPort({ host: "127.0.0.1", port: 0, handler, limits, log: quiet() });
  t.after(() => port.drain(0));
  return port;
}

const answerOk: HttpHandler = (_, response) => void response.end("ok");

function closed(socket: Socket): Promise<unknown> {
  socket.on("error", () => {});
  socket.resume();
  return socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once("close", resolve));
}

test("HTTP/1.1 and HTTP/2 share the port, whatever the size of the first packet", async (t) => {
  const port = await open(t, (request, response) => void response.end(request.httpVersion));
  assert.equal((await sendHttp1(port.url, { path: "/", method: "GET" })).body.toString(), "1.1");
  assert.equal((await sendHttp2(port.url, { path: "/", method: "GET" })).body.toString(), "2.0");
  for (const text of ["PUT / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", "PRI * HTTP/1.1\r\nhost: h\r\n\r\n"]) {
    const socket = netConnect(port.port, "127.0.0.1");
    socket.setNoDelay();
    let answer = "";
    socket.on("data", (chunk: Buffer) => {
      answer += chunk;
    });
    const done = closed(socket);
    for (const byte of text) {
      if (socket.writable) socket.write(byte);
      await new Promise(setImmediate);
    }
    await done;
    assert.match(answer, text.startsWith("PUT") ? /^HTTP\/1.1 200/ : /^HTTP\/1.1 400/);
  }
});

test("over TLS, ALPN chooses the version", async (t) => {
  const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }]);
  const harness = await openRpcHarness(t, { services: [vectors], tls: { cert, key } });
  assert.match(harness.url, /^https:/);
  for (const dialect of DIALECTS.filter(({ json }) => !json)) {
    if (dialect.protocol === "grpc") continue;
    const client = createClient(VectorService, harness.transport(dialect));
    assert.equal((await client.putVectors({})).lsn, 7n, dialect.name);
  }
  const http2 = await sendHttp2(harness.url, { path: "/livez", method: "GET" });
  assert.equal(http2.body.toString(), "ok\n");
  const request = httpsRequest(`${harness.url}/livez`, { rejectUnauthorized: false, agent: false }).end();
  const [response] = await once(request, "response");
  assert.equal(response.httpVersion, "1.1");
  response.resume();
  await once(response, "close");
});

test("plain routes answer GET and HEAD, and the rest is an error in JSON", async (t) => {
  let ready = false;
  const state = {
    storage: "read_only",
    problems: [{ reason: "DISK_FULL", message: "Full" }],
    indexes: { "b/i": "loading" },
  };
  const routes = createRoutes({ name: "Quiver", version: "1.2.3", readiness: () => ({ ready, ...state }) });
  const { url } = await open(t, routes);
  const get = (path: string, method = "GET") => sendHttp1(url, { path, method });

  assert.equal((await get("/livez")).body.toString(), "ok\n");
  assert.match((await get("/")).body.toString(), /^Quiver 1\.2\.3/);
  const loading = await get("/readyz?verbose");
  assert.equal(loading.status, 503);
  assert.deepEqual(JSON.parse(loading.body.toString()), { ready: false, ...state });
  ready = true;
  assert.equal((await get("/readyz")).status, 200);

  const head = await get("/readyz", "HEAD");
  assert.deepEqual(
    [head.status, head.body.length, head.headers["content-length"]],
    [200, 0, `${loading.body.length - 1}`],
  );
  const missing = await get("/nowhere");
  assert.equal(missing.status, 404);
  assert.equal(JSON.parse(missing.body.toString()).code, "not_found");
  const wrongMethod = await get("/livez", "DELETE");
  assert.deepEqual([wrongMethod.status, wrongMethod.headers.allow], [405, "GET, HEAD"]);
});

test("a handler that throws is answered with 500 and the port goes on", async (t) => {
  const port = await open(t, (request, response) => {
    if (request.url === "/bad") throw new Error("secret");
    response.end("ok");
  });
  for (const send of [sendHttp1, sendHttp2]) {
    const bad = await send(port.url, { path: "/bad", method: "GET" });
    assert.equal(bad.status, 500);
    assert.ok(!bad.body.toString().includes("secret"));
    assert.equal((await send(port.url, { path: "/", method: "GET" })).body.toString(), "ok");
  }
});

test("a drain finishes calls in flight, cuts idle connections and refuses new ones", async (t) => {
  const release = Promise.withResolvers<void>();
  const bothArrived = Promise.withResolvers<void>();
  let arrived = 0;
  const port = await open(t, (_, response) => {
    arrived += 1;
    if (arrived === 2) bothArrived.resolve();
    void release.promise.then(() => response.end("late"));
  });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const session = http2Connect(port.url);
  await once(session, "connect");
  const idle = netConnect(port.port, "127.0.0.1");
  const idleSession = http2Connect(port.url);
  await Promise.all([once(idle, "connect"), once(idleSession, "remoteSettings")]);

  const kept = httpRequest(port.url, { agent }).end();
  const stream = session.request({ ":path": "/" });
  stream.setEncoding("utf8");
  await bothArrived.promise;
  let drained = false;
  const draining = port.drain(5_000).then(() => {
    drained = true;
  });
  const goaway = once(session, "goaway");
  await Promise.all([closed(idle), once(idleSession, "close"), goaway]);
  const refused = netConnect(port.port, "127.0.0.1");
  await assert.rejects(once(refused, "connect"), { code: "ECONNREFUSED" });
  assert.equal(drained, false);

  release.resolve();
  const [response] = await once(kept, "response");
  assert.equal((await response.toArray()).join(""), "late");
  assert.equal((await stream.toArray()).join(""), "late");
  await draining;
});

test("a drain ends in time when a client never closes its end of an HTTP/2 connection", {
  timeout: 14_000,
}, async (t) => {
  const port = await open(t, answerOk);
  const socket = netConnect({ port: port.port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  // The preface and an empty SETTINGS frame: all that a client has to say first.
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 0, 0));
  await once(socket, "data");
  await port.drain(100);
  assert.equal(socket.writable, true);
});

test("a drain ends in time when calls never do", { timeout: 14_000 }, async (t) => {
  const port = await open(t, () => {});
  const pending = httpRequest(port.url).end();
  const session = http2Connect(port.url);
  const stream = session.request({ ":path": "/" });
  for (const emitter of [pending, session, stream]) emitter.on("error", () => {});
  await once(session, "remoteSettings");
  await port.drain(100);
});

test("a connection that resets its calls too fast is told to calm down", async (t) => {
  const port = await open(t, () => {}, { resetBurst: 50, resetsPerSecond: 1 });
  const session = http2Connect(port.url);
  session.on("error", () => {});
  const goaway = once(session, "goaway");
  await once(session, "remoteSettings");
  while (!session.destroyed) {
    const stream = session.request({ ":path": "/" });
    stream.on("error", () => {});
    stream.close(constants.NGHTTP2_CANCEL);
    await new Promise(setImmediate);
  }
  assert.deepEqual((await goaway)[0], constants.NGHTTP2_ENHANCE_YOUR_CALM);
});

test("answered calls that a client resets do not count", async (t) => {
  const port = await open(t, answerOk, { resetBurst: 5, resetsPerSecond: 0 });
  const session = http2Connect(port.url);
  t.after(() => session.destroy());
  for (let i = 0; i < 20; i += 1) {
    const stream = session.request({ ":path": "/" });
    assert.equal((await stream.setEncoding("utf8").toArray()).join(""), "ok");
    stream.close(constants.NGHTTP2_CANCEL);
  }
  assert.equal(session.destroyed, false);
});

test("HTTP/2 clients are told the limits, and larger ones once they are let in", async (t) => {
  const port = await open(t, (request, response) => {
    if ("stream" in request && request.stream.session) port.letIn(request.stream.session);
    answerOk(request, response);
  });
  const session = http2Connect(port.url);
  t.after(() => session.destroy());
  const [settings] = await once(session, "remoteSettings");
  assert.equal(settings.maxConcurrentStreams, 100);
  assert.equal(settings.initialWindowSize, 65_535);
  session.request({ ":path": "/" }).end().resume();
  const [more] = await once(session, "remoteSettings");
  assert.equal(more.initialWindowSize, 8 * 1024 * 1024);
  await new Promise((resolve) => session.ping(() => resolve(undefined)));
  assert.equal(session.state.remoteWindowSize, 16 * 1024 * 1024);
});

test("slow, silent and idle connections are closed", async (t) => {
  const limits = { headersTimeoutMs: 200, requestTimeoutMs: 400, idleTimeoutMs: 200 };
  const port = await open(t, answerOk, limits);
  const silent = netConnect(port.port, "127.0.0.1");
  const halfPreface = netConnect(port.port, "127.0.0.1");
  halfPreface.write("PRI * HT");
  const halfHeader = netConnect(port.port, "127.0.0.1");
  halfHeader.write("GET / HTTP/1.1\r\nhost:");
  const session = http2Connect(port.url);
  await Promise.all([silent, halfPreface, halfHeader].map(closed).concat(once(session, "close")));
});

test("a body that does not come is cut off in both versions", async (t) => {
  const port = await open(t, () => {}, { headersTimeoutMs: 200, requestTimeoutMs: 300 });
  const slow = netConnect(port.port, "127.0.0.1");
  slow.write("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n123");
  const session = http2Connect(port.url);
  t.after(() => session.destroy());
  const stream = session.request({ ":path": "/", ":method": "POST" });
  stream.on("error", () => {});
  stream.write("123");
  await Promise.all([closed(slow), once(stream, "close")]);
});

test("headers that are too long and connections that are too many are refused", async (t) => {
  const port = await open(t, answerOk, { maxConnections: 2 });
  const long = { "x-long": "x".repeat(20_000) };
  assert.equal((await sendHttp1(port.url, { path: "/", method: "GET", headers: long })).status, 431);
  const kept = [netConnect(port.port, "127.0.0.1"), netConnect(port.port, "127.0.0.1")];
  await Promise.all(kept.map((socket) => once(socket, "connect")));
  await closed(netConnect(port.port, "127.0.0.1"));
  for (const socket of kept) socket.destroy();
});

test("garbage is refused and harms nobody else", async (t) => {
  const port = await open(t, answerOk, { headersTimeoutMs: 300 });
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (const bytes of [
    "\x16\x03\x01\x00",
    "GET\r\n\r\n",
    `${preface}\xff\xff\xff\xff\xff\xff\xff\xff\xff`,
    `${preface}GET / HTTP/1.1\r\n\r\n`,
  ]) {
    await sendTcp(port.port, Buffer.from(bytes, "latin1"));
  }
  assert.equal((await sendHttp1(port.url, { path: "/", method: "GET" })).body.toString(), "ok");
});

test("pages of allowed origins may call, others may not", async (t) => {
  const harness = await openRpcHarness(t, { services: [vectors], rpc: { corsOrigins: ["https://good.example"] } });
  const path = "/quiver.v1.VectorService/PutVectors";
  const preflight = (origin: string) =>
    sendHttp1(harness.url, { path, method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } });
  const allowed = await preflight("https://good.example");
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers["access-control-allow-origin"], "https://good.example");
  for (const name of ["Connect-Protocol-Version", "Content-Type", "X-Grpc-Web", "Authorization"]) {
    assert.ok(allowed.headers["access-control-allow-headers"]?.includes(name), name);
  }
  const denied = await preflight("https://bad.example");
  assert.equal(denied.headers["access-control-allow-origin"], undefined);
  const called = await sendHttp1(harness.url, {
    path,
    headers: { origin: "https://good.example", "content-type": "application/json" },
    body: Buffer.from("{}"),
  });
  assert.equal(called.status, 200);
  assert.match(String(called.headers["access-control-expose-headers"]), /Grpc-Status-Details-Bin/i);
});

test("credentials never reach the log", () => {
  const lines: string[] = [];
  const log = openLog({ level: "info", to: { write: (line) => lines.push(line) } });
  const headers = { authorization: "Bearer s3cret", "x-api-key": "s3cret", accept: "*/*" };
  log.info({ headers, authorization: "s3cret" }, "Call");
  assert.equal(lines.length, 1);
  assert.ok(!lines.join("").includes("s3cret"));
  assert.equal(JSON.parse(lines[0] ?? "").headers.accept, "*/*");
});
