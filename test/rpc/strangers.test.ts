import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { type TestContext, test } from "node:test";
import { Code, createClient } from "@connectrpc/connect";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { AccessRole } from "../../gen/quiver/v1/admin_service_pb.ts";
import { QuiverError } from "../../src/errors.ts";
import { createHealth } from "../../src/rpc/health.ts";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { failureOf } from "../support/resources.ts";
import { envelope, openRpcHarness } from "../support/rpc-harness.ts";
import { startServer } from "../support/server.ts";

const STRANGER_BYTES = 65_535;
const ECHO_MAX = 1_100;

async function startWithKey(t: TestContext) {
  const server = await startServer(t);
  const transport = (PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url);
  const clients = createClients(transport);
  const { apiKey } = await clients.admin.createAccessKey({ role: AccessRole.ADMIN });
  return { url: server.url, transport, clients, headers: { authorization: `Bearer ${apiKey}` } };
}

test("a connection may send little at once until one of its calls is let in", async (t) => {
  const { url, headers } = await startWithKey(t);
  const session = connect(url);
  t.after(() => session.destroy());
  // The server may end before it.
  session.on("error", () => {});
  await once(session, "remoteSettings");
  assert.equal(session.remoteSettings.initialWindowSize, STRANGER_BYTES);
  assert.equal(session.state.remoteWindowSize, STRANGER_BYTES);
  const list = async (own: object) => {
    const stream = session.request({
      ":method": "POST",
      ":path": "/quiver.v1.BucketService/ListVectorBuckets",
      "content-type": "application/grpc",
      te: "trailers",
      ...own,
    });
    stream.end(envelope(new Uint8Array()));
    stream.resume();
    await once(stream, "close");
  };
  await list({ authorization: "Bearer wrong" });
  await list({});
  assert.equal(session.remoteSettings.initialWindowSize, STRANGER_BYTES);
  const more = once(session, "remoteSettings");
  await list(headers);
  await more;
  assert.ok((session.remoteSettings.initialWindowSize ?? 0) > 100 * STRANGER_BYTES);
});

test("what needs no access key takes short messages only", async (t) => {
  const { transport, clients, headers } = await startWithKey(t);
  const health = createClient(Health, transport);
  await failureOf(health.check({ service: "x".repeat(60_000) }), Code.NotFound, "SERVICE_NOT_FOUND");
  await failureOf(health.check({ service: "x".repeat(70_000) }), Code.ResourceExhausted, "REQUEST_TOO_LARGE");
  // The control: with one, messages may be long.
  await failureOf(clients.jobs.getJob({ jobId: "x".repeat(70_000) }, { headers }), Code.NotFound, "JOB_NOT_FOUND");
});

test("no error echoes more than a part of what it is about", async (t) => {
  const { clients, headers } = await startWithKey(t);
  const long = "\u{1f600}".repeat(1_000_000);
  const place = { vectorBucketName: "b", indexName: "i" };
  for (const call of [
    () => clients.jobs.getJob({ jobId: long }, { headers }),
    () => clients.admin.deleteAccessKey({ accessKeyId: long }, { headers }),
    () => clients.buckets.getVectorBucket({ vectorBucketName: long }, { headers }),
    () => clients.tags.listTagsForResource({ resourceArn: long }, { headers }),
    () => clients.vectors.getVectors({ ...place, keys: [long] }, { headers }),
    () =>
      clients.indexes.getIndex({ indexArn: `arn:aws:s3vectors:us-east-1:000000000000:bucket/${long}` }, { headers }),
  ]) {
    const error = await call().then(
      () => assert.fail("It is there"),
      (thrown) => thrown,
    );
    assert.ok(error.rawMessage.length < ECHO_MAX, `${error.rawMessage.length} characters`);
    assert.ok(error.rawMessage.isWellFormed());
  }
});

test("an open stream of somebody without an access key does not keep a silent connection open", async (t) => {
  const services = [createHealth({ services: [], state: () => ({ ready: true, storage: "healthy", indexes: {} }) })];
  const identify = () => {
    throw new QuiverError("CREDENTIALS_MISSING", "There is no key");
  };
  const limits = { idleTimeoutMs: 100 };
  const strict = await openRpcHarness(t, { services, limits, rpc: { identify } });
  const open = await openRpcHarness(t, { services, limits });
  const watch = async (url: string) => {
    const session = connect(url);
    t.after(() => session.destroy());
    session.on("error", () => {});
    const headers = { ":method": "POST", ":path": "/grpc.health.v1.Health/Watch", "content-type": "application/grpc" };
    const stream = session.request({ ...headers, te: "trailers" });
    stream.on("error", () => {});
    stream.end(envelope(new Uint8Array()));
    await once(stream, "data");
    return session;
  };
  const [stranger, known] = [await watch(strict.url), await watch(open.url)];
  await once(stranger, "close");
  assert.equal(known.closed, false);
  known.destroy();
});
