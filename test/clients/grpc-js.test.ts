import assert from "node:assert/strict";
import { test } from "node:test";
import { type Client, credentials, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { GrpcReflection } from "grpc-js-reflection-client";
import { startServer } from "../support/server.ts";
import { tour } from "./tour.ts";

type Json = null | string | number | boolean | Json[] | { [key: string]: Json };
type UnaryMethods = Record<string, (request: object, done: (error: Error | null, answer: Json) => void) => void>;

for (const version of ["v1", "v1alpha"]) {
  test(`@grpc/grpc-js does the tour with nothing but reflection ${version}`, async (t) => {
    const { host } = new URL((await startServer(t)).url);
    const reflection = new GrpcReflection(host, credentials.createInsecure(), {}, version);
    assert.ok((await reflection.listServices()).includes("quiver.v1.VectorService"));
    await tour("grpc-js", async (service, method, request) => {
      const descriptor = await reflection.getDescriptorBySymbol(`quiver.v1.${service}`);
      const packages = descriptor.getPackageObject({ enums: String, longs: String, defaults: true, oneofs: true });
      const constructors = (packages.quiver as GrpcObject).v1 as Record<string, ServiceClientConstructor>;
      const ServiceClient = constructors[service] as ServiceClientConstructor;
      const client: Client = new ServiceClient(host, credentials.createInsecure());
      try {
        return await new Promise((resolve, reject) => {
          (client as unknown as UnaryMethods)[method]?.(toMessage(request) as object, (error, answer) =>
            error ? reject(error) : resolve(fromMessage(answer)),
          );
        });
      } finally {
        client.close();
      }
    });
  });
}

const toSnakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const toCamelCase = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** ProtoJSON to what protobufjs takes from a descriptor: names in snake case, and Struct, which it does not know. */
function toMessage(value: unknown): unknown {
  return rename(value, toSnakeCase, toStruct);
}

function fromMessage(value: unknown): unknown {
  return rename(value, toCamelCase, fromStruct);
}

function rename(value: unknown, name: (name: string) => string, struct: (metadata: Json) => Json): unknown {
  if (Array.isArray(value)) return value.map((element) => rename(element, name, struct));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key, entry]) => !STRUCTS.has(key) || entry !== null);
  return Object.fromEntries(
    entries.map(([key, entry]) => [name(key), STRUCTS.has(key) ? struct(entry as Json) : rename(entry, name, struct)]),
  );
}

const STRUCTS: ReadonlySet<string> = new Set(["metadata", "filter", "setMetadata"]);

// Without its descriptor's options protobufjs takes a map as a list of entries.
function toStruct(value: Json): Json {
  return {
    fields: Object.entries(value as Record<string, Json>).map(([key, entry]) => ({ key, value: toValue(entry) })),
  };
}

function toValue(value: Json): Json {
  if (typeof value === "string") return { string_value: value };
  if (typeof value === "boolean") return { bool_value: value };
  if (typeof value === "number") return { number_value: value };
  if (value === null) return { null_value: 0 };
  if (Array.isArray(value)) return { list_value: { values: value.map(toValue) } };
  return { struct_value: toStruct(value) };
}

function fromStruct(struct: Json): Json {
  const { fields } = struct as { fields: { key: string; value: Record<string, Json> }[] };
  return Object.fromEntries(fields.map(({ key, value }) => [key, fromValue(value)]));
}

function fromValue(value: Record<string, Json>): Json {
  if (value.kind === "list_value") {
    const { values } = value.list_value as { values: Record<string, Json>[] };
    return values.map(fromValue);
  }
  return value[value.kind as string] as Json;
}
