import { resolve } from "node:path";
import type { ServiceClientConstructor, ServiceError } from "@grpc/grpc-js";
import { type ChannelOptions, type Client, credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export type Json = null | string | number | boolean | Json[] | { [key: string]: Json };

const packages = loadPackageDefinition(
  loadSync("pinecone/vector_service.proto", {
    includeDirs: [resolve(import.meta.dirname, "../../../proto")],
    longs: Number,
  }),
);
const VectorService = packages.VectorService as ServiceClientConstructor;

/** Every method of the service, as its file names them. */
export const METHODS = Object.keys(VectorService.service);

export function encodeRequest(path: string, request: object): Buffer {
  const method = Object.values(VectorService.service).find((each) => each.path === path);
  return method?.requestSerialize(toStructs(request)) as Buffer;
}

/** The answer of the method with this path. */
export function decodeAnswer(path: string, bytes: Buffer): Record<string, Json> {
  const method = Object.values(VectorService.service).find((each) => each.path === path);
  return fromStructs(method?.responseDeserialize(bytes)) as Record<string, Json>;
}

export interface GrpcClientOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Called in place of the URL's host. */
  readonly authority?: string;
  /** Of the certificates, in PEM, when the URL is of https. */
  readonly ca?: string;
}

/** A client that knows nothing but the proto file. */
export class GrpcClient {
  readonly called = new Set<string>();
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor(url: string, { headers = {}, authority, ca }: GrpcClientOptions = {}) {
    const options: ChannelOptions = authority === undefined ? {} : { "grpc.default_authority": authority };
    const channel = ca === undefined ? credentials.createInsecure() : credentials.createSsl(Buffer.from(ca));
    this.#client = new VectorService(new URL(url).host, channel, options);
    for (const [name, value] of Object.entries(headers)) this.#metadata.set(name, value);
  }

  /** Rejects with grpc-js's error. */
  call(method: string, request: { readonly [name: string]: unknown }): Promise<Record<string, Json>> {
    type Unary = (
      request: object,
      metadata: Metadata,
      done: (error: ServiceError | null, answer: Json) => void,
    ) => void;
    const unary = (this.#client as unknown as Record<string, Unary>)[method] as Unary;
    return new Promise((done, fail) =>
      unary.call(this.#client, toStructs(request) as object, this.#metadata, (error, answer) => {
        if (error) return fail(error);
        this.called.add(method);
        done(fromStructs(answer) as Record<string, Json>);
      }),
    );
  }

  /** Sends bytes for a message, and takes them for an answer. */
  send(path: string, message: Buffer): Promise<Buffer | undefined> {
    const same = (bytes: Buffer) => bytes;
    return new Promise((done, fail) =>
      this.#client.makeUnaryRequest(path, same, same, message, this.#metadata, (error, answer) =>
        error ? fail(error) : done(answer),
      ),
    );
  }

  close(): void {
    this.#client.close();
  }
}

const STRUCTS: ReadonlySet<string> = new Set(["metadata", "filter", "setMetadata"]);

/** protobufjs does not know what a Struct stands for. */
function toStructs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toStructs);
  if (typeof value !== "object" || value === null) return value;
  return mapEntries(value, (name, entry) => (STRUCTS.has(name) ? toStruct(entry as object) : toStructs(entry)));
}

function toStruct(value: object): unknown {
  return { fields: mapEntries(value, (_, entry) => toValue(entry)) };
}

function toValue(value: unknown): unknown {
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  if (typeof value === "object" && value !== null) return { structValue: toStruct(value) };
  if (value === null) return { nullValue: 0 };
  return { [`${typeof value === "boolean" ? "bool" : typeof value}Value`]: value };
}

function fromStructs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromStructs);
  if (typeof value !== "object" || value === null) return value;
  return mapEntries(value, (name, entry) => (STRUCTS.has(name) ? fromStruct(entry) : fromStructs(entry)));
}

function fromStruct(struct: unknown): unknown {
  return struct && mapEntries((struct as { fields?: object }).fields ?? {}, (_, entry) => fromValue(entry as object));
}

function fromValue(value: object): unknown {
  const [[kind, inner] = ["", undefined]] = Object.entries(value);
  if (kind === "listValue") return (inner.values ?? []).map(fromValue);
  return kind === "structValue" ? fromStruct(inner) : inner;
}

function mapEntries(value: object, map: (name: string, entry: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, map(name, entry)]));
}
