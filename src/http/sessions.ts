import {
  constants,
  createServer,
  type Http2Session,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Log } from "../log.ts";
import type { HttpRequest } from "../node-http.ts";
import { AddressPace } from "./address-pace.ts";
import type { PortLimits } from "./limits.ts";
import type { HttpHandler, TurnAway } from "./types.ts";

/** The HTTP/2 connections of one port. */
export interface Sessions {
  /** Takes over a connection that speaks HTTP/2. */
  accept(socket: Socket): void;
  /** A call of this connection was let in: it may send as much at once as the limits say, and be silent for long. */
  letIn(session: Http2Session): void;
  /** Tells every client to begin no more calls; those that it has begun meanwhile are still served. */
  announceClose(): void;
  /** Sends GOAWAY on every connection and closes each when its last call has finished. */
  close(): void;
  /** Ends every connection now. */
  destroy(): void;
}

export interface SessionsOptions {
  limits: PortLimits;
  handler: HttpHandler;
  turnAway?: TurnAway | undefined;
  log: Log;
}

/** How long a client may take to close its end of a connection that the server has closed. */
const HALF_CLOSED_MS = 5_000;

/** A GOAWAY that names it refuses no call yet. */
const STREAM_ID_MAX = 2 ** 31 - 1;

/** How often overdue request bodies are looked for, as a share of the request timeout. */
const SWEEPS_PER_TIMEOUT = 10;

/** Serves HTTP/2 on connections that another server has accepted. */
export function createSessions({ limits, handler, turnAway, log }: SessionsOptions): Sessions {
  const open = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  const receiving = new Map<HttpRequest, number>();
  /** Those of which a call was let in. */
  const letIn = new WeakSet<Http2Session>();
  /** How many streams of a session are being served. */
  const served = new Map<Http2Session, number>();

  const server = createServer({
    settings: {
      maxConcurrentStreams: limits.maxConcurrentStreams,
      initialWindowSize: limits.strangerWindowBytes,
      maxHeaderListSize: limits.maxHeaderBytes,
      enablePush: false,
    },
    maxHeaderListPairs: limits.maxHeaders,
    maxSessionMemory: limits.maxSessionMemoryMib,
    // The bucket below is the limit; nghttp2's own is for what comes faster than it counts. Its default (1,000 and 33 a
    // second) ends the connection of an honest client whose calls have short deadlines.
    streamResetBurst: limits.resetBurst * 10,
    streamResetRate: limits.resetsPerSecond * 10,
  });

  const pace = new AddressPace(limits);

  const countReset = (session: Http2Session | undefined) => {
    if (session === undefined || session.destroyed || pace.countReset(session.socket.remoteAddress ?? "")) return;
    log.warn({ peer: session.socket.remoteAddress }, "HTTP/2 connection is closed: it resets too many calls");
    session.destroy(new Error("Too many calls were reset"), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  };

  const countServed = (stream: ServerHttp2Stream) => {
    const { session } = stream;
    if (session === undefined) return;
    served.set(session, (served.get(session) ?? 0) + 1);
    stream.once("close", () => {
      const rest = (served.get(session) ?? 0) - 1;
      if (rest > 0) served.set(session, rest);
      else served.delete(session);
    });
  };

  server.on("request", (request, response) => {
    const { session } = request.stream;
    receiving.set(request, performance.now());
    // Handlers emit it for a body that may go on without end, whenever they have taken a part of it.
    request.on("progress", () => receiving.has(request) && receiving.set(request, performance.now()));
    request.once("end", () => receiving.delete(request));
    response.once("close", () => {
      receiving.delete(request);
      if (!response.writableEnded && request.stream.rstCode !== constants.NGHTTP2_NO_ERROR) countReset(session);
    });
    handler(request, response);
  });
  const makeRequest = server.listeners("stream") as ((...args: unknown[]) => void)[];
  server.removeAllListeners("stream");
  server.on("stream", (stream, headers, ...rest) => {
    const { session } = stream;
    stream.on("error", ignoreError);
    // Once all that has come is read: what is turned away is told by the calls before it, and a call that its client has
    // reset by then costs next to nothing.
    setImmediate(() => {
      if (stream.closed) {
        if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) countReset(session);
        return;
      }
      // Of the many that are turned away under overload no account is kept: each is answered within seconds.
      if (turnAway?.(stream, headers)) return;
      countServed(stream);
      for (const make of makeRequest) make.call(server, stream, headers, ...rest);
      // A body without bytes has ended before the request could hear of it.
      if (stream.readableEnded) stream.emit("end");
    });
  });
  server.on("session", (session) => {
    open.add(session);
    session.once("close", () => open.delete(session));
    session.setTimeout(limits.idleTimeoutMs, () => {
      if (!served.has(session)) session.close();
      // What needs no access key, such as a watch of the health, must not hold connections for as long as it likes.
      else if (!letIn.has(session)) session.destroy();
    });
  });
  server.on("sessionError", (error) => log.debug({ err: error }, "HTTP/2 connection failed"));

  const sweep = setInterval(() => {
    const oldest = performance.now() - limits.requestTimeoutMs;
    for (const [request, since] of receiving) {
      if (since < oldest && "stream" in request) request.stream.close(constants.NGHTTP2_CANCEL);
    }
  }, limits.requestTimeoutMs / SWEEPS_PER_TIMEOUT);
  sweep.unref();

  return {
    accept(socket) {
      // An HTTP/1.1 server takes connections half open; an HTTP/2 connection would outlive its client then.
      socket.allowHalfOpen = false;
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      destroyWhenHalfClosed(socket);
      pace.add(socket);
      server.emit("connection", socket);
    },
    letIn(session) {
      if (letIn.has(session) || session.closed || session.destroyed) return;
      letIn.add(session);
      session.settings({ initialWindowSize: limits.streamWindowBytes });
      session.setLocalWindowSize(limits.connectionWindowBytes);
    },
    announceClose() {
      for (const session of open)
        if (!session.closed && !session.destroyed) session.goaway(constants.NGHTTP2_NO_ERROR, STREAM_ID_MAX);
    },
    close() {
      for (const session of open) session.close();
    },
    destroy() {
      clearInterval(sweep);
      for (const session of open) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Node waits for the client to close its end, too: one that never does would hold the connection, and a shutdown. */
function destroyWhenHalfClosed(socket: Socket): void {
  socket.once("finish", () => {
    const timer = setTimeout(() => socket.destroy(), HALF_CLOSED_MS);
    socket.once("close", () => clearTimeout(timer));
  });
}

function ignoreError(): void {}
