import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { AccessRole } from "../../../gen/quiver/v1/admin_service_pb.ts";
import { type Clients, createClients } from "../../support/protocols.ts";
import { createIndex } from "../../support/resources.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { GrpcClient, type GrpcClientOptions } from "./grpc-client.ts";

/** Every index has as many dimensions as its name has letters, which tells them apart. */
async function open(t: TestContext, indexes: readonly string[], args: readonly string[] = []) {
  const url = await startCompatServer(t, ["--hosts", "*", ...args]);
  const native = createClients(createGrpcTransport({ baseUrl: url }));
  for (const index of indexes) await createIndex(native, "default", index, { dimension: index.length });
  return { url, native };
}

/** The index that a call reaches, or its error. */
async function reached(url: string, options: GrpcClientOptions): Promise<string | ServiceError> {
  const client = new GrpcClient(url, options);
  try {
    const { dimension } = await client.call("DescribeIndexStats", {});
    return ["docs", "docs-old", "quiver"].find(({ length }) => length === dimension) ?? `${dimension}`;
  } catch (error) {
    return error as ServiceError;
  } finally {
    client.close();
  }
}

function assertUnnamed(outcome: string | ServiceError): void {
  assert.ok(typeof outcome === "object" && outcome.code === status.INVALID_ARGUMENT, `${outcome}`);
  assert.match(outcome.details, /^service-name: The call must say which index of vector bucket "default"/);
}

function assertAbsent(outcome: string | ServiceError): void {
  assert.ok(typeof outcome === "object" && outcome.code === status.NOT_FOUND, `${outcome}`);
}

const named = (name: string) => ({ "service-name": name });

test("the header service-name says which index, and nothing else does then", async (t) => {
  const { url } = await open(t, ["docs", "docs-old"]);
  assert.equal(await reached(url, { headers: named("docs") }), "docs");
  assert.equal(await reached(url, { headers: named("docs-old"), authority: "docs.localhost" }), "docs-old");
  assertAbsent(await reached(url, { headers: named("nope"), authority: "docs.localhost" }));
});

test("else the host says it: as Pinecone's, below localhost, or by its first label", async (t) => {
  const { url } = await open(t, ["docs", "docs-old", "quiver"]);
  const hosts = {
    "docs-a1b2c3d.svc.aped-4627-b74a.pinecone.io": "docs",
    "docs-old-a1b2c3d.svc.aped-4627-b74a.pinecone.io:443": "docs-old",
    "docs-old.localhost:8080": "docs-old",
    "DOCS.localhost": "docs",
    docs: "docs",
    "docs.example.com": "docs",
    "quiver.example.com:443": "quiver",
  };
  for (const [authority, index] of Object.entries(hosts)) {
    assert.equal(await reached(url, { authority, headers: named("") }), index, authority);
  }
});

test("a host of an index that is not there leads to no other one", async (t) => {
  const { url } = await open(t, ["docs"]);
  for (const authority of ["docs-old.localhost", "docs-old-a1b2c3d.svc.aped-4627-b74a.pinecone.io"]) {
    assertAbsent(await reached(url, { authority }));
  }
});

test("else the only index of the default bucket is meant, and the error says how to name one of several", async (t) => {
  const { url, native } = await open(t, []);
  const authorities = ["localhost", "127.0.0.1:8080", "vectors.example.com"];
  for (const authority of authorities) assertUnnamed(await reached(url, { authority }));
  await createIndex(native, "other", "quiver", { dimension: 6 });
  for (const authority of authorities) assertUnnamed(await reached(url, { authority }));
  await createIndex(native, "default", "docs", { dimension: 4 });
  for (const authority of authorities) assert.equal(await reached(url, { authority }), "docs", authority);
  await createIndex(native, "default", "docs-old", { dimension: 8 });
  for (const authority of authorities) assertUnnamed(await reached(url, { authority }));
});

test("the default bucket is that of --default-bucket", async (t) => {
  const { url, native } = await open(t, ["quiver"], ["--default-bucket", "other"]);
  await createIndex(native, "other", "docs", { dimension: 4 });
  assert.equal(await reached(url, {}), "docs");
  assertAbsent(await reached(url, { headers: named("quiver") }));
});

async function createKey({ admin }: Clients, apiKey: string, indexName?: string): Promise<Record<string, string>> {
  const scopes = indexName === undefined ? [] : [{ vectorBucketName: "default", indexName }];
  const request = { role: indexName === undefined ? AccessRole.ADMIN : AccessRole.READ_ONLY, scopes };
  const headers: Record<string, string> = apiKey === "" ? {} : { "api-key": apiKey };
  return { "api-key": (await admin.createAccessKey(request, { headers })).apiKey };
}

test("a key for one index means that one, and learns of no other", async (t) => {
  const { url, native } = await open(t, ["docs", "docs-old", "quiver"]);
  const admin = await createKey(native, "");
  const adminKey = admin["api-key"] ?? "";
  const docs = await createKey(native, adminKey, "docs");
  const both = await createKey(native, adminKey, "docs*");
  const none = await createKey(native, adminKey, "nope");
  assertUnnamed(await reached(url, { headers: admin }));
  assert.equal(await reached(url, { headers: docs }), "docs");
  assertUnnamed(await reached(url, { headers: both }));
  assertUnnamed(await reached(url, { headers: none }));
  // By a host that may be the server's own name, one that it may not see is as one that is not there.
  assert.equal(await reached(url, { headers: docs, authority: "quiver.example.com" }), "docs");
  for (const index of ["quiver", "nope-at-all"]) {
    const outcome = await reached(url, { headers: { ...docs, ...named(index) } });
    assert.ok(typeof outcome === "object" && outcome.code === status.PERMISSION_DENIED, `${outcome}`);
  }
});
