import assert from "node:assert/strict";
import { test } from "node:test";
import { generate } from "selfsigned";
import { openPort } from "../../src/http/port.ts";
import { createRoutes } from "../../src/http/routes.ts";
import { openLog } from "../../src/log.ts";
import { sendHttp1, sendHttp2, sendTcp } from "../support/rpc-harness.ts";
import { startServer } from "../support/server.ts";

const LONG = "x".repeat(9_000);

/** The first line of an HTTP/1.1 request, and the status that answers it. */
const FIRST_LINES: readonly (readonly [string, number])[] = [
  ["GET //livez HTTP/1.1", 404],
  ["GET /../livez HTTP/1.1", 404],
  ["GET /./livez HTTP/1.1", 404],
  ["GET /%2e%2e/livez HTTP/1.1", 404],
  ["GET /livez%00 HTTP/1.1", 404],
  ["GET /livez/ HTTP/1.1", 404],
  ["GET /livez;x HTTP/1.1", 404],
  ["GET /LIVEZ HTTP/1.1", 404],
  ["GET http://localhost/livez HTTP/1.1", 404],
  ["GET http://[::1/ HTTP/1.1", 404],
  ["OPTIONS * HTTP/1.1", 404],
  ["GET * HTTP/1.1", 404],
  [`GET /${LONG} HTTP/1.1`, 404],
  ["POST //quiver.v1.BucketService/ListVectorBuckets HTTP/1.1", 404],
  ["POST /x/../quiver.v1.BucketService/ListVectorBuckets HTTP/1.1", 404],
  ["POST /quiver%2ev1.BucketService/ListVectorBuckets HTTP/1.1", 404],
  ["POST http://localhost/quiver.v1.BucketService/ListVectorBuckets HTTP/1.1", 404],
  ["GET /quiver.v1.BucketService/ListVectorBuckets?encoding=json&message=%ff HTTP/1.1", 400],
  ["GET /quiver.v1.BucketService/ListVectorBuckets?%E0%A4%A HTTP/1.1", 415],
  ["TRACE /livez HTTP/1.1", 405],
  ["POST /livez HTTP/1.1", 405],
  ["CONNECT localhost:80 HTTP/1.1", 405],
  ["CONNECT /livez HTTP/1.1", 405],
  ["GET /li\0vez HTTP/1.1", 400],
  ["GET \\livez HTTP/1.1", 400],
  ["GET  HTTP/1.1", 400],
  ["GET /livez HTTP/9.9", 400],
  ["BREW /livez HTTP/1.1", 400],
  [`GET /${LONG}${LONG} HTTP/1.1`, 431],
];

test("odd paths, targets and methods are answered with a clear 4xx", async (t) => {
  const { url } = await startServer(t);
  for (const [line, expected] of FIRST_LINES) {
    const answer = await sendTcp(Number(new URL(url).port), `${line}\r\nhost: localhost\r\nconnection: close\r\n\r\n`);
    const [status, ...rest] = `${answer}`.split("\r\n");
    assert.match(status ?? "", new RegExp(`^HTTP/1.1 ${expected} `), JSON.stringify(line.slice(0, 80)));
    assert.ok(rest.length < 40 && answer.length < 2_000, line.slice(0, 80));
  }
  for (const path of ["//livez", "/../livez", "/%2e%2e/livez", "/livez%00", "*", `/${LONG}`]) {
    const { status, body } = await sendHttp2(url, { path, method: path === "*" ? "OPTIONS" : "GET" });
    assert.equal(status, 404, path.slice(0, 80));
    assert.equal(JSON.parse(`${body}`).code, "not_found");
  }
  for (const path of ["/li\u0001vez", "livez", "http://localhost/livez", ""]) {
    await assert.rejects(sendHttp2(url, { path, method: "GET" }), /NGHTTP2_PROTOCOL_ERROR/, JSON.stringify(path));
  }
  assert.equal((await sendHttp2(url, { path: "/livez", method: "GET" })).status, 200);
});

test("plain paths tell browsers to run, frame and keep nothing, and over TLS to stay with it", async (t) => {
  const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }], { keyType: "ec" });
  const log = openLog({ level: "silent" });
  const open = async (securesBrowsers: boolean) => {
    const readiness = { ready: true, storage: "healthy", problems: [], indexes: {} };
    const handler = createRoutes({ name: "Quiver", version: "1.2.3", securesBrowsers, readiness: () => readiness });
    const port = await openPort({ host: "127.0.0.1", port: 0, tls: { cert, key }, handler, log });
    t.after(() => port.drain(0));
    return port.url;
  };
  for (const securesBrowsers of [true, false]) {
    const url = await open(securesBrowsers);
    for (const path of ["/", "/livez", "/readyz", "/nowhere"]) {
      const { headers } = await sendHttp2(url, { path, method: "GET" });
      assert.match(headers["content-security-policy"] as string, /default-src 'none'/);
      assert.equal(headers["x-frame-options"], "DENY");
      assert.equal(headers["referrer-policy"], "no-referrer");
      assert.equal(headers["x-content-type-options"], "nosniff");
      assert.equal(headers["cache-control"], "no-store");
      assert.equal(headers["strict-transport-security"], securesBrowsers ? "max-age=31536000" : undefined);
    }
  }
  const plain = await startServer(t);
  const { headers } = await sendHttp1(plain.url, { path: "/", method: "GET" });
  assert.equal(headers["strict-transport-security"], undefined);
  assert.equal(headers["x-frame-options"], "DENY");
});
