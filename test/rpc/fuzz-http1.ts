import { connect } from "node:net";
import type { Random } from "../support/random.ts";
import { mutateBytes } from "./fuzz-bytes.ts";
import { BOUND_MS, type FuzzBatch } from "./fuzz-report.ts";
import type { FuzzRequest, RequestSource } from "./fuzz-requests.ts";

const PIPELINED = 24;

/** Sends a pipeline of requests as raw bytes of HTTP/1.1, and waits for the server to close the connection after them. */
export async function fuzzHttp1(
  port: number,
  source: RequestSource,
  random: Random,
  batch: FuzzBatch,
  boundMs = BOUND_MS,
): Promise<void> {
  const isBroken = random.next() < 0.15;
  const requests = Array.from({ length: PIPELINED }, () => source.next(random, { endless: !isBroken }));
  const bytes = Buffer.concat(requests.map((request) => encode(request, random, isBroken)));
  batch.send(requests.length);
  const sent = isBroken && random.next() < 0.5 ? mutateBytes(bytes, random) : bytes;
  const { text, closed } = await exchange(port, sent, boundMs);
  for (const [, status = ""] of text.matchAll(/HTTP\/1\.1 (\d{3})/g)) batch.answered(status);
  batch.read(text, requests);
  if (!closed) batch.fail(`HTTP/1.1 not closed ${boundMs} ms after its end`, requests);
}

/** Writes, ends its side, and reads until the other side ends. */
export function exchange(port: number, bytes: Uint8Array, boundMs: number): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const chunks: Buffer[] = [];
    let closed = true;
    const timer = setTimeout(() => {
      closed = false;
      socket.destroy();
    }, boundMs);
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(timer);
      resolve({ text: Buffer.concat(chunks).toString("latin1"), closed });
    });
    socket.end(bytes);
  });
}

function encode({ verb, path, headers, body }: FuzzRequest, random: Random, isBroken: boolean): Buffer {
  const lines = headers.map(([name, value]) => `${name}: ${value}`);
  const breaking = isBroken ? random.below(10) : 99;
  const isChunked = breaking !== 0 && random.next() < 0.15;
  if (isChunked) lines.push("transfer-encoding: chunked");
  else
    lines.push(
      `content-length: ${breaking === 0 ? random.pick([0, 1, body.length + 5, -1, "0x5", 2 ** 40]) : body.length}`,
    );
  if (breaking === 1) lines.push("content-length: 7");
  if (breaking === 2) lines.push("transfer-encoding: gzip, chunked");
  if (breaking === 3) lines.push(`x: ${"y".repeat(random.pick([20_000, 100]))}\0`);
  if (breaking === 4) lines.push(" folded: header");
  if (breaking === 5) lines.push(...Array.from({ length: 200 }, (_, i) => `x-${i}: 1`));
  if (breaking === 6) lines.push("connection: upgrade", "upgrade: h2c");
  const version = breaking === 7 ? random.pick(["HTTP/1.0", "HTTP/9.9", "HTTP", ""]) : "HTTP/1.1";
  const host = breaking === 8 ? random.pick(["", "host: a\r\nhost: b\r\n", "host: \r\n"]) : "host: 127.0.0.1\r\n";
  if (random.next() < 0.03) lines.push("expect: 100-continue");
  const target = path.replace(/[\s\0]/g, "");
  const head = Buffer.from(`${verb} ${target} ${version}\r\n${host}${lines.join("\r\n")}\r\n\r\n`, "latin1");
  return Buffer.concat([head, isChunked ? chunked(body, random, breaking === 9) : body]);
}

function chunked(body: Uint8Array, random: Random, isBroken: boolean): Buffer {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length; ) {
    const part = body.subarray(at, at + 1 + random.below(body.length));
    const size = isBroken ? random.pick(["ffffffffffffffffff", "-1", "zz", "", "0"]) : part.length.toString(16);
    parts.push(Buffer.from(`${size}\r\n`), part, Buffer.from("\r\n"));
    at += part.length;
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}
