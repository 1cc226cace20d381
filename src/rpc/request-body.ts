import { isUtf8 } from "node:buffer";
import { QuiverError } from "../errors.ts";
import type { HttpRequest } from "../node-http.ts";
import { ChunkBuffer } from "./chunk-buffer.ts";
import { ENVELOPE_HEADER_BYTES, envelope } from "./envelope.ts";
import { toRequestError } from "./error.ts";
import { gunzip } from "./gunzip.ts";

const COMPRESSED = 0b1;

export interface RequestBodyRules {
  /** Messages stand in envelopes of a flag byte and a length: all but unary Connect calls. */
  readonly enveloped: boolean;
  /** The messages are JSON, not binary protobuf. */
  readonly json: boolean;
  /** The compression that the request's headers name. */
  readonly gzip: boolean;
  /** The largest message, after decompression, in bytes. */
  readonly maxBytes: number;
  /** Throws when a message, as it came out of its envelope, must not be decoded. */
  check(message: Uint8Array): void;
  /** Accounts for bytes that wait in memory. Throws when there are too many. */
  reserve(bytes: number): void;
  /** Takes such bytes off the account, when a further message of the same call is asked for. */
  release(bytes: number): void;
}

/**
 * Reads a request's body and hands on whole, checked and decompressed messages, each with its envelope where the
 * protocol has one. What it throws is the client's error, with the limit and the size where that is the matter.
 */
export function readRequestBody(
  source: AsyncIterable<Uint8Array>,
  contentLength: number | undefined,
  rules: RequestBodyRules,
): AsyncIterable<Uint8Array> {
  const messages = rules.enveloped ? readEnvelopes(source, rules) : readUnary(source, contentLength, rules);
  return blameClient(messages);
}

/** What has come of a body: all of it, or as much as there was when it became longer than allowed. */
export interface Gathered {
  readonly bytes: Buffer;
  readonly isWhole: boolean;
}

/** Reads a body that ends soon. Rejects when the client leaves before its end, and with what `reserve` throws. */
export function gatherBody(
  request: HttpRequest,
  maxBytes: number,
  reserve: (bytes: number) => void,
): Promise<Gathered> {
  return new Promise((resolve, reject) => {
    const chunks = new ChunkBuffer();
    const stop = () => {
      request.off("data", onData).off("end", onEnd).off("error", onError).off("close", onClose);
    };
    const onData = (chunk: Buffer) => {
      try {
        reserve(chunk.length);
      } catch (error) {
        onError(error as Error);
        request.pause();
        return;
      }
      chunks.push(chunk);
      if (chunks.length <= maxBytes) return;
      stop();
      request.pause();
      resolve({ bytes: chunks.take(), isWhole: false });
    };
    const onEnd = () => {
      stop();
      resolve({ bytes: chunks.take(), isWhole: true });
    };
    const onError = (error: Error) => {
      stop();
      reject(error);
    };
    const onClose = () => onError(new Error("The client has left before its request was complete"));
    if (request.destroyed) onClose();
    else request.on("data", onData).on("end", onEnd).on("error", onError).on("close", onClose);
  });
}

/** Hands on what it is given; what fails meanwhile is the client's fault. */
export async function* blameClient<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw toRequestError(error);
  }
}

async function* readUnary(
  source: AsyncIterable<Uint8Array>,
  contentLength: number | undefined,
  rules: RequestBodyRules,
): AsyncGenerator<Uint8Array> {
  if (contentLength !== undefined && contentLength > rules.maxBytes) throw tooLarge(rules, contentLength);
  const chunks = new ChunkBuffer();
  for await (const chunk of source) {
    rules.reserve(chunk.length);
    chunks.push(chunk);
    if (chunks.length > rules.maxBytes) throw tooLarge(rules);
  }
  yield await readMessage(chunks.take(), rules.gzip, rules);
}

async function* readEnvelopes(source: AsyncIterable<Uint8Array>, rules: RequestBodyRules): AsyncGenerator<Uint8Array> {
  const pending = new ChunkBuffer();
  let wanted = ENVELOPE_HEADER_BYTES;
  for await (const chunk of source) {
    rules.reserve(chunk.length);
    pending.push(chunk);
    while (pending.length >= wanted) {
      // Twice a message at most, however small the chunks: a client that sends one byte at a time must not make the
      // work grow with the square of the size.
      const bytes = pending.take();
      const size = bytes.readUInt32BE(1);
      if (size > rules.maxBytes) throw tooLarge(rules, size);
      wanted = ENVELOPE_HEADER_BYTES + size;
      if (bytes.length < wanted) {
        pending.push(bytes);
        break;
      }
      pending.push(bytes.subarray(wanted));
      const received = bytes.subarray(0, wanted);
      const checked = await readEnvelope(received, rules);
      yield checked;
      rules.release(checked === received ? wanted : wanted + checked.length);
      wanted = ENVELOPE_HEADER_BYTES;
    }
  }
  if (pending.length > 0) {
    throw new QuiverError(
      "MALFORMED_REQUEST",
      `Request ends inside a message: ${pending.length} of ${wanted} bytes came`,
    );
  }
}

async function readEnvelope(received: Buffer, rules: RequestBodyRules): Promise<Uint8Array> {
  const flags = received[0] ?? 0;
  const data = received.subarray(ENVELOPE_HEADER_BYTES);
  if ((flags & COMPRESSED) === 0) {
    await readMessage(data, false, rules);
    return received;
  }
  if (!rules.gzip) {
    throw new QuiverError("MALFORMED_REQUEST", "Request has a compressed message, but its headers name no compression");
  }
  return envelope(flags & ~COMPRESSED, await readMessage(data, true, rules));
}

async function readMessage(data: Uint8Array, compressed: boolean, rules: RequestBodyRules): Promise<Uint8Array> {
  const message = compressed && data.length > 0 ? await decompress(data, rules) : data;
  if (rules.json && !isUtf8(message))
    throw new QuiverError("MALFORMED_REQUEST", "Request is JSON, but not valid UTF-8");
  rules.check(message);
  return message;
}

async function decompress(data: Uint8Array, rules: RequestBodyRules): Promise<Uint8Array> {
  let length = 0;
  try {
    return await gunzip(data, (bytes) => {
      length += bytes;
      if (length > rules.maxBytes) throw tooLarge(rules);
      rules.reserve(bytes);
    });
  } catch (error) {
    if (error instanceof QuiverError) throw error;
    throw new QuiverError("MALFORMED_REQUEST", "Request is not valid gzip", { cause: error });
  }
}

function tooLarge(rules: RequestBodyRules, given?: number): QuiverError {
  const size = given === undefined ? "Request message is larger" : `Request message has ${given} bytes, more`;
  const format = rules.json ? " in JSON" : "";
  return new QuiverError("REQUEST_TOO_LARGE", `${size} than the limit of ${rules.maxBytes} bytes${format}`, {
    metadata: { max: String(rules.maxBytes), ...(given === undefined ? {} : { given: String(given) }) },
  });
}
