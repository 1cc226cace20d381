import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import { createCa, createCertificate, type Pair, writePair } from "../support/certificates.ts";
import { sendHttp1, sendHttp2 } from "../support/rpc-harness.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const BEYOND = ["--host", "0.0.0.0"];
const headers = { "content-type": "application/json" };

let pair: Pair;
before(async () => {
  pair = await createCertificate("server", await createCa("CA"));
});

test("a server listens beyond loopback once it has access keys and TLS, and then asks for a key", async (t) => {
  const directory = temporaryDirectory();
  const data = join(directory, "data");
  const tls = writePair(directory, pair);
  const refused = (args: string[], message: RegExp) => assert.rejects(ServerProcess.start(data, args), message);
  await refused(BEYOND, /ended with 2: .*neither access keys nor TLS/s);
  await refused([...BEYOND, ...tls], /ended with 2: .*there are no access keys/s);

  const local = await ServerProcess.start(data);
  t.after(() => local.kill());
  const created = await sendHttp1(local.url, {
    path: "/quiver.v1.AdminService/CreateAccessKey",
    headers,
    body: Buffer.from('{"role":"ACCESS_ROLE_ADMIN"}'),
  });
  const { apiKey } = JSON.parse(`${created.body}`);
  await local.stop();

  await refused(BEYOND, /ended with 2: .*without TLS/s);
  const open = await ServerProcess.start(data, [...BEYOND, ...tls]);
  t.after(() => open.kill());
  const list = (authorization?: string) =>
    sendHttp2(open.url.replace("0.0.0.0", "127.0.0.1"), {
      path: "/quiver.v1.BucketService/ListVectorBuckets",
      headers: { ...headers, ...(authorization !== undefined && { authorization }) },
      body: Buffer.from("{}"),
    });
  assert.equal((await list()).status, 401);
  assert.equal((await list(`Bearer ${apiKey}`)).status, 200);
});
