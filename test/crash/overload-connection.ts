import { connect, type Socket } from "node:net";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../support/http2-frames.ts";

/** How a call ended. `refused`: answered by headers alone, as errors are before a call is served. */
export type End = "ok" | "refused" | "failed";

const ACK = 1;
const FRAME_HEADER_BYTES = 9;
const STREAM_ID_AT = 5;
/** What a server of Quiver takes at one time on one connection. */
const STREAMS_MAX = 100;

interface Stream {
  readonly done: (end: End) => void;
  hasHeaders: boolean;
  hasData: boolean;
}

/**
 * A gRPC client for load: it writes frames that were made before and looks at no more of an answer than how it ends. A call
 * costs it some 5 us, a real client's 100, so that one process can ask for more than a server can give.
 */
export class LoadConnection {
  readonly #socket: Socket;
  readonly #streams = new Map<number, Stream>();
  readonly #accepted = Promise.withResolvers<void>();
  #isCorked = false;
  #pending: Buffer = Buffer.alloc(0);
  #nextStream = 1;
  #closed = false;

  constructor(url: URL, localAddress?: string) {
    this.#socket = connect({ host: url.hostname, port: Number(url.port), ...(localAddress && { localAddress }) });
    this.#socket.setNoDelay(true);
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.#failAll());
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.once("data", () => this.#accepted.resolve());
    // No table for the headers of answers, which are not decoded; windows that no test fills.
    const settings = Buffer.from([0, 1, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    const window = Buffer.from([0x7f, 0xff, 0, 0]);
    this.#socket.write(PREFACE);
    this.#socket.write(frame(SETTINGS, 0, 0, settings));
    this.#socket.write(frame(WINDOW_UPDATE, 0, 0, window));
  }

  /** Resolves once the server has taken the connection, which it may let wait. */
  get accepted(): Promise<void> {
    return this.#accepted.promise;
  }

  get isFree(): boolean {
    return !this.#closed && this.#streams.size < STREAMS_MAX;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Sends `frames`, a call of `framesOfCall`, which it changes. */
  call({ bytes, dataAt }: Frames, done: (end: End) => void): void {
    const id = this.#nextStream;
    this.#nextStream += 2;
    this.#streams.set(id, { done, hasHeaders: false, hasData: false });
    bytes.writeUInt32BE(id, STREAM_ID_AT);
    bytes.writeUInt32BE(id, dataAt + STREAM_ID_AT);
    this.#cork();
    this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** What is written in one turn leaves in one packet. */
  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    setImmediate(() => {
      this.#isCorked = false;
      this.#socket.uncork();
    });
  }

  #read(chunk: Buffer): void {
    let bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (bytes.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + bytes.readUIntBE(0, 3);
      if (bytes.length < end) break;
      this.#take(
        bytes[3] ?? 0,
        bytes[4] ?? 0,
        bytes.readUInt32BE(STREAM_ID_AT),
        bytes.subarray(FRAME_HEADER_BYTES, end),
      );
      bytes = bytes.subarray(end);
    }
    this.#pending = bytes;
  }

  #take(type: number, flags: number, id: number, payload: Buffer): void {
    if (type === SETTINGS && (flags & ACK) === 0) this.#socket.write(frame(SETTINGS, ACK, 0));
    if (type === PING && (flags & ACK) === 0) this.#socket.write(frame(PING, ACK, 0, payload));
    if (type === GOAWAY) this.#closed = true;
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (type === RST_STREAM) this.#end(id, stream, "failed");
    if (type === DATA && payload.length > 0) stream.hasData = true;
    const isFirst = type === HEADERS && !stream.hasHeaders;
    if (type === HEADERS) stream.hasHeaders = true;
    if ((type !== DATA && type !== HEADERS) || (flags & END_STREAM) === 0) return;
    this.#end(id, stream, isFirst ? "refused" : stream.hasData ? "ok" : "failed");
  }

  #end(id: number, stream: Stream, end: End): void {
    this.#streams.delete(id);
    stream.done(end);
  }

  #failAll(): void {
    this.#closed = true;
    for (const [id, stream] of this.#streams) this.#end(id, stream, "failed");
  }
}

/** The bytes of one call. */
export interface Frames {
  readonly bytes: Buffer;
  /** Where the frame of the message begins. */
  readonly dataAt: number;
}

/** A call without its number, so that only that needs to be written for each call. */
export function framesOfCall(headers: Buffer, message: Uint8Array): Frames {
  const envelope = Buffer.alloc(5);
  envelope.writeUInt32BE(message.length, 1);
  const head = frame(HEADERS, END_HEADERS, 0, headers);
  return {
    bytes: Buffer.concat([head, frame(DATA, END_STREAM, 0, Buffer.concat([envelope, message]))]),
    dataAt: head.length,
  };
}

/** The headers of every call of a method, in HPACK without a table. */
export function grpcHeaders(url: URL, path: string, timeout: string): Buffer {
  const text = (value: string) => [value.length, ...Buffer.from(value, "latin1")];
  return Buffer.from([
    ...[0x83, 0x86],
    ...[0x04, ...text(path)],
    ...[0x01, ...text(url.host)],
    ...[0x00, ...text("content-type"), ...text("application/grpc")],
    ...[0x00, ...text("te"), ...text("trailers")],
    ...[0x00, ...text("grpc-timeout"), ...text(timeout)],
  ]);
}
