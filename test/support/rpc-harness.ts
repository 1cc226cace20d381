import { once } from "node:events";
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { type Http2Session, connect as http2Connect } from "node:http2";
import { connect as netConnect } from "node:net";
import type { TestContext } from "node:test";
import type { Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import type { PortLimits } from "../../src/http/limits.ts";
import { openPort, type Port, type PortOptions } from "../../src/http/port.ts";
import { createRoutes } from "../../src/http/routes.ts";
import { type Log, openLog } from "../../src/log.ts";
import type { RpcService } from "../../src/rpc/define-service.ts";
import { createRpcHandler, type RpcHandlerOptions } from "../../src/rpc/handler.ts";
import { EVERYBODY } from "./everybody.ts";

const DRAIN_MS = 2_000;

/** One way to call the server: a protocol, an HTTP version and a format. */
export interface Dialect {
  readonly name: string;
  readonly protocol: "connect" | "grpc" | "grpc-web";
  readonly httpVersion: "1.1" | "2";
  readonly json: boolean;
}

/** Every way that a client may call: gRPC needs HTTP/2, the others take both versions. */
export const DIALECTS: readonly Dialect[] = (["connect", "grpc", "grpc-web"] as const).flatMap((protocol) =>
  (["1.1", "2"] as const)
    .filter((httpVersion) => protocol !== "grpc" || httpVersion === "2")
    .flatMap((httpVersion) =>
      [false, true].map((json) => ({
        name: `${protocol} over HTTP/${httpVersion} in ${json ? "JSON" : "binary"}`,
        protocol,
        httpVersion,
        json,
      })),
    ),
);

export interface RpcHarnessOptions {
  services: readonly RpcService[];
  rpc?: Partial<Omit<RpcHandlerOptions, "services" | "log">>;
  limits?: Partial<PortLimits>;
  tls?: PortOptions["tls"];
}

export interface RpcHarness {
  readonly port: Port;
  readonly url: string;
  /** The lines of the log, parsed. */
  readonly logLines: Record<string, unknown>[];
  transport(dialect: Dialect): Transport;
}

/**
 * Serves `services` on a free port until the test ends. Fails the test when connections are still open after a drain:
 * then a call hangs or a client was not closed.
 */
export async function openRpcHarness(t: TestContext, options: RpcHarnessOptions): Promise<RpcHarness> {
  const logLines: Record<string, unknown>[] = [];
  const log: Log = openLog({ level: "debug", to: { write: (line) => logLines.push(JSON.parse(line)) } });
  const onLetIn = (connection: Http2Session) => port.letIn(connection);
  const rpc = createRpcHandler({ services: options.services, log, identify: () => EVERYBODY, onLetIn, ...options.rpc });
  const readiness = { ready: true, storage: "healthy", problems: [], indexes: {} };
  const routes = createRoutes({ name: "quiver", version: "0.0.0", readiness: () => readiness });
  const port = await openPort({
    host: "127.0.0.1",
    port: 0,
    log,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    handler: (request, response) => {
      if (!rpc(request, response)) routes(request, response);
    },
    turnAway: rpc.turnAway,
  });

  const sessions: Http2SessionManager[] = [];
  t.after(async () => {
    for (const session of sessions) session.abort();
    await port.drain(DRAIN_MS);
    const cut = logLines.some((line) => String(line.msg).startsWith("Calls still in flight are cut"));
    if (cut) throw new Error("Connections were still open after the drain");
  });

  return {
    port,
    url: port.url,
    logLines,
    transport({ protocol, httpVersion, json }) {
      const common = { baseUrl: port.url, useBinaryFormat: !json, nodeOptions: { rejectUnauthorized: false } };
      const sessionManager = new Http2SessionManager(port.url, {}, { rejectUnauthorized: false });
      if (httpVersion === "2") sessions.push(sessionManager);
      const version = httpVersion === "2" ? { httpVersion, sessionManager } : { httpVersion };
      switch (protocol) {
        case "connect":
          return createConnectTransport({ ...common, ...version });
        case "grpc-web":
          return createGrpcWebTransport({ ...common, ...version });
        case "grpc":
          return createGrpcTransport({ baseUrl: port.url, useBinaryFormat: !json, sessionManager });
      }
    },
  };
}

export interface RawResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface RawRequest {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; several chunks are sent one by one. */
  readonly body?: Uint8Array | readonly Uint8Array[];
  /** Keeps HTTP/1.1 connections; without it each request opens its own. */
  readonly agent?: Agent;
}

/** Sends bytes as they are over HTTP/1.1 and reads the whole answer. */
export async function sendHttp1(url: string, raw: RawRequest): Promise<RawResponse> {
  const request = httpRequest(new URL(raw.path, url), {
    method: raw.method ?? "POST",
    headers: headersOf(raw),
    agent: raw.agent ?? false,
  });
  const answered = once(request, "response");
  for (const chunk of chunksOf(raw)) request.write(chunk);
  request.end();
  const [response] = await answered;
  const body = await collect(response);
  return { status: response.statusCode, headers: response.headers, trailers: response.trailers, body };
}

/** Sends bytes as they are over HTTP/2 and reads the whole answer. */
export async function sendHttp2(url: string, raw: RawRequest): Promise<RawResponse> {
  // Node's client refuses answers while it holds more than 10 MB that it has not sent yet.
  const session = http2Connect(url, { rejectUnauthorized: false, maxSessionMemory: 100 });
  try {
    await once(session, "connect");
    const stream = session.request({ ...headersOf(raw), ":path": raw.path, ":method": raw.method ?? "POST" });
    let headers: Record<string, string> = {};
    let trailers: Record<string, string> = {};
    stream.on("response", (received) => {
      headers = received as Record<string, string>;
    });
    stream.on("trailers", (received) => {
      trailers = received as Record<string, string>;
    });
    for (const chunk of chunksOf(raw)) stream.write(chunk);
    stream.end();
    const body = await collect(stream);
    return { status: Number(headers[":status"]), headers, trailers, body };
  } finally {
    session.destroy();
  }
}

/** Writes bytes to a fresh TCP connection and reads until the server closes it. */
export async function sendTcp(port: number, bytes: string | Uint8Array): Promise<Buffer> {
  const socket = netConnect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(bytes);
  return collect(socket);
}

/** Puts a message into the envelope that gRPC, gRPC-Web and Connect's streams use. */
export function envelope(message: Uint8Array, flags = 0): Buffer {
  const header = Buffer.alloc(5);
  header[0] = flags;
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/** A body in one piece is announced with its length. */
function headersOf({ body, headers }: RawRequest): Record<string, string> {
  return body instanceof Uint8Array ? { "content-length": String(body.length), ...headers } : { ...headers };
}

function chunksOf({ body }: RawRequest): readonly Uint8Array[] {
  if (body === undefined) return [];
  return body instanceof Uint8Array ? [body] : body;
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
