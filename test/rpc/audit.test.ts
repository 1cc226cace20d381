import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

test("the audit log says who did what on what, how it ended, and nothing that is stored", async (t) => {
  const path = join(temporaryDirectory(), "audit.log");
  const server = await ServerProcess.start(temporaryDirectory(), ["--audit-log", path]);
  t.after(() => server.kill());
  const clients = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
  await createIndex(clients, "b", "i", { dimension: 2 });
  const { accessKey, apiKey } = await clients.admin.createAccessKey({ role: AccessRole.ADMIN });
  const headers = { authorization: `Bearer ${apiKey}` };
  const place = { vectorBucketName: "b", indexName: "i", namespace: "" };
  const vectors = [{ key: "secret-key", data: { float32: [0.125, 2] }, metadata: { secret: "secret-value" } }];
  await clients.vectors.putVectors({ ...place, vectors }, { headers });
  for await (const _ of clients.vectors.exportVectors(place, { headers }));
  await failureOf(clients.vectors.getVectors({ ...place, keys: ["k"] }), Code.Unauthenticated, "CREDENTIALS_MISSING");
  const wrong = { headers: { "api-key": `${apiKey}x` } };
  await failureOf(clients.indexes.deleteIndex(place, wrong), Code.Unauthenticated, "CREDENTIALS_INVALID");
  const none = { vectorBucketName: "none" };
  await failureOf(clients.buckets.getVectorBucket(none, { headers }), Code.NotFound, "BUCKET_NOT_FOUND");
  assert.equal(await server.stop(), 0);

  const text = readFileSync(path, "utf8");
  const lines = text.trimEnd().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as Record<string, string>);
  const key = accessKey?.accessKeyId;
  const seen = entries.map(({ key, method, on, code, reason }) => [key, method?.split("/")[1], on, code, reason]);
  assert.deepEqual(seen, [
    ["open", "CreateVectorBucket", "b", "OK", undefined],
    ["open", "CreateIndex", "b/i", "OK", undefined],
    ["open", "CreateAccessKey", "-", "OK", undefined],
    [key, "PutVectors", "b/i", "OK", undefined],
    [key, "ExportVectors", "b/i", "OK", undefined],
    ["", "GetVectors", "-", "UNAUTHENTICATED", "CREDENTIALS_MISSING"],
    ["", "DeleteIndex", "-", "UNAUTHENTICATED", "CREDENTIALS_INVALID"],
    [key, "GetVectorBucket", "none", "NOT_FOUND", "BUCKET_NOT_FOUND"],
  ]);
  const guide = readFileSync(resolve(import.meta.dirname, "../../docs/guides/access.md"), "utf8");
  const fields = [...(guide.split("## Audit log")[1] ?? "").matchAll(/^\| `(\w+)` \|/gm)].map(([, field]) => field);
  assert.deepEqual(new Set(fields), new Set(entries.flatMap((entry) => Object.keys(entry))));
  for (const { level, address, requestId, time } of entries) {
    assert.deepEqual([level, address], ["info", "127.0.0.1"]);
    assert.ok(requestId !== undefined && !Number.isNaN(Date.parse(`${time}`)));
  }
  const secret = apiKey.slice(-20);
  for (const word of [secret, "secret-key", "secret-value", "0.125"]) assert.ok(!text.includes(word), word);
  assert.ok(!server.complaints.includes(secret));
});

test("a server whose audit log cannot be written does not start", async () => {
  const path = join(temporaryDirectory(), "none", "audit.log");
  const starting = ServerProcess.start(temporaryDirectory(), ["--audit-log", path]);
  await assert.rejects(starting, /ended with 2: quiver: Cannot write the audit log ".*--audit-log/);
});
