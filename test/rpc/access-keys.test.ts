import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  AccessRole,
  type CreateAccessKeyRequestSchema,
  ListAccessKeysResponseSchema,
} from "../../gen/quiver/v1/admin_service_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const INDEX = { vectorBucketName: "b", indexName: "i" };
const HOUR_MS = 3_600_000;
const clientsOf = (url: string): Clients => createClients((PROTOCOLS.gRPC as NonNullable<typeof PROTOCOLS.gRPC>)(url));
const by = (apiKey: string) => ({ headers: { authorization: `Bearer ${apiKey}` } });

/** A server with the index b/i, and the api key of its administrator. */
async function closedServer(t: TestContext): Promise<{ server: ServerProcess; admin: ReturnType<typeof by> }> {
  const server = await startServer(t);
  const clients = clientsOf(server.url);
  await createIndex(clients, INDEX.vectorBucketName, INDEX.indexName);
  const { apiKey } = await clients.admin.createAccessKey({ role: AccessRole.ADMIN });
  return { server, admin: by(apiKey) };
}

test("access keys are created, used, rotated, listed and deleted in every protocol", async (t) => {
  const { server, admin } = await closedServer(t);
  for (const transport of Object.values(PROTOCOLS)) {
    const clients = createClients(transport(server.url));
    const expireTime = timestampFromMs(Date.now() + 48 * HOUR_MS);
    const request = {
      displayName: "reader",
      role: AccessRole.READ_ONLY,
      scopes: [{ vectorBucketName: "b*", namespace: "" }],
      expireTime,
    };
    const created = await clients.admin.createAccessKey(request, admin);
    const { accessKeyId = "" } = created.accessKey ?? {};
    assert.equal(created.apiKey, `qk_${accessKeyId}_${created.secretAccessKey}`);
    const get = (apiKey: string) => clients.vectors.getVectors({ ...INDEX, keys: ["k"] }, by(apiKey));
    assert.deepEqual((await get(created.apiKey)).vectors, []);

    const rotated = await clients.admin.rotateAccessKey({ accessKeyId, overlapSeconds: 3_600 }, admin);
    for (const { apiKey } of [created, rotated]) await get(apiKey);
    const again = await clients.admin.rotateAccessKey({ accessKeyId }, admin);
    for (const { apiKey } of [created, rotated]) {
      await failureOf(get(apiKey), Code.Unauthenticated, "CREDENTIALS_INVALID");
    }

    const { accessKeys, nextToken } = await clients.admin.listAccessKeys({ prefix: accessKeyId }, admin);
    const [found] = accessKeys;
    assert.deepEqual([accessKeys.length, nextToken], [1, ""]);
    const { createTime, lastUseTime, expireTime: end, ...rest } = found ?? assert.fail();
    assert.deepEqual(
      {
        ...rest,
        scopes: rest.scopes.map(({ vectorBucketName, indexName, namespace }) => [
          vectorBucketName,
          indexName,
          namespace,
        ]),
      },
      {
        $typeName: "quiver.v1.AccessKey",
        accessKeyId,
        displayName: "reader",
        role: AccessRole.READ_ONLY,
        scopes: [["b*", "", ""]],
        allowSigning: false,
      },
    );
    assert.deepEqual(end, expireTime);
    assert.ok(createTime && Math.abs(timestampDate(createTime).getTime() - Date.now()) < HOUR_MS);
    assert.equal(Number(lastUseTime?.seconds) % 3_600, 0);

    await clients.admin.deleteAccessKey({ accessKeyId }, admin);
    await failureOf(get(again.apiKey), Code.Unauthenticated, "CREDENTIALS_INVALID");
    const gone = clients.admin.deleteAccessKey({ accessKeyId }, admin);
    await failureOf(gone, Code.NotFound, "ACCESS_KEY_NOT_FOUND");
  }
});

test("what is refused says why, and changes nothing", async (t) => {
  const server = await startServer(t);
  const { admin } = clientsOf(server.url);
  const past = timestampFromMs(Date.now() - 1);
  const { READ_ONLY, ADMIN } = AccessRole;
  for (const request of [{ role: READ_ONLY }, { role: ADMIN, expireTime: timestampFromMs(Date.now() + HOUR_MS) }]) {
    await failureOf(admin.createAccessKey(request), Code.FailedPrecondition, "LAST_ADMIN_KEY");
  }
  const invalid: MessageInitShape<typeof CreateAccessKeyRequestSchema>[] = [
    {},
    { role: 9 as AccessRole },
    { role: ADMIN, scopes: [{}] },
    { role: ADMIN, expireTime: past },
  ];
  for (const request of invalid) {
    await failureOf(admin.createAccessKey(request), Code.InvalidArgument, "INVALID_FIELD");
  }
  for (const seconds of [-(2n ** 60n), 2n ** 60n]) {
    const request = { role: ADMIN, expireTime: { seconds, nanos: 0 } };
    await failureOf(admin.createAccessKey(request), Code.InvalidArgument, "INVALID_FIELD");
  }
  const signing = admin.createAccessKey({ role: ADMIN, allowSigning: true });
  await failureOf(signing, Code.FailedPrecondition, "SECRETS_KEY_MISSING");
  // The server is open until here.
  assert.deepEqual((await admin.listAccessKeys({})).accessKeys, []);

  const { accessKey, apiKey } = await admin.createAccessKey({ role: ADMIN });
  const { accessKeyId = "" } = accessKey ?? {};
  await failureOf(admin.listAccessKeys({}), Code.Unauthenticated, "CREDENTIALS_MISSING");
  const as = by(apiKey);
  await failureOf(admin.deleteAccessKey({ accessKeyId }, as), Code.FailedPrecondition, "LAST_ADMIN_KEY");
  const long = admin.rotateAccessKey({ accessKeyId, overlapSeconds: 604_801 }, as);
  await failureOf(long, Code.InvalidArgument, "INVALID_FIELD");
  await failureOf(admin.rotateAccessKey({}, as), Code.InvalidArgument, "INVALID_FIELD");
  await failureOf(admin.rotateAccessKey({ accessKeyId: "QK" }, as), Code.NotFound, "ACCESS_KEY_NOT_FOUND");
  assert.equal((await admin.listAccessKeys({}, as)).accessKeys.length, 1);
});

test("a stream ends when the access key that began it is deleted or rotated, and no other does", async (t) => {
  const { server, admin } = await closedServer(t);
  const clients = clientsOf(server.url);
  const create = async () => clients.admin.createAccessKey({ role: AccessRole.READ_ONLY }, admin);
  const keys = [await create(), await create(), await create()];
  const watches = keys.map(({ apiKey }) => clients.vectors.watchVectors(INDEX, by(apiKey))[Symbol.asyncIterator]());
  const put = (key: string) =>
    clients.vectors.putVectors({ ...INDEX, vectors: [{ key, data: { float32: [1, 2] } }] }, admin);
  const started = watches.map((watch) => watch.next());
  await put("a");
  await Promise.all(started);
  const [first, second, kept] = watches.map((watch) => drain(watch));
  const refusals = [first, second].map((ended) =>
    failureOf(ended as Promise<void>, Code.Unauthenticated, "CREDENTIALS_INVALID"),
  );
  const end = kept?.catch((error: unknown) => ConnectError.from(error).code);
  await clients.admin.deleteAccessKey({ accessKeyId: keys[0]?.accessKey?.accessKeyId ?? "" }, admin);
  await clients.admin.rotateAccessKey({ accessKeyId: keys[1]?.accessKey?.accessKeyId ?? "" }, admin);
  await Promise.all(refusals);
  await server.stop();
  assert.equal(await end, Code.Unavailable);
});

test("access keys and their secrets outlive a crash; a wrong secrets key is a refused start in one sentence", async (t) => {
  const data = temporaryDirectory();
  const directory = temporaryDirectory();
  const [right, wrong, none] = ["right", "wrong", "none"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(right, `${randomBytes(32).toString("base64")}\n`);
  writeFileSync(wrong, randomBytes(32).toString("hex"));
  const start = async (...args: string[]) => {
    const server = await ServerProcess.start(data, args);
    t.after(() => server.kill());
    return server;
  };
  const server = await start("--secrets-key-file", right);
  const { admin } = clientsOf(server.url);
  const created = await admin.createAccessKey({ role: AccessRole.ADMIN, allowSigning: true });
  assert.equal(created.accessKey?.allowSigning, true);
  const as = by(created.apiKey);
  const list = async (url: string) =>
    toJson(ListAccessKeysResponseSchema, await clientsOf(url).admin.listAccessKeys({}, as));
  const before = await list(server.url);
  await server.kill();
  for (const args of [["--secrets-key-file", right], []]) {
    const again = await start(...args);
    assert.deepEqual(await list(again.url), before);
    assert.equal((await clientsOf(again.url).admin.verifyStorage({}, as)).intact, true);
    await again.stop();
  }
  const refusal = /^Error: The server ended with 2: quiver: [^\n]*--secrets-key-file[^\n]*\n$/;
  for (const file of [wrong, none]) await assert.rejects(start("--secrets-key-file", file), refusal);
  writeFileSync(wrong, "too short");
  await assert.rejects(start("--secrets-key-file", wrong), refusal);
  const env = { QUIVER_SECRETS_KEY: readFileSync(right, "utf8") };
  await assert.rejects(ServerProcess.start(data, ["--secrets-key-file", right], { env }), refusal);
  const last = await ServerProcess.start(data, [], { env });
  t.after(() => last.kill());
  assert.deepEqual(await list(last.url), before);
});

async function drain(watch: AsyncIterator<unknown>): Promise<void> {
  while (!(await watch.next()).done);
}

test("who was let in without a key no longer is once there is one", async (t) => {
  const server = await startServer(t);
  const clients = clientsOf(server.url);
  await createIndex(clients, "b", "i", { dimension: 2 });
  const place = { vectorBucketName: "b", indexName: "i", namespace: "" };
  const watch = clients.vectors.watchVectors(place)[Symbol.asyncIterator]();
  await watch.next();
  const ended = failureOf(watch.next(), Code.Unauthenticated, "CREDENTIALS_MISSING");
  await clients.admin.createAccessKey({ role: AccessRole.ADMIN });
  await ended;
});
