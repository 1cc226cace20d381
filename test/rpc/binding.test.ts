import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { before, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { createCa, createCertificate, type Pair, writePair } from "../support/certificates.ts";
import { sendHttp1, sendHttp2 } from "../support/rpc-harness.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const main = resolve(import.meta.dirname, "../../src/main.ts");
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

/** What a server prints once it serves, which it writes at once. */
async function greeting(t: TestContext, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [main, "--port", "0", ...args], { stdio: ["ignore", "pipe", "ignore"] });
  t.after(() => child.kill("SIGKILL"));
  const [printed] = await once(child.stdout, "data");
  return `${printed}`;
}

test("a server proposes the demo only where that gets in", async (t) => {
  const tls = writePair(temporaryDirectory(), pair);
  const open = await greeting(t, ["--data", temporaryDirectory()]);
  const [, url = ""] = / at (http:\/\/\S+)\n/.exec(open) ?? [];
  assert.ok(open.endsWith(`  next    npm run demo -- --url ${url}\n`), open);
  const withKey = temporaryDirectory();
  await promisify(execFile)(process.execPath, [main, "keys", "create", "--role", "admin", "--data", withKey]);
  for (const args of [
    ["--data", withKey],
    ["--data", temporaryDirectory(), ...tls],
    ["--data", temporaryDirectory(), ...BEYOND, "--insecure", "true"],
  ]) {
    assert.match(await greeting(t, args), /access {2}.*\n$/);
  }
});
