import assert from "node:assert/strict";
import { before, suite, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { BadRequestSchema, ResourceInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess, serverOfFile } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const server = serverOfFile();

const ARN = "arn:aws:s3vectors:us-east-1:000000000000:bucket/";

for (const [protocol, transport] of Object.entries(PROTOCOLS)) {
  suite(protocol, () => {
    const bucket = protocol.replaceAll(" ", "-");
    const bucketArn = `${ARN}${bucket}`;
    const indexArn = `${bucketArn}/index/i`;
    let clients: Clients;

    before(async () => {
      clients = createClients(transport(server.url));
      assert.equal(await createIndex(clients, bucket, "i", { tags: { made: "with" } }), indexArn);
    });

    const tagsOf = async (resourceArn: string) => ({
      ...(await clients.tags.listTagsForResource({ resourceArn })).tags,
    });

    test("tags are added, replaced and removed, of buckets and of indexes apart", async () => {
      assert.deepEqual(await tagsOf(bucketArn), {});
      await clients.tags.tagResource({ resourceArn: bucketArn, tags: { team: "one", stage: "" } });
      await clients.tags.tagResource({ resourceArn: bucketArn, tags: { team: "two", ключ: "ü" } });
      assert.deepEqual(await tagsOf(bucketArn), { team: "two", stage: "", ключ: "ü" });
      assert.deepEqual(await tagsOf(indexArn), { made: "with" });
      await clients.tags.untagResource({ resourceArn: bucketArn, tagKeys: ["stage", "absent", "stage"] });
      await clients.tags.untagResource({ resourceArn: indexArn, tagKeys: ["made"] });
      assert.deepEqual(await tagsOf(bucketArn), { team: "two", ключ: "ü" });
      assert.deepEqual(await tagsOf(indexArn), {});
      const { vectorBucket } = await clients.buckets.getVectorBucket({ vectorBucketName: bucket });
      assert.deepEqual({ ...vectorBucket?.tags }, { team: "two", ключ: "ü" });
      await clients.tags.untagResource({ resourceArn: bucketArn, tagKeys: ["team", "ключ"] });
    });

    test("a resource has 50 tags and no 51st", async () => {
      const tags = Object.fromEntries(Array.from({ length: 49 }, (_, i) => [`k${i}`, `${i}`]));
      await clients.tags.tagResource({ resourceArn: indexArn, tags });
      await clients.tags.tagResource({ resourceArn: indexArn, tags: { k49: "49", k0: "again" } });
      const call = clients.tags.tagResource({ resourceArn: indexArn, tags: { k1: "lost", k50: "50" } });
      const error = await failureOf(call, Code.InvalidArgument, "INVALID_FIELD");
      assert.equal(error.rawMessage, "tags: Must be at most 50 tags with the 50 that are there, would be 51");
      assert.equal(error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field, "tags");
      assert.deepEqual(await tagsOf(indexArn), { ...tags, k49: "49", k0: "again" });
      await clients.tags.untagResource({ resourceArn: indexArn, tagKeys: Object.keys(await tagsOf(indexArn)) });
    });

    test("what is wrong in a request is refused and named", async () => {
      const many = Array.from({ length: 51 }, (_, i) => `k${i}`);
      const refused: [() => Promise<unknown>, string][] = [
        [() => clients.tags.tagResource({ resourceArn: bucketArn }), "tags"],
        [
          () =>
            clients.tags.tagResource({ resourceArn: bucketArn, tags: Object.fromEntries(many.map((k) => [k, ""])) }),
          "tags",
        ],
        [() => clients.tags.tagResource({ resourceArn: bucketArn, tags: { "": "empty" } }), "tags"],
        [() => clients.tags.tagResource({ resourceArn: bucketArn, tags: { a: "x".repeat(257) } }), 'tags["a"]'],
        [() => clients.tags.untagResource({ resourceArn: bucketArn }), "tag_keys"],
        [() => clients.tags.untagResource({ resourceArn: bucketArn, tagKeys: many }), "tag_keys"],
        [() => clients.tags.untagResource({ resourceArn: bucketArn, tagKeys: ["a", ""] }), "tag_keys[1]"],
        [() => clients.tags.untagResource({ resourceArn: bucketArn, tagKeys: ["x".repeat(129)] }), "tag_keys[0]"],
        [() => clients.tags.listTagsForResource({}), "resource_arn"],
        [() => clients.tags.listTagsForResource({ resourceArn: bucket }), "resource_arn"],
        [() => clients.tags.listTagsForResource({ resourceArn: `${indexArn}/` }), "resource_arn"],
        [() => clients.tags.listTagsForResource({ resourceArn: `${bucketArn}/indexes/i` }), "resource_arn"],
        [() => clients.tags.listTagsForResource({ resourceArn: `${bucketArn}/index/` }), "resource_arn"],
        [
          () => clients.tags.listTagsForResource({ resourceArn: bucketArn.replace("us-east-1", "eu-west-1") }),
          "resource_arn",
        ],
      ];
      for (const [call, field] of refused) {
        const error = await failureOf(call(), Code.InvalidArgument, "INVALID_FIELD");
        assert.equal(error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field, field, error.message);
      }
    });

    test("a resource that does not exist is not found", async () => {
      for (const [resourceArn, reason, name] of [
        [`${ARN}none`, "BUCKET_NOT_FOUND", "none"],
        [`${ARN}none/index/i`, "BUCKET_NOT_FOUND", "none"],
        [`${bucketArn}/index/none`, "INDEX_NOT_FOUND", `${bucket}/none`],
      ] as const) {
        for (const call of [
          () => clients.tags.listTagsForResource({ resourceArn }),
          () => clients.tags.tagResource({ resourceArn, tags: { a: "b" } }),
          () => clients.tags.untagResource({ resourceArn, tagKeys: ["a"] }),
        ]) {
          const error = await failureOf(call(), Code.NotFound, reason);
          assert.equal(error.findDetails(ResourceInfoSchema)[0]?.resourceName, name);
        }
      }
    });

    test("calls side by side lose none of each other's tags", async () => {
      for (const resourceArn of [bucketArn, indexArn]) {
        await clients.tags.tagResource({ resourceArn, tags: { old: "old" } });
        const calls = Array.from({ length: 49 }, (_, i) =>
          clients.tags.tagResource({ resourceArn, tags: { [`t${i}`]: `${i}` } }),
        );
        const expected = Object.fromEntries(calls.map((_, i) => [`t${i}`, `${i}`]));
        await Promise.all([...calls, clients.tags.untagResource({ resourceArn, tagKeys: ["old"] })]);
        assert.deepEqual(await tagsOf(resourceArn), expected);
        await clients.tags.untagResource({ resourceArn, tagKeys: Object.keys(expected) });
      }
    });
  });
}

test("tags are there again after a crash", async (t) => {
  const data = temporaryDirectory();
  let running = await ServerProcess.start(data);
  t.after(() => running.kill());
  const first = createClients(PROTOCOLS["Connect with JSON"]?.(running.url) ?? assert.fail());
  const resourceArn = await createIndex(first, "b", "i", { tags: { a: "1" } });
  await first.tags.tagResource({ resourceArn, tags: { b: "2" } });
  await first.tags.tagResource({ resourceArn: `${ARN}b`, tags: { c: "3", ["__proto__"]: "4" } });
  await running.kill();
  running = await ServerProcess.start(data);
  const second = createClients(PROTOCOLS["Connect with JSON"]?.(running.url) ?? assert.fail());
  assert.deepEqual({ ...(await second.tags.listTagsForResource({ resourceArn })).tags }, { a: "1", b: "2" });
  const { tags } = await second.tags.listTagsForResource({ resourceArn: `${ARN}b` });
  assert.deepEqual(Object.entries(tags).sort(), [
    ["__proto__", "4"],
    ["c", "3"],
  ]);
});
