import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { envelope, type RawRequest, type RawResponse, sendHttp1, sendHttp2, sendTcp } from "../support/rpc-harness.ts";
import type { ServerProcess } from "../support/server.ts";
import { startServer } from "../support/server.ts";

const LIST = "/quiver.v1.BucketService/ListVectorBuckets";
const CREATE = "/quiver.v1.BucketService/CreateVectorBucket";
const EMPTY_JSON = Buffer.from("{}");
const GOOD = "https://good.example";

interface Kind {
  readonly send: typeof sendHttp1;
  readonly request: RawRequest;
  /** What a call that is let in answers with over HTTP. Default 200. */
  readonly status?: number;
}

const json = { path: LIST, headers: { "content-type": "application/json" }, body: EMPTY_JSON };
const grpc = {
  path: LIST,
  headers: { "content-type": "application/grpc", te: "trailers" },
  body: envelope(new Uint8Array()),
};
const grpcWeb = { ...grpc, headers: { "content-type": "application/grpc-web+proto" } };
const stream = {
  path: "/quiver.v1.VectorService/ExportVectors",
  headers: { "content-type": "application/connect+json" },
  body: envelope(EMPTY_JSON),
};
const query = { path: `${LIST}?connect=v1&encoding=json&message=%7B%7D`, method: "GET" };
const health = { ...json, path: "/grpc.health.v1.Health/Check" };
const text = { ...json, headers: { "content-type": "text/plain" } };
const ready = { path: "/readyz", method: "GET" };

/** Each dress that a refusal may have, and what browsers send without asking first. */
const KINDS: Readonly<Record<string, Kind>> = {
  "Connect over HTTP/1.1": { send: sendHttp1, request: json },
  "Connect over HTTP/2": { send: sendHttp2, request: json },
  "Connect with GET": { send: sendHttp1, request: query },
  "Connect with GET over HTTP/2": { send: sendHttp2, request: query },
  "a stream of Connect": { send: sendHttp2, request: stream },
  gRPC: { send: sendHttp2, request: grpc },
  "gRPC-Web over HTTP/1.1": { send: sendHttp1, request: grpcWeb },
  "gRPC-Web over HTTP/2": { send: sendHttp2, request: grpcWeb },
  "a health check": { send: sendHttp1, request: health },
  "text as forms send it": { send: sendHttp1, request: text, status: 415 },
  "a plain path": { send: sendHttp1, request: ready },
  "a plain path over HTTP/2": { send: sendHttp2, request: ready },
  "an unknown path": { send: sendHttp1, request: { path: "/nowhere", method: "GET" }, status: 404 },
};

const ends: (() => unknown)[] = [];
let open: ServerProcess;
let unchecked: ServerProcess;
let allowing: ServerProcess;
before(async () => {
  const start = (...args: string[]) => startServer({ after: (end) => void ends.push(end as () => unknown) }, args);
  [open, unchecked, allowing] = await Promise.all([
    start(),
    start("--hosts", "*", "--cors-origins", "*"),
    start("--cors-origins", GOOD),
  ]);
});
after(async () => {
  for (const end of ends) await end();
});

/** The reason of a refusal in any dress; undefined for what was let in. */
function refusalOf({ status, headers, trailers, body }: RawResponse): string | undefined {
  const all = `${body} ${JSON.stringify(headers)} ${JSON.stringify(trailers)}`;
  const decoded = (all.match(/[\w+/-]{16,}={0,2}/g) ?? []).map((token) =>
    Buffer.from(token, "base64").toString("latin1"),
  );
  const [reason] = decoded.flatMap((details) => details.match(/HOST_REFUSED|ORIGIN_REFUSED/) ?? []);
  const said = status === 403 ? /"code":"permission_denied"/ : /grpc-status(":"|: ?)7|"code":"permission_denied"/;
  if (reason !== undefined) {
    assert.match(all, said);
    assert.match(all, /quiver keys create|quiver%20keys%20create/);
  }
  return reason;
}

async function call(url: string, { send, request }: Kind, headers: Record<string, string>): Promise<RawResponse> {
  return send(url, { ...request, headers: { ...request.headers, ...headers } });
}

/** The headers that say by which name the server is called. */
function named({ send }: Kind, host: string): Record<string, string> {
  return send === sendHttp1 ? { host } : { ":authority": host };
}

async function assertLetIn(url: string, kind: Kind, headers: Record<string, string>): Promise<void> {
  const response = await call(url, kind, headers);
  assert.equal(refusalOf(response), undefined, JSON.stringify(headers));
  assert.equal(response.status, kind.status ?? 200, JSON.stringify(headers));
}

/** The control: a server that does not check lets the same in. */
async function assertRefused(reason: string, kind: Kind, headers: Record<string, string>): Promise<void> {
  assert.equal(refusalOf(await call(open.url, kind, headers)), reason, JSON.stringify(headers));
  await assertLetIn(unchecked.url, kind, headers);
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name} is refused by the name of another host, and by a page of another origin`, async () => {
    await assertLetIn(open.url, kind, { origin: open.url });
    await assertRefused("HOST_REFUSED", kind, named(kind, "evil.example"));
    await assertRefused("ORIGIN_REFUSED", kind, { origin: "https://evil.example" });
    await assertRefused("ORIGIN_REFUSED", kind, { "sec-fetch-site": "cross-site" });
  });
}

for (const name of ["Connect over HTTP/1.1", "gRPC"]) {
  const kind = KINDS[name] as Kind;

  test(`${name}: only names that nobody else can own are names of this machine`, async () => {
    const { host, port } = new URL(open.url);
    for (const each of [host, `localhost:${port}`, "app.localhost", `LOCALHOST:${port}`, "[::1]:1", "127.9.9.9"]) {
      await assertLetIn(open.url, kind, named(kind, each));
    }
    for (const each of [
      ...[`evil.example:${port}`, "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"],
      ...[`0.0.0.0:${port}`, "[::]", "[2001:db8::1]"],
    ]) {
      await assertRefused("HOST_REFUSED", kind, named(kind, each));
    }
    await assertRefused("HOST_REFUSED", kind, { ...named(kind, "evil.example"), origin: "http://evil.example" });
  });

  test(`${name}: only the server's own origin and allowed ones are let in`, async () => {
    const { host, port } = new URL(open.url);
    const local = `localhost:${port}`;
    await assertLetIn(open.url, kind, { ...named(kind, local), origin: `http://${local}` });
    await assertLetIn(allowing.url, kind, { origin: GOOD, "sec-fetch-site": "cross-site" });
    for (const origin of [
      ...["null", GOOD, "http://127.0.0.1:1", "http://127.0.0.1", `http://${local}`, `https://${host}`, "x"],
      ...[`${open.url}/`, `${open.url}, https://evil.example`, `${open.url}.evil.example`],
    ]) {
      await assertRefused("ORIGIN_REFUSED", kind, { origin });
    }
    await assertRefused("ORIGIN_REFUSED", kind, { "sec-fetch-site": "same-site" });
    for (const site of ["same-origin", "none"]) await assertLetIn(open.url, kind, { "sec-fetch-site": site });
  });
}

test("what is refused changes nothing, and a preflight is not answered", async () => {
  const create = { ...json, path: CREATE, body: Buffer.from('{"vectorBucketName":"planted"}') };
  for (const headers of [{ origin: "https://evil.example" }, { host: "evil.example" }]) {
    const response = await sendHttp1(open.url, { ...create, headers: { ...create.headers, ...headers } });
    assert.equal(response.status, 403);
    assert.equal(response.headers["access-control-allow-origin"], undefined);
  }
  assert.equal(`${(await sendHttp1(open.url, json)).body}`, "{}");
  const preflight = { path: CREATE, method: "OPTIONS", headers: { "access-control-request-method": "POST" } };
  const ask = (url: string, headers: Record<string, string>) =>
    sendHttp1(url, { ...preflight, headers: { ...preflight.headers, ...headers } });
  assert.equal((await ask(open.url, { origin: GOOD })).status, 403);
  assert.equal((await ask(allowing.url, { origin: GOOD })).status, 204);
  assert.equal((await ask(allowing.url, { origin: GOOD, host: "evil.example" })).status, 403);
});

test("/livez answers everybody, and who names no host is none whom a browser sends", async () => {
  const headers = { host: "evil.example", origin: "https://evil.example" };
  const alive = await sendHttp1(open.url, { path: "/livez", method: "GET", headers });
  assert.deepEqual([alive.status, `${alive.body}`], [200, "ok\n"]);
  const old = await sendTcp(Number(new URL(open.url).port), "GET /readyz HTTP/1.0\r\n\r\n");
  assert.match(`${old}`, /^HTTP\/1\.1 200 /);
  const page = await sendTcp(
    Number(new URL(open.url).port),
    "GET /readyz HTTP/1.0\r\norigin: http://undefined\r\n\r\n",
  );
  assert.match(`${page}`, /^HTTP\/1\.1 403 /);
});

test("--insecure and --hosts let in by other names, but no page of another origin", async (t) => {
  const { url } = await startServer(t, ["--insecure", "true", "--hosts", "quiver.example"]);
  const kind = KINDS["Connect over HTTP/1.1"] as Kind;
  for (const host of ["quiver.example", "Quiver.example:8080", "10.1.2.3:8080", "quiver:8080", "[2001:db8::1]"]) {
    await assertLetIn(url, kind, { host });
    await assertLetIn(url, kind, { host, origin: `http://${host}`.toLowerCase() });
    for (const foreign of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }]) {
      assert.equal(refusalOf(await call(url, kind, { host, ...foreign })), "ORIGIN_REFUSED");
    }
  }
  for (const host of ["evil.example", "sub.quiver.example", "quiver.example.evil.example"]) {
    assert.equal(refusalOf(await call(url, kind, { host })), "HOST_REFUSED", host);
  }
});

test("with access keys any name and origin will do, for no browser sends a key by itself", async (t) => {
  const { url } = await startServer(t);
  const body = Buffer.from('{"role":"ACCESS_ROLE_ADMIN"}');
  const created = await sendHttp1(url, { ...json, path: "/quiver.v1.AdminService/CreateAccessKey", body });
  const { apiKey } = JSON.parse(`${created.body}`);
  const foreign = { host: "quiver.example", origin: "https://evil.example", "content-type": "application/json" };
  const withKey = { ...foreign, authorization: `Bearer ${apiKey}` };
  assert.equal((await sendHttp1(url, { ...json, headers: withKey })).status, 200);
  assert.equal((await sendHttp1(url, { ...json, headers: foreign })).status, 401);
});
