import assert from "node:assert/strict";
import { before, after as onEnd, suite, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

let server: ServerProcess;

before(async () => {
  server = await ServerProcess.start(temporaryDirectory());
});
onEnd(() => server.kill());

const POLICY = `{ "Version": "2012-10-17", "Statement": [{"Sid":"ü","Effect":"Deny","Principal":"*","Action":"s3vectors:*","Resource":"*"}] }`;
const OTHER_POLICY = '{"Version":"1","Statement":[]}\n';
const NO_POLICIES = {
  "no JSON": "{",
  "no object": "[]",
  "no version": '{"Statement":[]}',
  "another version": '{"Version":"2008-10-17","Statement":[]}',
  "no statements": '{"Version":"2012-10-17"}',
  "an unknown member": '{"Version":"2012-10-17","Statement":[],"Statements":[]}',
  "no effect": '{"Version":"2012-10-17","Statement":[{"Action":"*"}]}',
  "an unknown effect": '{"Version":"2012-10-17","Statement":[{"Effect":"allow"}]}',
  "a statement on another bucket": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"arn:aws:s3vectors:us-east-1:000000000000:bucket/other"}]}`,
  "an unknown member of a statement": '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Actions":"*"}]}',
};

for (const [protocol, transport] of Object.entries(PROTOCOLS)) {
  suite(protocol, () => {
    const name = { vectorBucketName: protocol.replaceAll(" ", "-") };
    const byArn = { vectorBucketArn: `arn:aws:s3vectors:us-east-1:000000000000:bucket/${name.vectorBucketName}` };
    let clients: Clients;

    before(async () => {
      clients = createClients(transport(server.url));
      await createIndex(clients, name.vectorBucketName, "i");
    });

    test("a policy is answered byte for byte until it is deleted", async () => {
      await failureOf(clients.buckets.getVectorBucketPolicy(name), Code.NotFound, "POLICY_NOT_FOUND");
      await clients.buckets.putVectorBucketPolicy({ ...name, policy: POLICY });
      await clients.tags.tagResource({ resourceArn: byArn.vectorBucketArn, tags: { a: "b" } });
      assert.equal((await clients.buckets.getVectorBucketPolicy(byArn)).policy, POLICY);
      await clients.buckets.putVectorBucketPolicy({ ...byArn, policy: OTHER_POLICY });
      assert.equal((await clients.buckets.getVectorBucketPolicy(byArn)).policy, OTHER_POLICY);
      for (let i = 0; i < 2; i++) await clients.buckets.deleteVectorBucketPolicy(byArn);
      await failureOf(clients.buckets.getVectorBucketPolicy(name), Code.NotFound, "POLICY_NOT_FOUND");
    });

    for (const [what, policy] of Object.entries(NO_POLICIES)) {
      test(`${what} is refused and the policy stays`, async () => {
        await clients.buckets.putVectorBucketPolicy({ ...name, policy: POLICY });
        const call = clients.buckets.putVectorBucketPolicy({ ...name, policy });
        await failureOf(call, Code.InvalidArgument, "INVALID_FIELD");
        assert.equal((await clients.buckets.getVectorBucketPolicy(name)).policy, POLICY);
      });
    }

    test("a bucket that does not exist has no policy to speak of", async () => {
      const none = { vectorBucketName: "none" };
      const calls = [
        () => clients.buckets.putVectorBucketPolicy({ ...none, policy: POLICY }),
        () => clients.buckets.getVectorBucketPolicy(none),
        () => clients.buckets.deleteVectorBucketPolicy(none),
      ];
      for (const call of calls) await failureOf(call(), Code.NotFound, "BUCKET_NOT_FOUND");
    });
  });
}

test("policies are there after a crash", async () => {
  const clients = createClients((Object.values(PROTOCOLS)[0] as (typeof PROTOCOLS)[string])(server.url));
  await clients.buckets.createVectorBucket({ vectorBucketName: "kept" });
  await clients.buckets.putVectorBucketPolicy({ vectorBucketName: "kept", policy: POLICY });
  await server.kill();
  server = await ServerProcess.start(server.data);
  const again = createClients((Object.values(PROTOCOLS)[0] as (typeof PROTOCOLS)[string])(server.url));
  assert.equal((await again.buckets.getVectorBucketPolicy({ vectorBucketName: "kept" })).policy, POLICY);
});
