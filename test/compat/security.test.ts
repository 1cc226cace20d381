import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { VectorService } from "../../gen/pinecone/vector_service_pb.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { startCompatServer } from "./support/compat-server.ts";

test("no name in a path or header makes a long line in the audit log", async (t) => {
  const path = join(temporaryDirectory(), "audit.log");
  const url = await startCompatServer(t, ["--audit-log", path]);
  const long = "n".repeat(8_000);
  const requests = [
    ["GET", `/pinecone/i/${long}/namespaces`],
    ["DELETE", `/moorcheh/namespaces/${long}`],
    ["DELETE", `/moorcheh/v1/namespaces/${long}`],
    ["GET", `/tags/${long}`],
  ] as const;
  for (const [method, target] of requests) {
    const answer = await fetch(url + target, { method });
    assert.ok(answer.status >= 400 && answer.status < 500, await answer.text());
  }
  const pinecone = createClient(VectorService, createGrpcTransport({ baseUrl: url }));
  await assert.rejects(pinecone.fetch({ ids: ["a"] }, { headers: { "service-name": long } }));
  const lines = () => readFileSync(path, "utf8").split("\n").slice(0, -1);
  await until(() => lines().length === requests.length + 1);
  for (const line of lines()) {
    assert.match(line, /"on":"[a-z/]*n{100}/);
    assert.ok(line.length < 1_000, line);
  }
});
