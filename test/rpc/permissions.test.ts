import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { type CallOptions, Code, ConnectError, createClient } from "@connectrpc/connect";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { DataType, DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { failureOf } from "../support/resources.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const { READ_ONLY, READ_WRITE, ADMIN } = AccessRole;
const PLACE = { vectorBucketName: "b", indexName: "i", namespace: "" };
const ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/b";
const SETTINGS = { dimension: 2, dataType: DataType.FLOAT32, distanceMetric: DistanceMetric.EUCLIDEAN };
const QUERY = { ...PLACE, queryVector: { float32: [1, 2] }, topK: 1 };

let server: ServerProcess;
let clients: Clients;
let admin: CallOptions;

before(async () => {
  server = await ServerProcess.start(temporaryDirectory());
  clients = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
  const { apiKey } = await clients.admin.createAccessKey({ role: ADMIN });
  admin = { headers: { authorization: `Bearer ${apiKey}` } };
  for (const bucket of ["a", "b", "c"]) {
    await clients.buckets.createVectorBucket({ vectorBucketName: bucket }, admin);
    for (const indexName of ["i", "j"]) {
      await clients.indexes.createIndex({ vectorBucketName: bucket, indexName, ...SETTINGS }, admin);
    }
  }
  const vectors = [{ key: "k", data: { float32: [1, 2] }, metadata: { secret: 1 } }];
  await clients.vectors.putVectors({ ...PLACE, vectors }, admin);
});
after(() => server.kill());

interface Key extends CallOptions {
  readonly id: string;
}

async function createKey(
  role: AccessRole,
  ...scopes: { vectorBucketName?: string; indexName?: string; namespace?: string }[]
): Promise<Key> {
  const { accessKey, apiKey } = await clients.admin.createAccessKey({ role, scopes }, admin);
  return { id: accessKey?.accessKeyId ?? "", headers: { authorization: `Bearer ${apiKey}` } };
}

async function putPolicy(...statements: object[]): Promise<void> {
  const policy = JSON.stringify({ Version: "2012-10-17", Statement: statements });
  await clients.buckets.putVectorBucketPolicy({ vectorBucketName: "b", policy }, admin);
}

const denied = (call: Promise<unknown>) => failureOf(call, Code.PermissionDenied, "NOT_ALLOWED");

test("a policy allows what no role does, and what it denies is denied, except to mend it", async (t) => {
  t.after(() => clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin));
  const guest = await createKey(READ_ONLY, { vectorBucketName: "c" });
  const writer = await createKey(READ_WRITE);
  const put = { ...PLACE, vectors: [{ key: "guest", data: { float32: [1, 1] } }] };
  await denied(clients.vectors.putVectors(put, guest));
  await putPolicy({
    Effect: "Allow",
    Principal: { AWS: guest.id },
    Action: "s3vectors:PutVectors",
    Resource: `${ARN}/index/i`,
  });
  await clients.vectors.putVectors(put, guest);
  await denied(clients.vectors.getVectors({ ...PLACE, keys: ["guest"] }, guest));
  await denied(clients.vectors.putVectors({ ...put, indexName: "j" }, guest));

  await putPolicy({ Effect: "Deny", Principal: "*", Action: "s3vectors:*", Resource: "*" });
  for (const key of [guest, writer, admin]) await denied(clients.vectors.putVectors(put, key));
  await denied(clients.vectors.queryVectors(QUERY, admin));
  await denied(clients.indexes.getIndex(PLACE, writer));
  assert.deepEqual(namesOf(await clients.buckets.listVectorBuckets({}, writer)), ["a", "c"]);
  assert.match((await clients.buckets.getVectorBucketPolicy({ vectorBucketName: "b" }, admin)).policy, /Deny/);
});

test("metadata, data and filters need the right to read vectors, too", async (t) => {
  t.after(() => clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin));
  const key = await createKey(READ_WRITE);
  await putPolicy({ Effect: "Deny", Principal: { AWS: [key.id] }, Action: "s3vectors:GetVectors", Resource: "*" });
  assert.equal((await clients.vectors.queryVectors(QUERY, key)).vectors.length, 1);
  assert.equal((await clients.vectors.listVectors(PLACE, key)).vectors.length > 0, true);
  const filter = { secret: 1 };
  const update = { ...PLACE, filter, setMetadata: { x: 1 }, dryRun: true };
  const first = (stream: AsyncIterable<unknown>) => stream[Symbol.asyncIterator]().next();
  for (const call of [
    () => clients.vectors.queryVectors({ ...QUERY, filter }, key),
    () => clients.vectors.queryVectors({ ...QUERY, returnMetadata: true }, key),
    () => clients.vectors.queryVectors({ ...QUERY, returnData: true }, key),
    () => clients.vectors.batchQueryVectors({ ...PLACE, queries: [QUERY, { ...QUERY, filter }] }, key),
    () => clients.vectors.listVectors({ ...PLACE, returnMetadata: true }, key),
    () => clients.vectors.listVectors({ ...PLACE, filter }, key),
    () => clients.vectors.updateVectors(update, key),
    () => clients.vectors.deleteVectors({ ...PLACE, filter }, key),
    () => clients.indexes.measureRecall({ ...PLACE, topK: 1, filter }, key),
    () => first(clients.vectors.exportVectors({ ...PLACE, returnMetadata: true }, key)),
    () => first(clients.vectors.watchVectors({ ...PLACE, returnData: true }, key)),
  ]) {
    await denied(call());
  }
});

test("an update tells who may not read nothing of how large the stored metadata is", async (t) => {
  t.after(() => clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin));
  const key = await createKey(READ_WRITE);
  const updates = [{ key: "k", setMetadata: { filler: "x".repeat(2_030) } }];
  const update = { ...PLACE, updates, dryRun: true };
  const refusal = (options: CallOptions) =>
    clients.vectors.updateVectors(update, options).then(
      () => assert.fail("It fits"),
      (error) => ConnectError.from(error).rawMessage,
    );
  assert.match(await refusal(key), /has \d{4};.* once merged/);
  await putPolicy({ Effect: "Deny", Principal: { AWS: key.id }, Action: "s3vectors:GetVectors", Resource: "*" });
  assert.doesNotMatch(await refusal(key), /has \d/);
  assert.match(await refusal(key), /limits of a vector's metadata, once merged/);
});

test("idempotency keys are each access key's own", async () => {
  const [one, other] = await Promise.all([createKey(READ_WRITE), createKey(READ_WRITE)]);
  const put = (key: string) => ({ ...PLACE, idempotencyKey: "same", vectors: [{ key, data: { float32: [1, 2] } }] });
  await clients.vectors.putVectors(put("one"), one);
  await clients.vectors.putVectors(put("other"), other);
  const again = clients.vectors.putVectors(put("another"), one);
  await failureOf(again, Code.FailedPrecondition, "IDEMPOTENCY_KEY_REUSED");
});

test("who may not look cannot tell what is there from what is not", async () => {
  const key = await createKey(READ_WRITE, { vectorBucketName: "a" });
  const refusal = async (bucket: string, indexName: string) => {
    const place = { ...PLACE, vectorBucketName: bucket, indexName };
    const calls = [
      () => clients.indexes.getIndex(place, key),
      () => clients.vectors.getVectors({ ...place, keys: ["k"] }, key),
      () => clients.buckets.getVectorBucket({ vectorBucketName: bucket }, key),
      () => clients.buckets.createVectorBucket({ vectorBucketName: bucket }, key),
      () => clients.indexes.createIndex({ ...place, ...SETTINGS }, key),
      () => clients.jobs.startUpload({ ...place, vectors: [{ key: "k", data: { float32: [1, 2] } }] }, key),
    ];
    const errors = await Promise.all(
      calls.map((call) => call().then(() => assert.fail("It is let in"), ConnectError.from)),
    );
    return errors.map(({ code, rawMessage }) => {
      const message = rawMessage.replace(`"${bucket}/${indexName}"`, "<index>").replace(`"${bucket}"`, "<bucket>");
      return [code, message];
    });
  };
  assert.deepEqual(await refusal("b", "i"), await refusal("nowhere", "nothing"));
  assert.deepEqual(await refusal("b", "j"), await refusal("b", "nothing"));
});

test("lists leave out what the caller may not look at, page by page", async () => {
  const key = await createKey(READ_ONLY, { vectorBucketName: "a", indexName: "j" }, { vectorBucketName: "c*" });
  assert.deepEqual(namesOf(await clients.buckets.listVectorBuckets({}, key)), ["a", "c"]);
  const pages: string[] = [];
  let nextToken = "";
  do {
    const page = await clients.buckets.listVectorBuckets({ maxResults: 1, nextToken }, key);
    assert.equal(page.vectorBuckets.length, 1);
    // Where the next page starts is in the token.
    assert.ok(!Buffer.from(page.nextToken, "base64url").subarray(16).toString().includes("b"));
    pages.push(...namesOf(page));
    nextToken = page.nextToken;
  } while (nextToken !== "");
  assert.deepEqual(pages, ["a", "c"]);
  const { indexes } = await clients.indexes.listIndexes({ vectorBucketName: "a" }, key);
  assert.deepEqual(
    indexes.map(({ indexName }) => indexName),
    ["j"],
  );
  await denied(clients.indexes.listIndexes({ vectorBucketName: "b" }, key));
  const vectors = [{ key: "k", data: { float32: [1, 2] } }];
  const { job } = await clients.jobs.startUpload({ ...PLACE, vectors }, admin);
  assert.deepEqual((await clients.jobs.listJobs({}, key)).jobs, []);
  await failureOf(clients.jobs.getJob({ jobId: job?.jobId ?? "" }, key), Code.NotFound, "JOB_NOT_FOUND");
});

test("streams end when their key is revoked, in both directions", async () => {
  const key = await createKey(READ_WRITE);
  const watch = clients.vectors.watchVectors(PLACE, key)[Symbol.asyncIterator]();
  await watch.next();
  const sent = Promise.withResolvers<void>();
  const revoked = Promise.withResolvers<void>();
  async function* parts() {
    yield { ...PLACE, vectors: [{ key: "imported", data: { float32: [1, 2] } }] };
    sent.resolve();
    await revoked.promise;
  }
  const importing = failureOf(clients.vectors.importVectors(parts(), key), Code.Unauthenticated, "CREDENTIALS_INVALID");
  const watching = failureOf(readToEnd(watch), Code.Unauthenticated, "CREDENTIALS_INVALID");
  await sent.promise;
  await clients.admin.deleteAccessKey({ accessKeyId: key.id }, admin);
  await Promise.all([importing, watching]);
  revoked.resolve();
  await failureOf(clients.indexes.getIndex(PLACE, key), Code.Unauthenticated, "CREDENTIALS_INVALID");
});

test("streams end when a policy no longer allows them, and imports store nothing more", async (t) => {
  t.after(() => clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin));
  const key = await createKey(READ_WRITE);
  const stopped = { Effect: "Deny", Principal: { AWS: key.id }, Action: "s3vectors:*", Resource: "*" };
  const watch = clients.vectors.watchVectors(PLACE, key)[Symbol.asyncIterator]();
  await watch.next();
  const place = { ...PLACE, namespace: "policy" };
  const changed = Promise.withResolvers<void>();
  const vectors = [{ key: "first", data: { float32: [1, 2] } }];
  await clients.vectors.putVectors({ ...place, vectors }, admin);
  async function* parts() {
    yield { ...place, vectors: [{ key: "before", data: { float32: [1, 2] } }] };
    await changed.promise;
    yield { vectors: [{ key: "after", data: { float32: [1, 2] } }] };
  }
  const importing = denied(clients.vectors.importVectors(parts(), key));
  const keysOf = async () => (await clients.vectors.listVectors(place, admin)).vectors.map((vector) => vector.key);
  await until(async () => (await keysOf()).includes("before"));
  await putPolicy(stopped);
  changed.resolve();
  await importing;
  await clients.vectors.putVectors({ ...PLACE, vectors: [{ key: "seen", data: { float32: [1, 2] } }] }, admin);
  await denied(readToEnd(watch));
  assert.deepEqual(await keysOf(), ["before", "first"]);

  await clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin);
  await clients.vectors.queryVectors(QUERY, key);
});

test("a call whose request is still coming when its key is revoked is refused", async () => {
  const { accessKey, apiKey } = await clients.admin.createAccessKey({ role: ADMIN }, admin);
  const body = Buffer.from('{"role":"ACCESS_ROLE_ADMIN"}');
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  const answer = text(socket);
  socket.write(
    `POST /quiver.v1.AdminService/CreateAccessKey HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n` +
      `content-type: application/json\r\nexpect: 100-continue\r\nauthorization: Bearer ${apiKey}\r\ncontent-length: ${body.length}\r\n\r\n`,
  );
  // It has been let in, for it is asked for its body.
  await once(socket, "readable");
  socket.write(body.subarray(0, 5));
  await clients.admin.deleteAccessKey({ accessKeyId: accessKey?.accessKeyId ?? "" }, admin);
  socket.write(body.subarray(5));
  assert.match(await answer, /CREDENTIALS_INVALID/);
});

test("health and readiness tell strangers no names", async (t) => {
  t.after(() => clients.buckets.deleteVectorBucketPolicy({ vectorBucketName: "b" }, admin));
  await putPolicy({ Effect: "Allow", Principal: "*", Action: "s3vectors:*", Resource: "*" });
  const health = createClient(Health, (PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
  const names = async (options: CallOptions) =>
    Object.keys((await health.list({}, options)).statuses).filter((name) => name.startsWith("index:"));
  assert.deepEqual(await names({}), []);
  assert.equal((await names(admin)).length, 6);
  await failureOf(health.check({ service: "index:b/i" }), Code.NotFound, "INDEX_NOT_FOUND");
  const ready = (await (await fetch(`${server.url}/readyz`)).json()) as { ready: boolean; indexes: object };
  assert.deepEqual([ready.ready, ready.indexes], [true, {}]);
  const headers = admin.headers as Record<string, string>;
  const known = (await (await fetch(`${server.url}/readyz`, { headers })).json()) as { indexes: object };
  assert.deepEqual(Object.keys(known.indexes).length, 6);
});

async function readToEnd(iterator: AsyncIterator<unknown>): Promise<void> {
  while (!(await iterator.next()).done);
}

function namesOf({ vectorBuckets }: { vectorBuckets: { vectorBucketName: string }[] }): string[] {
  return vectorBuckets.map(({ vectorBucketName }) => vectorBucketName);
}
