import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { VectorService } from "../../gen/pinecone/vector_service_pb.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { createSigningKey, sendRaw, withSecretsKey } from "./oss/support.ts";
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

test("who has no key is refused before the body of a signed request has come", { timeout: 60_000 }, async (t) => {
  const url = await startCompatServer(t, withSecretsKey());
  const { accessKeyId } = await createSigningKey(url);
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const headOf = (id: string, headers: readonly string[]) => {
    const names = ["host", "x-amz-date", ...headers.map((header) => header.split(":")[0])].join(";");
    const scope = `${date.slice(0, 8)}/us-east-1/s3vectors/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${id}/${scope}, SignedHeaders=${names}, Signature=${"0".repeat(64)}`;
    return [
      "POST /PutVectors HTTP/1.1",
      "host: 127.0.0.1",
      `x-amz-date: ${date}`,
      ...headers,
      "content-length: 20000000",
      `authorization: ${authorization}`,
    ];
  };
  const hash = `x-amz-content-sha256: ${"a".repeat(64)}`;
  for (const head of [headOf("UNKNOWN", []), headOf("UNKNOWN", [hash]), headOf(accessKeyId, [hash])]) {
    assert.equal((await sendRaw(url, head, "{")).status, 403);
  }
});

test("the audit log names the key of whoever sends a body that is too long", async (t) => {
  const path = join(temporaryDirectory(), "audit.log");
  const url = await startCompatServer(t, ["--audit-log", path]);
  const { accessKeyId, apiKey } = await createSigningKey(url, { allowSigning: false });
  const body = "x".repeat(3 * 1024 * 1024);
  const answer = await fetch(`${url}/pinecone/i/a/query`, { method: "POST", headers: { "api-key": apiKey }, body });
  assert.equal(answer.status, 400, await answer.text());
  await until(() => readFileSync(path, "utf8").includes("pinecone/query"));
  const line = readFileSync(path, "utf8")
    .split("\n")
    .find((text) => text.includes("pinecone/query"));
  assert.equal(JSON.parse(line ?? "").key, accessKeyId);
});
