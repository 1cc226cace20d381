import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { runPython } from "../support/python.ts";

export const ACCOUNT = "1234567890123456";
/** Of a server that is started without others. */
export const SERVER_ACCOUNT = "000000000000";

/** JSON of which a test says by itself what it should be. */
export interface Told {
  readonly [name: string]: Told | undefined;
}

export interface OssRequest {
  readonly method: string;
  /** Undefined: the request is about none. */
  readonly bucket?: string;
  /** Such as "putVectors". */
  readonly query?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON unless it is text. */
  readonly body?: unknown;
}

export interface OssAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** Undefined when it is no JSON. */
  readonly body: Told | undefined;
}

/** Sends one request, unsigned, in the name of the bucket's host. */
export async function sendOss(
  url: string,
  { method, bucket, query, path = "/", headers, body }: OssRequest,
): Promise<OssAnswer> {
  const { port } = new URL(url);
  const host = `${bucket === undefined ? "" : `${bucket}-${ACCOUNT}.`}localhost:${port}`;
  const target = `${path}${query === undefined ? "" : `?${query}`}`;
  return new Promise((resolve, reject) => {
    const sent = request(
      { port, host: "127.0.0.1", method, path: target, headers: { host, "x-oss-test": "1", ...headers } },
      async (response) => {
        const text = Buffer.concat(await response.toArray()).toString();
        resolve(answerOf(response.statusCode ?? 0, response.headers as Record<string, string>, text));
      },
    );
    sent.on("error", reject);
    sent.end(body === undefined || typeof body === "string" ? (body ?? "") : JSON.stringify(body));
  });
}

/** Sends bytes as they are over a connection of its own, and reads one answer. */
export async function sendRaw(url: string, head: readonly string[], body: string): Promise<OssAnswer> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  let bytes = Buffer.alloc(0);
  try {
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk]);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0) continue;
      const [first = "", ...lines] = bytes.subarray(0, end).toString().split("\r\n");
      const headers = Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
      );
      const rest = bytes.subarray(end + 4);
      if (head[0]?.startsWith("HEAD ") || rest.length >= Number(headers["content-length"] ?? 0)) {
        return answerOf(Number(first.split(" ")[1]), headers, rest.toString());
      }
    }
  } finally {
    socket.destroy();
  }
  throw new Error("The connection ended before an answer had come");
}

function answerOf(status: number, headers: Readonly<Record<string, string>>, text: string): OssAnswer {
  const isJson = text !== "" && headers["content-type"] === "application/json";
  return { status, headers, text, body: isJson ? JSON.parse(text) : undefined };
}

/** That it is an error in the form of OSS, with this code; the message. */
export function assertOssError(answer: OssAnswer, status: number, code: string): string {
  const error = answer.body?.Error;
  assert.deepEqual([answer.status, error?.Code], [status, code], answer.text);
  assert.deepEqual(Object.keys(error ?? {}), ["Code", "Message", "RequestId", "HostId", "EC"]);
  assert.equal(answer.headers["x-oss-request-id"], error?.RequestId);
  assert.equal(answer.headers["content-type"], "application/json");
  return `${error?.Message}`;
}

export interface SigningKey {
  readonly accessKeyId: string;
  readonly secret: string;
  readonly apiKey: string;
}

/** Arguments for a server whose access keys can sign. */
export function withSecretsKey(): string[] {
  const file = join(temporaryDirectory(), "secrets-key");
  writeFileSync(file, randomBytes(32).toString("base64"));
  return ["--secrets-key-file", file];
}

/** An answer of the native API, in JSON. */
export async function callNative(url: string, method: string, body: unknown, apiKey?: string): Promise<Told> {
  const answer = await fetch(`${url}/quiver.v1.${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(apiKey && { authorization: `Bearer ${apiKey}` }) },
    body: JSON.stringify(body),
  });
  const parsed = (await answer.json()) as Told;
  assert.equal(answer.status, 200, JSON.stringify(parsed));
  return parsed;
}

/** The first key must be an administrator's; the others are made by it. */
export async function createSigningKey(
  url: string,
  { by, role = "ACCESS_ROLE_ADMIN", ...rest }: { by?: SigningKey; role?: string; allowSigning?: boolean } = {},
): Promise<SigningKey> {
  const request = { role, allowSigning: true, ...rest };
  const made = await callNative(url, "AdminService/CreateAccessKey", request, by?.apiKey);
  return {
    accessKeyId: `${made.accessKey?.accessKeyId}`,
    secret: `${made.secretAccessKey}`,
    apiKey: `${made.apiKey}`,
  };
}

export type ClientCall = readonly [operation: string, args?: Readonly<Record<string, unknown>>];

export interface ClientSetup extends Partial<Pick<SigningKey, "accessKeyId" | "secret">> {
  /** How the client reaches the server. */
  readonly via?: "proxy" | "resolver";
  /** The endpoint's name. Default: localhost. */
  readonly host?: string;
  readonly retries?: number;
  readonly additionalHeaders?: readonly string[];
}

/** What calls of the official client came to, in their order. */
export async function callClient(url: string, setup: ClientSetup, calls: readonly ClientCall[]): Promise<Told[]> {
  const all = { url, via: "resolver", accessKeyId: "AKID", secret: "SECRET", ...setup };
  const program = { ...all, calls: calls.map(([operation, args = {}]) => [operation, args]) };
  const outcomes = (await runPython("oss.py", [JSON.stringify(program)])) as Told[];
  assert.equal(outcomes.length, calls.length);
  return outcomes;
}
