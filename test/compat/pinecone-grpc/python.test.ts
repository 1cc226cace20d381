import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { status } from "@grpc/grpc-js";
import { AccessRole } from "../../../gen/quiver/v1/admin_service_pb.ts";
import { DistanceMetric } from "../../../gen/quiver/v1/resources_pb.ts";
import { createCa, createCertificate, writePair } from "../../support/certificates.ts";
import { createClients } from "../../support/protocols.ts";
import { createIndex } from "../../support/resources.ts";
import { ServerProcess } from "../../support/server.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { startConnectProxy } from "../support/connect-proxy.ts";
import { runPython, WITH_PYTHON } from "../support/python.ts";
import { OPERATIONS } from "./operations.ts";

/** Pinecone's Python client with Google's gRPC, of which 8 is the last, and with one of its own. */
const CLIENTS = { "8": "venv-pinecone-grpc", "10": "venv" } as const;

/** The name with which an error of the client begins, by what is wrong; 8 has one for all. */
const ERRORS = {
  dimension: ["INVALID_ARGUMENT", "ApiError"],
  nan: ["INVALID_ARGUMENT", "ApiError"],
  "infinity in a query": ["INVALID_ARGUMENT", "ApiError"],
  "no namespace": ["NOT_FOUND", "NotFoundError"],
  "namespace exists": ["ALREADY_EXISTS", "ConflictError"],
  "no index": ["NOT_FOUND", "NotFoundError"],
  "wrong key": ["UNAUTHENTICATED", "UnauthorizedError"],
  "read-only key": ["PERMISSION_DENIED", "ForbiddenError"],
} as const;

const A = { id: "a", values: [1, 0], metadata: { s: "x", n: 1.5, b: true, l: ["p", "q"] }, sparse: {} };
const B = { id: "b", values: [0.5, 2], metadata: { s: "y" }, sparse: { 3: 0.25, 7: 0.5 } };
const C = { id: "c", values: [3, 3], metadata: {}, sparse: {} };

const EVERY_METHOD = {
  upsert: 2,
  "upsert in batches": 25,
  fetch: { b: B },
  fetch_by_metadata: { a: A },
  query: [
    { ...C, score: 3 },
    { ...A, score: 1 },
  ],
  "query by id": ["c"],
  "query sparse": ["b"],
  "query with a filter": ["b"],
  list: ["m1", "m10", "m11", "m12", "m13", "m14", "m15", "m16", "m17", "m18", "m19"],
  list_paginated: ["a", "b"],
  update: { a: { ...A, values: [5, 6], metadata: { ...A.metadata, n: 2 } } },
  describe_index_stats: { dimension: 2, total: 29, namespaces: { __default__: 1, many: 25, ns: 3 } },
  delete: ["c"],
  create_namespace: { name: "made", count: 0 },
  describe_namespace: { name: "ns", count: 1 },
  list_namespaces: ["__default__", "made", "many", "ns"],
  delete_namespace: ["__default__", "many", "ns"],
};

interface Failure {
  readonly class: string;
  readonly message: string;
}

const metric = { distanceMetric: DistanceMetric.DOT_PRODUCT };
const nativeOf = (baseUrl: string, ca?: string) =>
  createClients(createGrpcTransport({ baseUrl, nodeOptions: { ...(ca && { ca }) } }));

for (const [version, environment] of Object.entries(CLIENTS)) {
  const run = (settings: object, env: NodeJS.ProcessEnv = {}) =>
    runPython("pinecone-grpc.py", [JSON.stringify(settings)], env, environment);

  test(`Pinecone's Python client ${version} calls every method, by host`, WITH_PYTHON, async (t) => {
    const audit = join(temporaryDirectory(), "audit.log");
    const url = await startCompatServer(t, ["--audit-log", audit]);
    await createIndex(nativeOf(url), "default", "docs", metric);
    assert.deepEqual(await run({ task: "every method", host: new URL(url).host }), EVERY_METHOD);
    const succeeded = new Set(
      entriesIn(audit)
        .filter(({ code }) => code === "OK")
        .map(({ method }) => method),
    );
    for (const { operation, status } of OPERATIONS)
      assert.equal(succeeded.has(`VectorService/${operation}`), status !== "not offered", operation);
  });

  test(`Pinecone's Python client ${version} calls every method over TLS`, WITH_PYTHON, async (t) => {
    const ca = await createCa("CA");
    const directory = temporaryDirectory();
    const url = await startCompatServer(t, writePair(directory, await createCertificate("server", ca)));
    await createIndex(nativeOf(url, ca.cert), "default", "docs", metric);
    const file = join(directory, "ca.pem");
    writeFileSync(file, ca.cert);
    const settings = { task: "every method", host: new URL(url).host, ca: file };
    assert.deepEqual(await run(settings, { SSL_CERT_FILE: file }), EVERY_METHOD);
  });

  test(`Pinecone's Python client ${version} opens one of several indexes`, WITH_PYTHON, async (t) => {
    const url = await startCompatServer(t, ["--hosts", "*"]);
    const native = nativeOf(url);
    await createIndex(native, "default", "docs", { dimension: 4 });
    await createIndex(native, "default", "docs-old", { dimension: 8 });
    const { host, port } = new URL(url);
    const places = {
      // The newer client sends no name: it needs a host of the index, or the key of one.
      ...(version === "8" && { "by name and host": { name: "docs-old", host } }),
      "by Pinecone's host": { host: `docs-old-a1b2c3d.svc.aped-4627-b74a.pinecone.io:${port}`, proxy: "" },
      "by a host of one's own": { host: `docs.vectors.example:${port}`, proxy: "" },
    };
    const proxy = await startConnectProxy(t, Number(port));
    for (const place of Object.values(places)) if ("proxy" in place) place.proxy = proxy;
    const expected = {
      ...(version === "8" && { "by name and host": 8 }),
      "by Pinecone's host": 8,
      "by a host of one's own": 4,
    };
    assert.deepEqual(await run({ task: "dimensions", host, places }, { NO_PROXY: "", no_proxy: "" }), expected);
  });

  test(`Pinecone's Python client ${version} raises its own classes of errors`, WITH_PYTHON, async (t) => {
    const url = await startCompatServer(t);
    const native = nativeOf(url);
    await createIndex(native, "default", "docs", metric);
    const { apiKey } = await native.admin.createAccessKey({ role: AccessRole.ADMIN });
    const options = { headers: { "api-key": apiKey } };
    const readOnly = await native.admin.createAccessKey({ role: AccessRole.READ_ONLY }, options);
    const { port } = new URL(url);
    const settings = { task: "errors", host: `127.0.0.1:${port}`, apiKey, readOnlyKey: readOnly.apiKey };
    const proxy = await startConnectProxy(t, Number(port));
    const errors = (await run(
      { ...settings, hostOfNone: `nope.localhost:${port}`, proxy },
      { NO_PROXY: "", no_proxy: "" },
    )) as Record<string, Failure>;
    for (const [what, [code, own]] of Object.entries(ERRORS)) {
      const { class: name, message } = errors[what] as Failure;
      assert.equal(name, version === "8" ? "PineconeException" : own, `${what}: ${message}`);
      assert.match(message, version === "8" ? new RegExp(`grpc_status:${status[code]},`) : new RegExp(code), what);
    }
  });

  test(`Pinecone's Python client ${version} tries again what is UNAVAILABLE`, WITH_PYTHON, async (t) => {
    const directory = temporaryDirectory();
    const audit = join(directory, "audit.log");
    const server = await ServerProcess.start(join(directory, "data"), ["--audit-log", audit], {
      env: { QUIVER_TEST_FAILPOINTS: "after-write=throw@10" },
    });
    t.after(() => server.kill());
    const native = nativeOf(server.url);
    await createIndex(native, "default", "docs", metric);
    const vectors = [{ key: "k", data: { float32: [1, 2] } }];
    const put = () => native.vectors.putVectors({ vectorBucketName: "default", indexName: "docs", vectors });
    const isReadOnly = () =>
      put().then(
        () => false,
        () => true,
      );
    for (let writes = 0; !(await isReadOnly()); writes++) assert.ok(writes < 10);

    const failure = (await run({ task: "upsert", host: new URL(server.url).host })) as Failure;
    assert.match(failure.message, /The store is read-only/);
    await server.stop();
    assert.deepEqual(attemptsIn(audit), Array(version === "8" ? 5 : 3).fill("UNAVAILABLE"));
  });

  test(
    `Pinecone's Python client ${version} tries ${version === "8" ? "once" : "again"} what is RESOURCE_EXHAUSTED`,
    WITH_PYTHON,
    async (t) => {
      const audit = join(temporaryDirectory(), "audit.log");
      const url = await startCompatServer(t, ["--audit-log", audit, "--vectors-per-second-per-index", "1"]);
      const native = nativeOf(url);
      await createIndex(native, "default", "docs", metric);
      // As many as may come in 1,000 seconds.
      const vectors = Array.from({ length: 1_000 }, (_, i) => ({ key: `${i}`, data: { float32: [1, 2] } }));
      await native.vectors.putVectors({ vectorBucketName: "default", indexName: "docs", vectors });
      const { message } = (await run({ task: "upsert", host: new URL(url).host })) as Failure;
      assert.match(message, /Too many vectors/);
      assert.deepEqual(attemptsIn(audit), Array(version === "8" ? 1 : 3).fill("RESOURCE_EXHAUSTED"));
    },
  );
}

function entriesIn(audit: string): readonly { readonly method: string; readonly code: string }[] {
  const lines = readFileSync(audit, "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line));
}

test("Pinecone's Python client 10 opens by name the only index that its key may look at", WITH_PYTHON, async (t) => {
  const url = await startCompatServer(t);
  const native = nativeOf(url);
  await createIndex(native, "default", "docs", { dimension: 4 });
  await createIndex(native, "default", "docs-old", { dimension: 8 });
  const { apiKey: admin } = await native.admin.createAccessKey({ role: AccessRole.ADMIN });
  const scopes = [{ vectorBucketName: "default", indexName: "docs-old" }];
  const request = { role: AccessRole.READ_ONLY, scopes };
  const { apiKey } = await native.admin.createAccessKey(request, { headers: { "api-key": admin } });
  const places = { "by name": { name: "docs-old", host: "" } };
  const settings = { task: "dimensions", host: new URL(url).host, controlPlane: `${url}/pinecone`, apiKey, places };
  assert.deepEqual(await runPython("pinecone-grpc.py", [JSON.stringify(settings)]), { "by name": 8 });
});

/** How the calls of Upsert ended. */
function attemptsIn(audit: string): readonly string[] {
  return entriesIn(audit)
    .filter(({ method }) => method === "VectorService/Upsert")
    .map(({ code }) => code);
}
