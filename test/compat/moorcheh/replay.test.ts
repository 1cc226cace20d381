import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sendTcp } from "../../support/rpc-harness.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { send } from "./http.ts";

interface Captured {
  readonly label: string;
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  /** What this server answers, in the order of the file. */
  readonly status: number;
}

const onPrem = JSON.parse(
  readFileSync(join(import.meta.dirname, "fixtures/on-prem.json"), "utf8"),
) as readonly Captured[];

test("what the on-prem client was seen to send is understood, byte for byte", async (t) => {
  const url = await startCompatServer(t);
  const { host, port } = new URL(url);
  for (const { label, method, url: path, headers, body, status } of onPrem) {
    const lines = headers.map(([name, value]) => `${name}: ${name === "Connection" ? "close" : value}\r\n`);
    const head = `${method} /moorcheh${path} HTTP/1.1\r\nHost: ${host}\r\n${lines.join("")}\r\n`;
    const answer = (await sendTcp(Number(port), head + body)).toString();
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), `${label}: ${answer}`);
    const json = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n"))) as Record<string, unknown>;
    const expected = status < 400 ? ["ok", "success", undefined] : [path === "/search" ? "error" : "failure"];
    assert.ok(expected.includes(json.status as string), `${label}: ${answer}`);
  }
});

const v1 = { id: "v1", vector: [0.1, 0.2, 0.3], metadata: { a: "b" } };
const answerBody = { namespace: "q", query: "docs", ai_model: "m", chat_history: [], type: "text", top_k: 5 };
const docs = "v1/namespaces/docs/documents";

/** What the cloud's client was seen to send, and what this server answers, in this order. */
const CLOUD: readonly (readonly [method: string, path: string, body: unknown, status: number])[] = [
  ["POST", "v1/namespaces", { namespace_name: "ns", type: "vector", vector_dimension: 3 }, 201],
  ["POST", "v1/namespaces", { namespace_name: "ns", type: "vector", vector_dimension: 3 }, 409],
  ["POST", "v1/namespaces", { namespace_name: "docs", type: "text", vector_dimension: null }, 400],
  ["GET", "v1/namespaces", undefined, 200],
  ["POST", "v1/namespaces/ns/vectors", { vectors: [v1, { id: 7, vector: [1, 2, 3], flat: "x" }] }, 201],
  ["POST", "v1/namespaces/ns/vectors", { vectors: [v1, { id: "v0", vector: [0, 0, 0] }] }, 207],
  ["POST", "v1/namespaces/ns/vectors", '{"vectors": [{"id": "v1", "vector": [NaN]}]}', 400],
  ["POST", "v1/namespaces/ns/vectors", { vectors: [{ id: "v1", vector: [1] }] }, 400],
  ["POST", "v1/namespaces/absent/vectors", { vectors: [v1] }, 404],
  ["POST", "v1/namespaces/ns/vectors/delete", { ids: ["v1", 7] }, 200],
  ["POST", docs, { documents: [{ id: "d1", text: "hello", a: "b" }] }, 400],
  ["POST", `${docs}/get`, { ids: ["d1"] }, 400],
  ["POST", `${docs}/delete`, { ids: ["d1"] }, 400],
  ["POST", "v1/search", { namespaces: ["ns"], query: [0.1, 0.2, 0.3], top_k: 3, kiosk_mode: false }, 200],
  ["POST", "v1/search", { namespaces: ["docs"], query: "hello #category:tech", kiosk_mode: true, threshold: 0.3 }, 400],
  ["POST", "v1/answer", answerBody, 400],
  ["DELETE", "v1/namespaces/ns", undefined, 200],
  ["DELETE", "v1/namespaces/ns", undefined, 404],
  ["GET", "v1/health", undefined, 404],
  ["GET", "v1", undefined, 404],
];

test("what the cloud's client was seen to send is answered with the statuses that it expects", async (t) => {
  const url = await startCompatServer(t);
  for (const [method, path, body, status] of CLOUD) {
    const answer = await send(url, method, path, body, { "x-api-key": "none" });
    assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    assert.ok(answer.headers.get("x-request-id"));
  }
});
