import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex } from "../support/resources.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("data, backups and the audit log are for the user of the server only", async (t) => {
  const directory = temporaryDirectory();
  // The server has what this process has, and must not rely on it.
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const options = ["--backups", join(directory, "backups"), "--audit-log", join(directory, "audit.log")];
  const server = await ServerProcess.start(join(directory, "data"), options);
  t.after(() => server.kill());
  const clients = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
  await createIndex(clients, "b", "i", { dimension: 2 });
  const vectors = [{ key: "k", data: { float32: [1, 2] } }];
  await clients.vectors.putVectors({ vectorBucketName: "b", indexName: "i", vectors });
  await clients.admin.createBackup({});
  assert.equal(await server.stop(), 0);

  const paths = readdirSync(directory, { recursive: true, encoding: "utf8" });
  for (const part of ["data/CURRENT", "audit.log"]) assert.ok(paths.includes(part), part);
  assert.ok(paths.some((path) => /^backups\/.*CURRENT/.test(path)));
  const open = paths.filter((path) => (statSync(join(directory, path)).mode & 0o077) !== 0);
  assert.deepEqual(open, []);
});

/** A user whom every machine has, and who owns nothing. */
const NOBODY = 65_534;

test("data of another user are refused to root, and those that it may not use to the server, with one sentence", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("only root can give files to other users");
  const directory = temporaryDirectory();
  const data = join(directory, "data");
  const main = resolve(import.meta.dirname, "../../src/main.ts");
  const run = (args: readonly string[], uid: number) =>
    new Promise<{ code: number; err: string }>((done) => {
      execFile(process.execPath, [main, ...args], { uid, cwd: "/" }, (error, _, err) =>
        done({ code: Number(error?.code ?? 0), err }),
      );
    });
  const assertRefused = async (args: readonly string[], { uid, sentence }: { uid: number; sentence: RegExp }) => {
    const { code, err } = await run(args, uid);
    assert.equal(code, 2, `${args}: ${err}`);
    assert.match(err, sentence, `${args}`);
    assert.equal(err.trimEnd().split("\n").length, 1, err);
  };
  const commands = [
    ["--port", "0", "--data", data, "--audit-log", join(directory, "audit.log")],
    ["verify", "--data", data],
    ["keys", "list", "--data", data],
    ["keys", "create", "--role", "admin", "--data", data],
  ];
  assert.equal((await run(["keys", "create", "--role", "admin", "--data", data], 0)).code, 0);
  // Whoever runs the tests may have the folders of temporary directories for himself.
  chmodSync(directory, 0o755);
  const all = readdirSync(data, { recursive: true, encoding: "utf8" }).map((name) => join(data, name));
  for (const path of [data, ...all]) chownSync(path, NOBODY, NOBODY);
  const another = /^quiver: The data directory ".*" belongs to "\S+": run this as that user, .* runuser -u \S+ -- /;
  await Promise.all(commands.map((args) => assertRefused(args, { uid: 0, sentence: another })));
  const empty = join(directory, "empty");
  mkdirSync(empty);
  chownSync(empty, NOBODY, NOBODY);
  await assertRefused(["restore", directory, "--data", empty], { uid: 0, sentence: another });
  assert.equal((await run(["verify", "--data", data], NOBODY)).code, 0);

  for (const path of ["ACKNOWLEDGED", "."]) {
    chownSync(join(data, path), 0, 0);
    const sentence = /^quiver: Cannot use the data directory ".*EACCES/;
    await Promise.all(commands.map((args) => assertRefused(args, { uid: NOBODY, sentence })));
    chownSync(join(data, path), NOBODY, NOBODY);
  }
  assert.equal(existsSync(join(directory, "audit.log")), false);
});
