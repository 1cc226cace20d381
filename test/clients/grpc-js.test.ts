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
          (client as unknown as UnaryMethods)[method]?.(structs(request, toStruct) as object, (error, answer) =>
            error ? reject(error) : resolve(structs(answer, fromStruct)),
          );
        });
      } finally {
        client.close();
      }
    });
  });
}

/** protobufjs knows no Struct: `metadata` is turned by hand. */
function structs(value: unknown, turn: (struct: Json) => Json): unknown {
  if (Array.isArray(value)) return value.map((element) => structs(element, turn));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key, entry]) => key !== "metadata" || entry !== null);
  return Object.fromEntries(
    entries.map(([key, entry]) => [key, key === "metadata" ? turn(entry as Json) : structs(entry, turn)]),
  );
}

function toStruct(value: Json): Json {
  const fields = Object.entries(value as Record<string, Json>).map(([key, entry]) => [key, toValue(entry)]);
  return { fields: Object.fromEntries(fields) };
}

function toValue(value: Json): Json {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return { listValue: { values: (value as Json[]).map(toValue) } };
}

function fromStruct(struct: Json): Json {
  const { fields } = struct as { fields: Record<string, Json> };
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, fromValue(value as Record<string, Json>)]),
  );
}

function fromValue(value: Record<string, Json>): Json {
  if (value.kind === "listValue") {
    const { values } = value.listValue as { values: Record<string, Json>[] };
    return values.map(fromValue);
  }
  return value[value.kind as string] as Json;
}
