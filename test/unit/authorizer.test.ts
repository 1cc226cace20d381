import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bucket, Engine } from "../../src/engine/engine.ts";
import { QuiverError } from "../../src/errors.ts";
import type { Authorizer } from "../../src/service/access/authorizer.ts";
import type { Caller } from "../../src/service/access/caller.ts";
import { nobody } from "../../src/service/access/callers.ts";
import { EVERYBODY, openAuthorizer } from "../support/everybody.ts";

const BUCKET = { bucket: "b" };
const INDEX = { bucket: "b", index: "i" };
const READER: Caller = { ...EVERYBODY, keyId: "QKREADER", role: "read-only" };
const ADMIN: Caller = { ...EVERYBODY, keyId: "QKADMIN" };

/** Of a server whose one bucket has this policy. */
function withPolicy(policy: string | undefined): Authorizer {
  return withBucket(async () => ({ policy }));
}

function withBucket(getBucket: () => Promise<Partial<Bucket>>): Authorizer {
  return openAuthorizer({ getBucket } as unknown as Engine);
}

function allowing(action: string): string {
  const statement = { Effect: "Allow", Principal: "*", Action: action, Resource: "*" };
  return JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
}

test("who brings no key may do nothing, whatever a policy allows every key", async () => {
  const stranger = nobody({ address: "127.0.0.1", secure: false });
  const open = withPolicy(allowing("s3vectors:*"));
  assert.equal(await open.may({ ...READER, scopes: [{ bucket: "other" }] }, "PutVectors", INDEX), true);
  assert.equal(await open.may(stranger, "PutVectors", INDEX), false);
  assert.equal(await open.may(stranger, "GetIndex", INDEX), false);
  for (const action of ["ListVectorBuckets", "ListJobs", "GetServerInfo"] as const) {
    assert.equal(await open.may(READER, action, {}), true, action);
    assert.equal(await open.may(stranger, action, {}), false, action);
  }
});

test("a policy that cannot be read any more denies everything but to mend it", async () => {
  const said: string[] = [];
  const getBucket = async () => ({ policy: '{"Version":"of another time"}' });
  const authorizer = openAuthorizer({ getBucket } as unknown as Engine, (message) => said.push(message));
  assert.equal(await authorizer.may(READER, "GetIndex", INDEX), false);
  assert.equal(await authorizer.may(ADMIN, "GetIndex", INDEX), false);
  assert.equal(await authorizer.may(READER, "PutVectorBucketPolicy", BUCKET), false);
  assert.equal(await authorizer.may(ADMIN, "PutVectorBucketPolicy", BUCKET), true);
  assert.equal(said.length, 1);
  assert.match(said[0] ?? "", /policy of vector bucket "b" cannot be read/);
});

test("a policy that cannot be looked up is not taken for none", async () => {
  const failed = new QuiverError("INTERNAL", "The store does not answer");
  const failing = withBucket(() => Promise.reject(failed));
  await assert.rejects(failing.may(ADMIN, "GetIndex", INDEX), failed);
  await assert.rejects(failing.authorize(ADMIN, "GetIndex", INDEX), failed);
  const none = withBucket(() => Promise.reject(new QuiverError("BUCKET_NOT_FOUND", "There is none")));
  assert.equal(await none.may(READER, "GetIndex", INDEX), true);
  assert.equal(await none.may(READER, "DeleteIndex", INDEX), false);
});

test("a key that has ended may do nothing any more", async () => {
  const ended = new AbortController();
  const caller = { ...ADMIN, signal: ended.signal };
  const authorizer = withPolicy(undefined);
  assert.equal(await authorizer.may(caller, "DeleteIndex", INDEX), true);
  const reason = new QuiverError("CREDENTIALS_INVALID", "The access key was deleted");
  ended.abort(reason);
  await assert.rejects(authorizer.may(caller, "DeleteIndex", INDEX), reason);
  await assert.rejects(authorizer.may({ ...caller, keyId: undefined }, "DeleteIndex", INDEX), reason);
});

test("a scope covers what lies in it, and lists that it may lie in", async () => {
  const authorizer = withPolicy(undefined);
  const of = (scopes: Caller["scopes"]) => ({ ...READER, scopes });
  const rows: [Caller["scopes"], Parameters<Authorizer["may"]>[1], Parameters<Authorizer["may"]>[2], boolean][] = [
    [[{ bucket: "b" }], "GetIndex", INDEX, true],
    [[{ bucket: "b" }], "GetIndex", { bucket: "bb", index: "i" }, false],
    [[{ bucket: "b*" }], "GetIndex", { bucket: "bb", index: "i" }, true],
    [[{ bucket: "b*" }], "GetIndex", INDEX, true],
    [[{ bucket: "b", index: "j" }], "GetIndex", INDEX, false],
    [
      [
        { bucket: "b", index: "j" },
        { bucket: "b", index: "i" },
      ],
      "GetIndex",
      INDEX,
      true,
    ],
    [[{ bucket: "b", index: "i", namespace: "n" }], "GetVectors", { ...INDEX, namespace: "n" }, true],
    [[{ bucket: "b", index: "i", namespace: "n" }], "GetVectors", { ...INDEX, namespace: "" }, false],
    [[{ bucket: "b", index: "i", namespace: "n" }], "GetIndex", INDEX, true],
    [[{ bucket: "b", index: "i" }], "ListVectorBuckets", {}, true],
  ];
  for (const [scopes, action, resource, expected] of rows) {
    const what = JSON.stringify([scopes, action, resource]);
    assert.equal(await authorizer.may(of(scopes), action, resource), expected, what);
  }
});

test("a refusal names the policy to those whom role and scopes would let in, and to nobody else", async () => {
  const deny = (sid: string | undefined) =>
    withPolicy(
      JSON.stringify({
        Version: "2012-10-17",
        Statement: [
          { Effect: "Allow", Principal: "*", Action: "s3vectors:*", Resource: "*" },
          { Sid: sid, Effect: "Deny", Principal: "*", Action: "s3vectors:*", Resource: "*" },
        ],
      }),
    );
  const refusal = (authorizer: Authorizer, caller: Caller, action: Parameters<Authorizer["may"]>[1] = "GetIndex") =>
    authorizer.authorize(caller, action, INDEX).then(
      () => assert.fail("It is let in"),
      (error: QuiverError) => {
        assert.equal(error.reason, "NOT_ALLOWED");
        return error.message;
      },
    );
  const byPolicy = 'The policy of vector bucket "b" denies GetIndex on index "b/i"';
  const byKey = 'The access key does not allow GetIndex on index "b/i"';
  const elsewhere = { ...READER, scopes: [{ bucket: "other" }] };
  for (const [sid, tail] of [
    ["Nobody", ': statement "Nobody"'],
    ["", ""],
    [undefined, ""],
    ["x".repeat(129), ""],
  ] as const) {
    assert.equal(await refusal(deny(sid), READER), `${byPolicy}${tail}`);
    assert.equal(await refusal(deny(sid), ADMIN), `${byPolicy}${tail}`);
    assert.equal(await refusal(deny(sid), elsewhere), byKey);
    assert.equal(await refusal(deny(sid), nobody({ address: "127.0.0.1", secure: false })), byKey);
  }
  assert.match(await refusal(deny("Nobody"), READER, "DeleteIndex"), /^The access key does not allow DeleteIndex/);
  assert.equal(await refusal(withPolicy(undefined), elsewhere), byKey);
  const unreadable = openAuthorizer({ getBucket: async () => ({ policy: "{}" }) } as unknown as Engine);
  assert.equal(await refusal(unreadable, READER), byPolicy);
});
