import { createServer } from "node:http";
import type { Http2Session } from "node:http2";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { type TLSSocket, Server as TlsServer } from "node:tls";
import type { Log } from "../log.ts";
import type { HttpResponse } from "../node-http.ts";
import { createHandshakeLog } from "./handshake-log.ts";
import { DEFAULT_PORT_LIMITS, type PortLimits } from "./limits.ts";
import { peekPreface } from "./preface.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { watchStalledAnswers } from "./stalled-answers.ts";
import { secureContextOptions, type TlsMaterial } from "./tls-files.ts";
import type { HttpHandler, TurnAway } from "./types.ts";

export interface PortOptions {
  /** Address to bind: a name or an IP address. */
  host: string;
  /** Port to bind; 0 takes a free one. */
  port: number;
  /** With it, every connection is TLS, of version 1.2 at least, and ALPN chooses h2 or http/1.1. */
  tls?: TlsMaterial | undefined;
  limits?: Partial<PortLimits>;
  handler: HttpHandler;
  /** Asked before `handler`. What it throws must not be: nobody handles it. */
  turnAway?: TurnAway | undefined;
  log: Log;
}

/** An open port. */
export interface Port {
  /** `http://127.0.0.1:8080` or `https://...`, with the port that was bound. */
  readonly url: string;
  readonly port: number;
  /** Gives new connections another certificate, key and CA; those that are open go on. The port must have opened with TLS. */
  replaceTls(material: TlsMaterial): void;
  /** A call of this connection was let in: until then an HTTP/2 client may send little at once, and is cut when it is silent. */
  letIn(connection: Http2Session): void;
  /**
   * Tells HTTP/2 clients to go away, a moment later stops accepting and closes idle connections, and waits for the calls
   * in flight, to which those belong that were on their way. What is still open after `timeoutMs` (at most 15,000) is cut. Never rejects; a second call joins the first.
   */
  drain(timeoutMs: number): Promise<void>;
}

const DRAIN_MAX_MS = 15_000;
const DRAIN_POLL_MS = 50;
/** For what clients sent before they could know: to close an idle connection at once would reset calls that are underway. */
const ANNOUNCED_MS = 100;
const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;
const TCP_KEEP_ALIVE_MS = 60_000;

/**
 * Opens one TCP port for HTTP/1.1 and HTTP/2. Without TLS, the first bytes of a connection tell the versions apart.
 * Rejects when the address cannot be bound.
 */
export async function openPort(options: PortOptions): Promise<Port> {
  const { log } = options;
  const limits: PortLimits = { ...DEFAULT_PORT_LIMITS, ...options.limits };
  let draining = false;

  const stalled = watchStalledAnswers(limits, log);
  const handler: HttpHandler = (request, response) => {
    stalled.watch(response);
    // A connection that breaks fails its request, and without a listener the process: a body's reader may be gone by then.
    request.on("error", () => {});
    if (draining && request.httpVersionMajor === 1) response.setHeader("connection", "close");
    try {
      options.handler(request, response);
    } catch (error) {
      log.error({ err: error, path: request.url }, "Request handler failed");
      failResponse(response);
    }
  };

  // The HTTP/1.1 server owns the port: its header and request timeouts, and closing its idle connections, work only
  // when it listens itself. HTTP/2 gets single connections handed over.
  const server = createOwner(options, limits, handler);
  const sessions = createSessions({ limits, handler, turnAway: options.turnAway, log });
  const undecided = new Set<Socket>();
  routeConnections(server, sessions, undecided, limits);
  server.maxConnections = limits.maxConnections;
  server.on("drop", () => log.warn({ max: limits.maxConnections }, "Connection refused: too many are open"));

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // A client whose connection finds no room here tries again after a second, and then after ever longer times.
    const backlog = limits.maxConnections;
    server.listen({ host: options.host, port: options.port, backlog }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => log.error({ err: error }, "Port failed"));
  const { port } = server.address() as AddressInfo;

  const drain = (timeoutMs: number) =>
    new Promise<void>((resolve) => {
      draining = true;
      const finish = () => {
        clearInterval(poll);
        stalled.close();
        clearTimeout(timer);
        sessions.destroy();
        resolve();
      };
      let poll: NodeJS.Timeout | undefined;
      const stopAccepting = () => {
        server.close(finish);
        for (const socket of undecided) socket.destroy();
        sessions.close();
        server.closeIdleConnections();
        // A kept-alive HTTP/1.1 connection becomes idle when its call ends, and only then can be closed.
        poll = setInterval(() => server.closeIdleConnections(), DRAIN_POLL_MS);
      };
      const timer = setTimeout(
        () => {
          log.warn({ timeoutMs }, "Calls still in flight are cut: the time to drain is over");
          sessions.destroy();
          server.closeAllConnections();
        },
        Math.min(timeoutMs, DRAIN_MAX_MS),
      );
      sessions.announceClose();
      // After the timer, what has come meanwhile is read before anything is closed.
      setTimeout(() => setImmediate(stopAccepting), ANNOUNCED_MS);
    });
  let drained: Promise<void> | undefined;

  return {
    url: `${options.tls ? "https" : "http"}://${options.host.includes(":") ? `[${options.host}]` : options.host}:${port}`,
    port,
    letIn: sessions.letIn,
    replaceTls(material) {
      if (server instanceof TlsServer) server.setSecureContext(secureContextOptions(material));
    },
    drain(timeoutMs) {
      drained ??= drain(timeoutMs);
      return drained;
    },
  };
}

type Owner = ReturnType<typeof createServer>;

function createOwner(options: PortOptions, limits: PortLimits, handler: HttpHandler): Owner {
  const http = {
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    connectionsCheckingInterval: Math.max(100, Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs) / 10),
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    noDelay: true,
  };
  const server =
    options.tls === undefined ? createServer(http, handler) : createTlsServer(tlsOptions(options.tls, http), handler);
  if (options.tls !== undefined) server.on("tlsClientError", createHandshakeLog(options.log));
  server.maxHeadersCount = limits.maxHeaders;
  // Node closes the connection without an answer otherwise.
  server.on("connect", (_, socket) => socket.end(NO_PROXY));
  return server;
}

const NO_PROXY = "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

function tlsOptions<Http>(material: TlsMaterial, http: Http) {
  return {
    ...http,
    ...secureContextOptions(material),
    requestCert: material.clientCa !== undefined,
    rejectUnauthorized: true,
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS,
  };
}

/** Puts a switch before the listener with which the HTTP/1.1 server takes connections. */
function routeConnections(server: Owner, sessions: Sessions, undecided: Set<Socket>, limits: PortLimits): void {
  const event = "setSecureContext" in server ? "secureConnection" : "connection";
  const takeHttp1 = server.listeners(event).map((listener) => listener as (socket: Socket) => void);
  server.removeAllListeners(event);
  const accept = (socket: Socket, version: 1 | 2) => {
    if (version === 2) sessions.accept(socket);
    else for (const take of takeHttp1) take.call(server, socket);
  };

  if (event === "secureConnection") {
    server.on(event, (socket: TLSSocket) => accept(socket, socket.alpnProtocol === "h2" ? 2 : 1));
    return;
  }
  server.on(event, (socket: Socket) => {
    undecided.add(socket);
    socket.once("close", () => undecided.delete(socket));
    peekPreface(socket, limits.headersTimeoutMs, (version) => {
      undecided.delete(socket);
      accept(socket, version);
    });
  });
}

function failResponse(response: HttpResponse): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.statusCode = 500;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ code: "internal", message: "The server failed to answer this request" }));
}
