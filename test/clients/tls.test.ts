import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { Quiver } from "@quiver/client";
import { generate } from "selfsigned";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("with a certificate the port speaks TLS, over HTTP/2 and HTTP/1.1", async (t) => {
  const directory = temporaryDirectory();
  const extensions = [{ name: "subjectAltName" as const, altNames: [{ type: 7 as const, ip: "127.0.0.1" }] }];
  const pems = await generate([{ name: "commonName", value: "127.0.0.1" }], { extensions });
  writeFileSync(join(directory, "cert.pem"), pems.cert);
  writeFileSync(join(directory, "key.pem"), pems.private);
  const files = ["--tls-cert", join(directory, "cert.pem"), "--tls-key", join(directory, "key.pem")];
  const { url } = await startServer(t, files);
  assert.match(url, /^https:/);
  const nodeOptions = { ca: pems.cert };
  for (const [name, transport] of Object.entries({
    grpc: createGrpcTransport({ baseUrl: url, nodeOptions }),
    http1: createConnectTransport({ baseUrl: url, httpVersion: "1.1", nodeOptions }),
  })) {
    await new Quiver({ transport }).bucket(name).create();
  }
  await assert.rejects(fetch(url.replace("https:", "http:")));
});

test("a certificate that cannot be read is told in one line", async () => {
  const directory = temporaryDirectory();
  const missing = ["--tls-cert", join(directory, "cert.pem"), "--tls-key", join(directory, "key.pem")];
  await assert.rejects(ServerProcess.start(directory, missing), /quiver: Cannot read --tls-cert ".*cert\.pem"/);
});
