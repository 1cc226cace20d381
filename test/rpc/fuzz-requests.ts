import { type DescMethod, type DescService, toBinary, toJsonString } from "@bufbuild/protobuf";
import type { Random } from "../support/random.ts";
import { envelope } from "../support/rpc-harness.ts";
import { gzipped, hostileBinary, mutateBytes, mutateEnvelope, mutateJson } from "./fuzz-bytes.ts";
import { randomMessage } from "./fuzz-values.ts";

/** A request as bytes, before a protocol of the wire carries it. */
export interface FuzzRequest {
  readonly verb: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array;
}

interface Format {
  readonly contentType: string;
  readonly enveloped: boolean;
  readonly json: boolean;
  readonly encodingHeader: string;
  readonly timeoutHeader: readonly [string, string];
}

/** Streams of the server end after so long; everything else is faster. */
const TIMEOUT_MS = 300;

const grpc = (contentType: string): Format => ({
  contentType,
  enveloped: true,
  json: contentType.endsWith("json"),
  encodingHeader: "grpc-encoding",
  timeoutHeader: ["grpc-timeout", `${TIMEOUT_MS}m`],
});
const connect = (contentType: string): Format => ({
  contentType,
  enveloped: contentType.includes("connect"),
  json: contentType.endsWith("json"),
  encodingHeader: contentType.includes("connect") ? "connect-content-encoding" : "content-encoding",
  timeoutHeader: ["connect-timeout-ms", `${TIMEOUT_MS}`],
});
const UNARY_FORMATS = [connect("application/json"), connect("application/proto")];
const STREAM_FORMATS = [connect("application/connect+json"), connect("application/connect+proto")];
const GRPC_FORMATS = [
  grpc("application/grpc"),
  grpc("application/grpc+proto"),
  grpc("application/grpc+json"),
  grpc("application/grpc-web+proto"),
  grpc("application/grpc-web+json"),
];

/** Calls that copy or read everything that is stored: seldom, so that the others come in their numbers. */
const SELDOM: Readonly<Record<string, number>> = { CreateBackup: 0.0005, VerifyStorage: 0.005, MeasureRecall: 0.1 };

/** Makes requests for every method of some services, about a third of them well formed. */
export class RequestSource {
  readonly #methods: readonly DescMethod[];
  readonly #credentials: readonly [string, string][];

  /** `apiKey`: what the requests bring, for a server that has access keys. */
  constructor(services: readonly DescService[], apiKey?: string) {
    this.#methods = services.flatMap(({ methods }) => methods);
    this.#credentials = apiKey === undefined ? [] : [["authorization", `Bearer ${apiKey}`]];
  }

  get methods(): readonly DescMethod[] {
    return this.#methods;
  }

  /** `endless`: also of methods whose answers end with the caller's deadline alone. */
  next(random: Random, { endless }: { readonly endless: boolean }): FuzzRequest {
    const method = this.#pickMethod(random, endless);
    const format = pickFormat(method, random);
    const plan = random.next();
    const messages = Array.from({ length: method.methodKind.startsWith("server") ? 1 : countOf(method, random) }, () =>
      messageOf(method, format, plan, random),
    );
    const headers = new Map([["content-type", format.contentType], format.timeoutHeader, ...this.#credentials]);
    const body = bodyOf(messages, format, headers, random);
    if (plan > 0.85) mutateHeaders(headers, method, random);
    const path = `/${method.parent.typeName}/${method.name}`;
    const isGet = format === UNARY_FORMATS[0] && random.next() < 0.05;
    return isGet
      ? { verb: "GET", path: queryOf(path, body, random), headers: this.#credentials, body: new Uint8Array(0) }
      : {
          verb: pickVerb(random),
          path: random.next() < 0.01 ? mutatePath(path, random) : path,
          headers: [...headers],
          body,
        };
  }

  #pickMethod(random: Random, endless: boolean): DescMethod {
    const method = random.pick(this.#methods);
    const fits = endless || method.methodKind === "unary";
    return fits && random.next() < (SELDOM[method.name] ?? 1) ? method : this.#pickMethod(random, endless);
  }
}

function pickFormat({ methodKind }: DescMethod, random: Random): Format {
  const fitting = methodKind === "unary" ? UNARY_FORMATS : STREAM_FORMATS;
  const choice = random.next();
  if (choice < 0.5) return random.pick(fitting);
  return choice < 0.97 ? random.pick(GRPC_FORMATS) : random.pick([...UNARY_FORMATS, ...STREAM_FORMATS]);
}

function countOf({ methodKind }: DescMethod, random: Random): number {
  if (methodKind === "client_streaming" || methodKind === "bidi_streaming") return random.below(4);
  return random.next() < 0.98 ? 1 : random.pick([0, 2, 3]);
}

/** By `plan`, the same for all messages of a request: as it should be, changed, or of another world. */
function messageOf(method: DescMethod, format: Format, plan: number, random: Random): Uint8Array {
  if (plan < 0.05) return hostileBinary(random);
  const message = encode(method, format, random);
  if (plan < 0.5) return message;
  if (plan > 0.85) return message;
  return format.json ? mutateJson(Buffer.from(message).toString(), random) : mutateBytes(message, random);
}

/** Some random messages cannot be encoded, such as one whose metadata holds a lone surrogate. */
function encode({ input }: DescMethod, { json }: Format, random: Random): Uint8Array {
  for (;;) {
    const message = randomMessage(input, random);
    try {
      return json ? Buffer.from(toJsonString(input, message)) : toBinary(input, message);
    } catch {
      // Another one.
    }
  }
}

function bodyOf(
  messages: readonly Uint8Array[],
  format: Format,
  headers: Map<string, string>,
  random: Random,
): Uint8Array {
  const isCompressed = random.next() < 0.06;
  if (isCompressed)
    headers.set(format.encodingHeader, random.pick(["gzip", "gzip", "gzip", "br", "deflate", "identity", "x"]));
  const lies = random.next() < 0.06;
  const parts = messages.map((message) => {
    const data = isCompressed ? gzipped(message, random) : message;
    if (!format.enveloped) return data;
    return lies ? mutateEnvelope(data, random) : envelope(data, isCompressed ? 1 : 0);
  });
  const body = Buffer.concat(parts);
  return random.next() < 0.03 ? mutateBytes(body, random) : body;
}

const HEADERS: readonly (readonly [string, string])[] = [
  ["content-type", "application/grpc-web-text+proto"],
  ["content-type", "text/plain"],
  ["content-type", "application/json; charset=utf-16"],
  ["content-type", "application/proto"],
  ["content-type", "application/grpc+thrift"],
  ["content-type", ""],
  ["content-encoding", "gzip"],
  ["grpc-encoding", "gzip"],
  ["connect-content-encoding", "br"],
  ["grpc-timeout", "99999999H"],
  ["grpc-timeout", "-1S"],
  ["grpc-timeout", "1n"],
  ["grpc-timeout", "soon"],
  ["connect-timeout-ms", "0"],
  ["connect-timeout-ms", "99999999999999"],
  ["connect-timeout-ms", "-5"],
  ["connect-protocol-version", "1"],
  ["connect-protocol-version", "7"],
  ["accept-encoding", "gzip"],
  ["grpc-accept-encoding", "gzip,br,\u00ff"],
  ["x-request-id", "x".repeat(500)],
  ["x-request-id", "fuzz"],
  ["authorization", "Bearer nothing"],
  ["some-bin", "%%%not base64"],
  ["x-long", "x".repeat(9_000)],
  ["origin", "https://example.com"],
  ["user-agent", ""],
];

function mutateHeaders(headers: Map<string, string>, { methodKind }: DescMethod, random: Random): void {
  for (let i = 1 + random.below(2); i > 0; i--) {
    const [name, value] = random.pick(HEADERS);
    if (methodKind !== "unary" && (name.includes("timeout") || name === "content-type")) continue;
    if (random.next() < 0.15) headers.delete(name);
    else headers.set(name, value);
  }
}

function pickVerb(random: Random): string {
  return random.next() < 0.99 ? "POST" : random.pick(["GET", "PUT", "OPTIONS", "HEAD", "DELETE", "PATCH"]);
}

function mutatePath(path: string, random: Random): string {
  return random.pick([`${path}/`, `/${path}`, path.toLowerCase(), "/", "/livez", "/%", `${path}?a=%ff`, "/..%2f..%2f"]);
}

function queryOf(path: string, body: Uint8Array, random: Random): string {
  const message = Buffer.from(body);
  const isBase64 = random.next() < 0.7;
  const text = isBase64 ? message.toString("base64url") : encodeURIComponent(message.toString());
  const extra = random.pick(["", "", "&compression=gzip", "&connect=v2", "&base64=2", "&message=", "&encoding=proto"]);
  return `${path}?connect=v1&encoding=json${isBase64 ? "&base64=1" : ""}&message=${text.slice(0, 8_000)}${extra}`;
}
