import { type ClientHttp2Session, connect } from "node:http2";
import type { Random } from "../support/random.ts";
import { BOUND_MS, type FuzzBatch } from "./fuzz-report.ts";
import type { FuzzRequest, RequestSource } from "./fuzz-requests.ts";

const SIDE_BY_SIDE = 40;

/** Sends requests side by side over one connection of HTTP/2, which is kept for the next ones while it lasts. */
export class Http2Lane {
  readonly #url: string;
  #session: ClientHttp2Session | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  async fuzz(source: RequestSource, random: Random, batch: FuzzBatch, boundMs = BOUND_MS): Promise<void> {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) this.#session = open(this.#url);
    const session = this.#session;
    const requests = Array.from({ length: SIDE_BY_SIDE }, () => source.next(random, { endless: true }));
    batch.send(requests.length);
    await Promise.all(requests.map((request) => send(session, request, random, batch, boundMs)));
    if (random.next() < 0.02) session.destroy();
  }

  close(): void {
    this.#session?.destroy();
  }
}

function open(url: string): ClientHttp2Session {
  const session = connect(url, { maxSessionMemory: 100 });
  session.on("error", () => {});
  return session;
}

function send(
  session: ClientHttp2Session,
  request: FuzzRequest,
  random: Random,
  batch: FuzzBatch,
  boundMs: number,
): Promise<void> {
  const { verb, path, headers, body } = request;
  // Seldom: nghttp2 ends the whole connection for it.
  const length = random.next() < 0.001 ? random.pick([0, 1, body.length + 3]) : body.length;
  const resetsAt = random.next() < 0.005 ? random.below(body.length + 1) : undefined;
  const chunkBytes = random.next() < 0.1 ? 1 + random.below(64) : body.length || 1;
  return new Promise((resolve) => {
    let stream: ReturnType<ClientHttp2Session["request"]>;
    try {
      const all = [...headers, ["te", "trailers"], ["content-length", `${length}`]].map(([name, value]) => [
        name,
        value,
      ]);
      stream = session.request({ ...Object.fromEntries(all), ":method": verb, ":path": path });
    } catch {
      // What this client refuses to send is for the raw frames.
      resolve();
      return;
    }
    const chunks: Buffer[] = [];
    let status = "reset";
    let trailer = "";
    const timer = setTimeout(() => {
      batch.fail(`HTTP/2 stream not answered in ${boundMs} ms`, [request]);
      stream.close();
    }, boundMs);
    stream.on("response", (head) => {
      status = String(head[":status"]);
      trailer += `grpc-status: ${head["grpc-status"] ?? ""} ${head["grpc-message"] ?? ""}\n`;
    });
    stream.on("trailers", (tail) => {
      trailer += `grpc-status: ${tail["grpc-status"] ?? ""} ${tail["grpc-message"] ?? ""}\n`;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.once("close", () => {
      clearTimeout(timer);
      batch.answered(status === "reset" ? `reset ${stream.rstCode}` : status);
      batch.read(`${trailer}${Buffer.concat(chunks).toString("latin1")}`, [request]);
      resolve();
    });
    for (let at = 0; at < body.length; at += chunkBytes) {
      if (resetsAt !== undefined && at >= resetsAt) return stream.close(8);
      stream.write(body.subarray(at, at + chunkBytes));
    }
    stream.end();
  });
}
