import assert from "node:assert/strict";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { connect as http2Connect } from "node:http2";
import { type AddressInfo, connect as netConnect } from "node:net";
import { join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { type ConnectionOptions, createServer, connect as tlsConnect } from "node:tls";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { generate } from "selfsigned";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { openTlsFiles, type TlsPaths } from "../../src/http/tls-files.ts";
import { openLog } from "../../src/log.ts";
import { createCa, createCertificate, type Pair, writePair } from "../support/certificates.ts";
import { type ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const POLL_MS = 50;
const PATIENCE_MS = 60_000;

let ca: Pair;
let otherCa: Pair;
let first: Pair;
let second: Pair;
before(async () => {
  [ca, otherCa] = await Promise.all([createCa("CA"), createCa("other CA")]);
  [first, second] = await Promise.all([createCertificate("first", ca), createCertificate("second", ca)]);
});

/** Every way to call that is not only a format: each opens connections of its own. */
const TRANSPORTS: Readonly<Record<string, (baseUrl: string, nodeOptions: ConnectionOptions) => Transport>> = {
  gRPC: (baseUrl, nodeOptions) => createGrpcTransport({ baseUrl, nodeOptions }),
  "Connect over HTTP/1.1": (baseUrl, nodeOptions) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", nodeOptions }),
  "Connect over HTTP/2": (baseUrl, nodeOptions) => createConnectTransport({ baseUrl, httpVersion: "2", nodeOptions }),
};

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await isTrue())) {
    if (performance.now() > end) assert.fail(`It never came true that ${what}`);
    await wait(POLL_MS);
  }
}

/** The name in the certificate that a new connection is shown. */
async function nameOf(url: string, options: ConnectionOptions = {}): Promise<string> {
  const socket = tlsConnect({ port: Number(new URL(url).port), host: "127.0.0.1", ca: ca.cert, ...options });
  await once(socket, "secureConnect");
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return `${CN}`;
}

/** Calls until it is told to stop, and then tells how often. What fails, fails the test. */
function keepCalling(transport: Transport): { readonly count: number; stop(): Promise<void> } {
  const client = createClient(BucketService, transport);
  let count = 0;
  let isOver = false;
  const calls = (async () => {
    while (!isOver) {
      await client.listVectorBuckets({});
      count += 1;
    }
  })();
  return {
    get count() {
      return count;
    },
    async stop() {
      isOver = true;
      await calls;
    },
  };
}

test("another certificate is used without a restart, and no call fails meanwhile", async (t) => {
  const directory = temporaryDirectory();
  const { url, pid } = await startServer(t, writePair(directory, first));
  assert.equal(await nameOf(url), "first");
  const callers = Object.values(TRANSPORTS).map((open) => keepCalling(open(url, { ca: ca.cert })));
  const moreCalls = async () => {
    const goals = callers.map(({ count }) => count + 20);
    await until("everybody made more calls", () => callers.every(({ count }, i) => count >= (goals[i] ?? 0)));
  };
  const kept = http2Connect(url, { ca: ca.cert });
  t.after(() => kept.destroy());
  await once(kept, "remoteSettings");
  await moreCalls();

  writePair(directory, second);
  await until("the second certificate is used", async () => (await nameOf(url)) === "second");
  await moreCalls();
  writePair(directory, first);
  process.kill(pid ?? 0, "SIGHUP");
  await until("the first certificate is used again", async () => (await nameOf(url)) === "first");
  await moreCalls();

  assert.equal((await kept.request({ ":path": "/livez" }).setEncoding("utf8").toArray()).join(""), "ok\n");
  for (const caller of callers) await caller.stop();
});

test("files that are broken, missing or do not fit together leave the old ones in use", async (t) => {
  const directory = temporaryDirectory();
  const server = await startServer(t, writePair(directory, first));
  const said = async (what: RegExp) => until(`the log says ${what}`, () => what.test(server.complaints));
  writeFileSync(join(directory, "cert.pem"), second.cert);
  await said(/key\.pem\\" is not the key of the certificate in --tls-cert/);
  assert.equal(await nameOf(server.url), "first");
  writeFileSync(join(directory, "cert.pem"), second.cert.slice(0, 100));
  await said(/cert\.pem\\" must hold a certificate in PEM/);
  writeFileSync(join(directory, "cert.pem"), second.cert.replace(/\w{20}/, "x"));
  await said(/cert\.pem\\" has a broken certificate/);
  rmSync(join(directory, "cert.pem"));
  await said(/Cannot read --tls-cert .*cert\.pem.*ENOENT/);
  assert.equal(await nameOf(server.url), "first");
  writePair(directory, second);
  await until("the second certificate is used", async () => (await nameOf(server.url)) === "second");
});

async function startWithCa(t: TestContext): Promise<{ server: ServerProcess; caPath: string }> {
  const directory = temporaryDirectory();
  const caPath = join(directory, "ca.pem");
  writeFileSync(caPath, ca.cert);
  return { server: await startServer(t, [...writePair(directory, first), "--tls-client-ca", caPath]), caPath };
}

test("with --tls-client-ca only clients with a certificate of that CA are let in", async (t) => {
  const { server, caPath } = await startWithCa(t);
  const [known, foreign, own] = await Promise.all([
    createCertificate("client", ca),
    createCertificate("client", otherCa),
    createCertificate("client"),
  ]);
  const call = (open: (url: string, options: ConnectionOptions) => Transport, pair: Pair | undefined) =>
    createClient(BucketService, open(server.url, { ca: ca.cert, ...pair })).listVectorBuckets({});
  for (const [name, open] of Object.entries(TRANSPORTS)) {
    await call(open, known);
    for (const pair of [undefined, foreign, own]) await assert.rejects(call(open, pair), name);
  }
  await until("the log has the refusals", () => /TLS handshakes were refused/.test(server.complaints));
  assert.match(server.complaints, /client certificate: [A-Z_]+/);

  writeFileSync(caPath, otherCa.cert);
  const [open] = Object.values(TRANSPORTS);
  assert.ok(open);
  await until("the other CA is asked for", () =>
    call(open, foreign).then(
      () => true,
      () => false,
    ),
  );
  await assert.rejects(call(open, known));
});

test("refused handshakes are logged once a second at most", async (t) => {
  const { server } = await startWithCa(t);
  const startedAt = performance.now();
  const refusedInAll = () => [...server.complaints.matchAll(/"refused":(\d+)/g)].map(([, count]) => Number(count));
  const connections = 60;
  for (let i = 0; i < connections; i += 1) {
    const socket = tlsConnect({ port: Number(new URL(server.url).port), host: "127.0.0.1", ca: ca.cert });
    socket.on("error", () => {});
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
  }
  await until("all are logged", () => refusedInAll().reduce((sum, count) => sum + count, 0) === connections);
  const seconds = (performance.now() - startedAt) / 1_000;
  assert.ok(refusedInAll().length <= seconds + 1, `${refusedInAll().length} lines in ${seconds} s`);
});

test("TLS before 1.2 is refused, and ALPN chooses among the two versions of HTTP", async (t) => {
  const { url } = await startServer(t, writePair(temporaryDirectory(), first));
  const old: ConnectionOptions = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" };
  await assert.rejects(nameOf(url, old), /protocol version/);
  const lax = createServer({ cert: first.cert, key: first.key, minVersion: "TLSv1", ciphers: "DEFAULT:@SECLEVEL=0" });
  lax.listen(0, "127.0.0.1");
  await once(lax, "listening");
  t.after(() => lax.close());
  assert.equal(await nameOf(`https://127.0.0.1:${(lax.address() as AddressInfo).port}`, old), "first");

  const agreed = async (ALPNProtocols: string[] | undefined) => {
    const socket = tlsConnect({
      port: Number(new URL(url).port),
      host: "127.0.0.1",
      ca: ca.cert,
      ...(ALPNProtocols && { ALPNProtocols }),
    });
    await once(socket, "secureConnect");
    const { alpnProtocol } = socket;
    const version = socket.getProtocol();
    socket.destroy();
    return [alpnProtocol, version];
  };
  assert.deepEqual(await agreed(["h2", "http/1.1"]), ["h2", "TLSv1.3"]);
  assert.deepEqual(await agreed(["http/1.1", "h2"]), ["h2", "TLSv1.3"]);
  assert.deepEqual(await agreed(["http/1.1"]), ["http/1.1", "TLSv1.3"]);
  assert.deepEqual(await agreed(undefined), [false, "TLSv1.3"]);
  await assert.rejects(agreed(["spdy/3"]), /no application protocol/);
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    assert.equal(await nameOf(url, { minVersion: version, maxVersion: version }), "first");
  }
});

/** A record of a handshake of 512 bytes, of which the first few come. */
const BEGUN_HELLO = Buffer.from("16030102000100", "hex");

test("a handshake that stops in the middle does not keep the server from ending", async (t) => {
  const server = await startServer(t, writePair(temporaryDirectory(), first));
  const stalled = netConnect(Number(new URL(server.url).port), "127.0.0.1");
  const closed = once(stalled, "close");
  stalled.on("error", () => {});
  stalled.write(BEGUN_HELLO);
  await once(stalled, "connect");
  // Connections are taken in the order in which they come.
  await nameOf(server.url);
  assert.equal(stalled.destroyed, false);
  assert.equal(await server.stop(), 0);
  await closed;
});

const silent = openLog({ level: "silent" });

/** Writes what is given, and what is in order for the rest. */
function pathsOf(given: Partial<Record<keyof TlsPaths, string>>): TlsPaths {
  const directory = temporaryDirectory();
  const path = (name: keyof TlsPaths, content: string) => {
    writeFileSync(join(directory, `${name}.pem`), content);
    return join(directory, `${name}.pem`);
  };
  return {
    cert: path("cert", given.cert ?? first.cert),
    key: path("key", given.key ?? first.key),
    clientCa: given.clientCa === undefined ? undefined : path("clientCa", given.clientCa),
  };
}

test("files that TLS cannot start with are refused with option and file", async () => {
  const locked = await generate([{ name: "commonName", value: "x" }], { keyType: "ec", passphrase: "secret" });
  const weak = await generate([{ name: "commonName", value: "x" }], { keySize: 1024, algorithm: "sha256" });
  const refused: [Partial<Record<keyof TlsPaths, string>>, RegExp][] = [
    [{ cert: "" }, /^--tls-cert ".*cert\.pem" must hold a certificate in PEM$/],
    [{ cert: first.key }, /^--tls-cert ".*cert\.pem" must hold a certificate in PEM$/],
    [{ cert: first.cert.replace(/\w{20}/, "x") }, /^--tls-cert ".*cert\.pem" has a broken certificate: /],
    [{ key: "x" }, /^--tls-key ".*key\.pem" must hold a private key in PEM$/],
    [{ key: first.cert }, /^--tls-key ".*key\.pem" must hold a private key in PEM$/],
    [{ key: locked.private }, /^--tls-key ".*key\.pem" must hold a private key in PEM without a passphrase$/],
    [{ key: second.key }, /^--tls-key ".*key\.pem" is not the key of the certificate in --tls-cert ".*cert\.pem"$/],
    [{ cert: weak.cert, key: weak.private }, /^TLS does not take --tls-cert ".*cert\.pem": .*key too small/],
    [{ clientCa: "x" }, /^--tls-client-ca ".*clientCa\.pem" must hold a certificate in PEM$/],
  ];
  for (const [given, message] of refused) {
    await assert.rejects(openTlsFiles(pathsOf(given), silent), { reason: "INVALID_FIELD", message });
  }
  const missing = { ...pathsOf({}), clientCa: "/nowhere/ca.pem" };
  await assert.rejects(
    openTlsFiles(missing, silent),
    /^QuiverError: Cannot read --tls-client-ca "\/nowhere\/ca\.pem": /,
  );
  (await openTlsFiles(pathsOf({ clientCa: ca.cert + otherCa.cert }), silent)).close();
});

test("certificates that have expired, or soon will, are logged at the start and every day", async (t) => {
  const said = async (days: number) => {
    const lines: string[] = [];
    const log = openLog({ level: "info", to: { write: (line) => lines.push(line) } });
    const files = await openTlsFiles(pathsOf({ ...(await createCertificate("leaf", ca, days)) }), log);
    t.after(() => files.close());
    return lines;
  };
  const [expired] = await said(-1);
  assert.match(expired ?? "", /"level":"warn".*cert\.pem.*CN=leaf.*A certificate of --tls-cert has expired/);
  t.mock.timers.enable({ apis: ["setInterval", "Date"], now: Date.now() });
  const soon = await said(5);
  assert.equal(soon.length, 1);
  assert.match(soon[0] ?? "", /expires soon/);
  const later = await said(20);
  assert.deepEqual(later, []);
  const day = () => t.mock.timers.tick(86_400_000);
  for (let i = 0; i < 5; i += 1) day();
  assert.deepEqual(later, []);
  for (let i = 0; i < 3; i += 1) day();
  assert.ok(later.length >= 1 && later.every((line) => /expires soon/.test(line)), `${later}`);
  assert.match(soon.at(-1) ?? "", /has expired/);
});
