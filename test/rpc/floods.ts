import { connect, type Socket } from "node:net";
import { setImmediate, setTimeout } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  HEADERS,
  literal,
  PING,
  PREFACE,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from "../support/http2-frames.ts";

/** Attacks a server until the signal is aborted; resolves to how often. */
export type Flood = (target: FloodTarget) => Promise<number>;

export interface FloodTarget {
  readonly port: number;
  readonly signal: AbortSignal;
}

/** Not the one of the good client: clients take turns by address. */
const ADDRESS = "127.0.0.9";
const CONNECTIONS = 20;
const CHUNK = 200;
const METHOD = "/quiver.v1.VectorService/PutVectors";

const PSEUDO = Buffer.concat([
  literal(":method", "POST"),
  literal(":scheme", "http"),
  literal(":path", METHOD),
  literal(":authority", "localhost"),
]);
const CALL = Buffer.concat([PSEUDO, literal("content-type", "application/grpc"), literal("te", "trailers")]);
/** Puts a field of 4 KiB into the table, which later blocks name in one byte. */
const FILL_TABLE = Buffer.concat([Buffer.of(0x40), literal("bomb", "b".repeat(3_900)).subarray(1)]);

export const FLOODS: Readonly<Record<string, Flood>> = {
  "calls that are reset at once": onSessions((id) => [
    frame(HEADERS, END_HEADERS, id, CALL),
    frame(RST_STREAM, 0, id, u32(8)),
  ]),
  "headers that go on and on": onSessions((id, count) => [
    count === 0 ? frame(HEADERS, 0, id, CALL) : frame(CONTINUATION, 0, 1, literal("x", "y".repeat(500))),
  ]),
  "headers that name a long field a thousand times": onSessions((id) => [
    frame(HEADERS, END_HEADERS, id, Buffer.concat([CALL, FILL_TABLE, Buffer.alloc(1_000, 0x80 | 62)])),
  ]),
  "pings whose answers nobody reads": onSessions(() => [frame(PING, 0, 0, Buffer.alloc(8))]),
  "settings whose answers nobody reads": onSessions(() => [frame(SETTINGS, 0, 0, Buffer.of(0, 4, 0, 1, 0, 0))]),
  "windows that grow by one": onSessions(() => [frame(WINDOW_UPDATE, 0, 0, u32(1))]),
  "priorities of calls that are not there": onSessions((id) => [
    frame(PRIORITY, 0, id, Buffer.concat([u32(id + 2), Buffer.of(0)])),
  ]),
  "empty pieces of a body": onSessions((id, count) => [
    count === 0 ? frame(HEADERS, END_HEADERS, id, CALL) : frame(DATA, 0, 1, Buffer.alloc(0)),
  ]),
  "frames of kinds that do not exist": onSessions((id) => [frame(200, 255, id, Buffer.alloc(100))]),
  "calls that are never answered, for want of a window": onSessions(
    (id) => [frame(HEADERS, END_HEADERS | END_STREAM, id, CALL)],
    Buffer.of(0, 4, 0, 0, 0, 0),
  ),
  "connections that say nothing": async ({ port, signal }) => {
    const sockets: Socket[] = [];
    let count = 0;
    while (!signal.aborted) {
      for (let i = 0; i < 100; i++, count++) sockets.push(open(port));
      await setTimeout(5);
      while (sockets.length > 10_000) sockets.shift()?.destroy();
    }
    for (const socket of sockets) socket.destroy();
    return count;
  },
  "headers that come byte by byte": async ({ port, signal }) => {
    const sockets = Array.from({ length: 500 }, () => open(port));
    let count = 0;
    for (const socket of sockets) socket.write("GET / HTTP/1.1\r\nx: ");
    while (!signal.aborted) {
      for (const socket of sockets) socket.write("y");
      count += sockets.length;
      await setTimeout(20);
    }
    for (const socket of sockets) socket.destroy();
    return count;
  },
  "requests in a row, whose answers nobody reads": onConnections(() =>
    Buffer.from("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(CHUNK)),
  ),
  "a million empty messages": onConnections(() =>
    post("application/proto", Buffer.alloc(2_000_000, Buffer.of(0x22, 0))),
  ),
  "bodies that are zeros once they are unzipped": onConnections(() =>
    post("application/proto", BOMB, "content-encoding: gzip\r\n"),
  ),
  "JSON that is all brackets": onConnections(() => post("application/json", Buffer.from('{"filter":'.repeat(50_000)))),
};

const BOMB = gzipSync(Buffer.alloc(20_000_000), { level: 9 });

/** Sends frames on connections of HTTP/2, each anew when the server has ended it. `id` is that of a stream not used yet. */
function onSessions(make: (id: number, count: number) => readonly Buffer[], settings: Buffer = Buffer.alloc(0)): Flood {
  return onConnections((state) => {
    const frames = state.count === 0 ? [PREFACE, frame(SETTINGS, 0, 0, settings)] : [];
    for (let i = 0; i < CHUNK; i++, state.count++) frames.push(...make(2 * state.count + 1, state.count));
    return Buffer.concat(frames);
  });
}

/** Sends on some connections at once, as much as they take; nobody reads. */
function onConnections(make: (state: { count: number }) => Buffer): Flood {
  return async ({ port, signal }) => {
    let sent = 0;
    const attack = async () => {
      while (!signal.aborted) {
        const socket = open(port);
        socket.pause();
        const state = { count: 0 };
        const since = performance.now();
        while (!signal.aborted && !socket.destroyed && performance.now() - since < 2_000) {
          if (socket.writableLength < 1_000_000) {
            socket.write(make(state));
            sent++;
          }
          await setImmediate();
          if (socket.writableLength > 0) await setTimeout(1);
        }
        socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, attack));
    return sent;
  };
}

function open(port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", localAddress: ADDRESS });
  socket.on("error", () => socket.destroy());
  return socket;
}

function post(type: string, body: Buffer, more = ""): Buffer {
  const head = `POST ${METHOD} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}\r\n${more}content-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}
