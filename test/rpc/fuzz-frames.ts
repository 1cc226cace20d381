import { connect } from "node:net";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  literal,
  PING,
  PREFACE,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  u32,
  WINDOW_UPDATE,
} from "../support/http2-frames.ts";
import type { Random } from "../support/random.ts";
import { mutateBytes } from "./fuzz-bytes.ts";
import { BOUND_MS, type FuzzBatch } from "./fuzz-report.ts";
import type { FuzzRequest, RequestSource } from "./fuzz-requests.ts";

const REQUESTS = 10;
/** A server that sends nothing for so long has nothing more to say. */
const QUIET_MS = 100;
/** Sends frames of HTTP/2 by hand on a connection of their own, some of them as no client would. */
export async function fuzzFrames(
  port: number,
  source: RequestSource,
  random: Random,
  batch: FuzzBatch,
  boundMs = BOUND_MS,
): Promise<void> {
  const requests = Array.from({ length: REQUESTS }, () => source.next(random, { endless: false }));
  batch.send(requests.length);
  const frames = [
    random.next() < 0.97 ? PREFACE : mutateBytes(PREFACE, random),
    frame(SETTINGS, 0, 0, random.next() < 0.8 ? Buffer.alloc(0) : randomBytes(random.pick([6, 12, 5]), random)),
  ];
  for (const [i, request] of requests.entries()) {
    frames.push(...framesOf(request, 2 * i + 1, random));
    if (random.next() < 0.3) frames.push(strangeFrame(2 * i + 1, random));
  }
  const bytes = Buffer.concat(frames);
  const { text, closed } = await exchangeQuietly(
    port,
    random.next() < 0.3 ? mutateBytes(bytes, random) : bytes,
    boundMs,
  );
  batch.read(text, requests);
  if (!closed) batch.fail(`HTTP/2 not closed ${boundMs} ms after its end`, requests);
}

/** Reads until the server is quiet before it ends its side: a server need not answer a client that has left. */
function exchangeQuietly(port: number, bytes: Uint8Array, boundMs: number): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    const chunks: Buffer[] = [];
    let closed = true;
    const quiet = setTimeout(() => socket.end(), QUIET_MS);
    const bound = setTimeout(() => {
      closed = false;
      socket.destroy();
    }, boundMs);
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      quiet.refresh();
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(quiet);
      clearTimeout(bound);
      resolve({ text: Buffer.concat(chunks).toString("latin1"), closed });
    });
    socket.write(bytes);
  });
}

function framesOf({ verb, path, headers, body }: FuzzRequest, stream: number, random: Random): Buffer[] {
  const pseudo = [
    [":method", verb],
    [":scheme", "http"],
    [":path", path],
    [":authority", "127.0.0.1"],
  ] as const;
  const odd = [
    [":status", "200"],
    ["Upper-Case", "1"],
    ["connection", "close"],
    ["te", "gzip"],
    ["", ""],
    ["x", "a\0b"],
    ["content-length", "99999"],
    [":path", "/"],
    ["cookie", "c".repeat(17_000)],
  ] as const;
  const all = [...pseudo, ...headers, ...(random.next() < 0.2 ? [random.pick(odd)] : [])];
  const block = Buffer.concat(
    (random.next() < 0.05 ? all.reverse() : all).map(([name, value]) => literal(name, value)),
  );
  const cut = random.next() < 0.2 ? random.below(block.length) : block.length;
  const flags = body.length === 0 ? END_STREAM : 0;
  const isPadded = random.next() < 0.1;
  const data = isPadded ? Buffer.concat([Buffer.of(random.below(256)), body]) : Buffer.from(body);
  return [
    frame(HEADERS, flags | (cut === block.length ? END_HEADERS : 0), stream, block.subarray(0, cut)),
    ...(cut === block.length ? [] : [frame(CONTINUATION, END_HEADERS, stream, block.subarray(cut))]),
    ...(body.length === 0 ? [] : [frame(DATA, END_STREAM | (isPadded ? 8 : 0), stream, data.subarray(0, 16_000))]),
  ];
}

function strangeFrame(stream: number, random: Random): Buffer {
  const on = random.pick([0, stream, stream + 1, stream + 100, 1, 2 ** 31 - 1]);
  switch (random.below(10)) {
    case 0:
      return frame(WINDOW_UPDATE, 0, on, u32(random.pick([0, 1, 2 ** 31 - 1, 2 ** 32 - 1])));
    case 1:
      return frame(PRIORITY, 0, on, Buffer.concat([u32(on), Buffer.of(0)]));
    case 2:
      return frame(RST_STREAM, 0, on, u32(random.below(20)));
    case 3:
      return frame(PUSH_PROMISE, END_HEADERS, on, randomBytes(10, random));
    case 4:
      return frame(PING, 0, random.pick([0, on]), randomBytes(random.pick([8, 7]), random));
    case 5:
      return frame(GOAWAY, 0, 0, randomBytes(8, random));
    case 6:
      return frame(
        SETTINGS,
        random.pick([0, 1]),
        random.pick([0, on]),
        randomBytes(random.pick([0, 6, 7, 60]), random),
      );
    case 7:
      return Buffer.concat(Array.from({ length: 50 }, () => frame(CONTINUATION, 0, on, randomBytes(20, random))));
    case 8:
      return frame(random.below(256), random.below(256), on, randomBytes(random.below(100), random));
    default:
      return frame(HEADERS, random.below(256), on, randomBytes(random.below(200), random));
  }
}

function randomBytes(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}
