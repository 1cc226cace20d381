import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
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
