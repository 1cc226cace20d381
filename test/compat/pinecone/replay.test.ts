import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { startCompatServer } from "../support/compat-server.ts";

/** What a client sent, in the order that it sent it. */
interface Recording {
  readonly client: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly requests: readonly [
    label: string,
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ][];
}

/** What is refused, by label, and with which words. */
const REFUSED = new Map<string, readonly [number, RegExp]>([
  ["createIndexForModel", [400, /create_index_for_model is not offered/]],
  ["createBackup", [400, /not offered/]],
  ["listBackups", [400, /not offered/]],
  ["describeBackup", [400, /not offered/]],
  ["createIndexFromBackup", [400, /not offered/]],
  ["listRestoreJobs", [400, /not offered/]],
  ["describeRestoreJob", [400, /not offered/]],
  ["deleteBackup", [400, /not offered/]],
  ["createCollection", [400, /not offered/]],
  ["listCollections", [400, /not offered/]],
  ["describeCollection", [400, /not offered/]],
  ["deleteCollection", [400, /not offered/]],
  ["startImport", [400, /not offered/]],
  ["listImports", [400, /not offered/]],
  ["describeImport", [400, /not offered/]],
  ["cancelImport", [400, /not offered/]],
  ["upsertRecords (NDJSON)", [400, /upsert_records is not offered/]],
  ["searchRecords", [400, /not offered/]],
  ["searchRecords by vector", [400, /not offered/]],
  // Made up, as tokens and numbers of others must be refused.
  ["upsert NaN (client side?)", [400, /vectors\[0\]\.values\[0\]: Must be a number, got null/]],
  ["upsert Float32Array?", [400, /Vector dimension 1 does not match the dimension of the index 3/]],
  ["fetchByMetadata", [400, /token/]],
  ["listPaginated", [400, /token/]],
  ["listNamespaces", [400, /token/]],
  ["describeIndexStats filter", [400, /do not support describing index stats with metadata filtering/]],
  ["describeNamespace", [400, /namespace/]],
  ["ERR 403 quota", [403, /Deletion protection is enabled for this index/]],
  ["ERR 404", [404, /NOT_FOUND/]],
  ["ERR 409", [409, /ALREADY_EXISTS/]],
  ["deleteIndex", [403, /Deletion protection is enabled for this index/]],
]);

const CREATED = /^createIndex (?!waitUntilReady$)|^createIndex waitUntilReady$/;

for (const client of ["6.1.4", "8.2.0"]) {
  test(`the requests that client ${client} was seen to send are answered`, async (t) => {
    const url = await startCompatServer(t);
    const { headers, requests } = readRecording(client);
    for (const [label, method, path, own, body] of requests) {
      const isControl = /^\/(indexes|backups|restore-jobs|collections)/.test(path);
      // The recorded host had no path: these were meant for the index with dot products.
      const place = isControl ? "/pinecone" : "/pinecone/i/idx2";
      const answer = await send(url, [method, `${place}${path}`, { ...headers, ...own }, body]);
      const [status, pattern] = REFUSED.get(label) ?? [statusOf(label, method), /^/];
      assert.equal(answer.status, status, `${label}: ${answer.body}`);
      assert.match(answer.body, pattern, label);
      if (status >= 400) {
        const { code, message, error } = JSON.parse(answer.body);
        const told = isControl ? error : { code, message };
        assert.equal(typeof told.message, "string", label);
        assert.equal(typeof told.code, isControl ? "string" : "number", label);
      }
    }
  });
}

function statusOf(label: string, method: string): number {
  if (method === "POST" && CREATED.test(label)) return 201;
  return label === "configureIndex" ? 202 : 200;
}

function readRecording(client: string): Recording {
  return JSON.parse(readFileSync(join(import.meta.dirname, `fixtures/pinecone-js-${client}.json`), "utf8"));
}

/** Over a connection of its own, with the headers in the order in which they were sent. */
async function send(
  url: string,
  [method, path, headers, body]: [string, string, Readonly<Record<string, string>>, string],
): Promise<{ status: number; body: string }> {
  const { host, hostname, port } = new URL(url);
  const length = body === "" ? [] : [`content-length: ${Buffer.byteLength(body)}`];
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `host: ${host}`,
    "connection: close",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...length,
  ];
  const socket = connect(Number(port), hostname);
  socket.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  const answer = Buffer.concat(chunks).toString();
  const end = answer.indexOf("\r\n\r\n");
  return { status: Number(answer.split(" ")[1]), body: answer.slice(end + 4) };
}
