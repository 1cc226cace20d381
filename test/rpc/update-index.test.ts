import assert from "node:assert/strict";
import { before, suite, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { BadRequestSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess, serverOfFile } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const server = serverOfFile();

for (const [protocol, transport] of Object.entries(PROTOCOLS)) {
  suite(protocol, () => {
    const bucket = protocol.replaceAll(" ", "-");
    const names = { vectorBucketName: bucket, indexName: "i" };
    let clients: Clients;
    let indexArn: string;

    before(async () => {
      clients = createClients(transport(server.url));
      indexArn = await createIndex(clients, bucket, "i", { hnsw: { m: 8, efConstruction: 64 }, tags: { a: "b" } });
    });

    const settings = async () => {
      const { index } = await clients.indexes.getIndex(names);
      return [index?.deletionProtection, index?.hnsw?.m, index?.hnsw?.efConstruction];
    };

    test("what a request leaves out stays as it was", async () => {
      const before = await clients.indexes.getIndex(names);
      assert.deepEqual((await clients.indexes.updateIndex(names)).index, before.index);
      const changes: [object, unknown[]][] = [
        [{ hnsw: {} }, [false, 8, 64]],
        [{ hnsw: { m: 2 } }, [false, 2, 64]],
        [{ hnsw: { efConstruction: 4096 } }, [false, 2, 4096]],
        [{ deletionProtection: true, hnsw: { m: 256, efConstruction: 8 } }, [true, 256, 8]],
        [{ hnsw: { m: 0 } }, [true, 256, 8]],
        [{ deletionProtection: false }, [false, 256, 8]],
      ];
      for (const [change, expected] of changes) {
        const { index } = await clients.indexes.updateIndex({ indexArn, ...change });
        assert.deepEqual([index?.deletionProtection, index?.hnsw?.m, index?.hnsw?.efConstruction], expected);
        assert.deepEqual(await settings(), expected);
      }
      const { index } = await clients.indexes.getIndex(names);
      assert.deepEqual({ ...index, hnsw: undefined }, { ...before.index, hnsw: undefined });
    });

    test("what is out of range is refused and changes nothing", async () => {
      const before = await settings();
      for (const [hnsw, field] of [
        [{ m: 1 }, "hnsw.m"],
        [{ m: 257 }, "hnsw.m"],
        [{ efConstruction: 7 }, "hnsw.ef_construction"],
        [{ m: 5, efConstruction: 4097 }, "hnsw.ef_construction"],
      ] as const) {
        const call = clients.indexes.updateIndex({ ...names, deletionProtection: true, hnsw });
        const error = await failureOf(call, Code.InvalidArgument, "INVALID_FIELD");
        assert.equal(error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field, field);
      }
      assert.deepEqual(await settings(), before);
      await failureOf(clients.indexes.updateIndex({}), Code.InvalidArgument, "INVALID_FIELD");
      const absent = { ...names, indexName: "none" };
      await failureOf(clients.indexes.updateIndex(absent), Code.NotFound, "INDEX_NOT_FOUND");
      const nowhere = { vectorBucketName: "none", indexName: "i" };
      await failureOf(clients.indexes.updateIndex(nowhere), Code.NotFound, "BUCKET_NOT_FOUND");
    });

    test("a protected index is deleted only once that is ended", async () => {
      await createIndex(clients, bucket, "precious", { deletionProtection: true });
      const precious = { ...names, indexName: "precious" };
      await failureOf(clients.indexes.deleteIndex(precious), Code.FailedPrecondition, "DELETION_PROTECTED");
      await clients.indexes.updateIndex({ ...precious, hnsw: { m: 4 } });
      await failureOf(clients.indexes.deleteIndex(precious), Code.FailedPrecondition, "DELETION_PROTECTED");
      await clients.indexes.updateIndex({ ...precious, deletionProtection: false });
      await clients.indexes.deleteIndex(precious);
      await failureOf(clients.indexes.getIndex(precious), Code.NotFound, "INDEX_NOT_FOUND");
    });

    test("changes side by side lose nothing of each other", async () => {
      await Promise.all([
        clients.indexes.updateIndex({ ...names, hnsw: { m: 33 } }),
        clients.indexes.updateIndex({ ...names, deletionProtection: true }),
        clients.tags.tagResource({ resourceArn: indexArn, tags: { c: "d" } }),
        clients.indexes.updateIndex({ ...names, hnsw: { efConstruction: 99 } }),
      ]);
      assert.deepEqual(await settings(), [true, 33, 99]);
      const { index } = await clients.indexes.getIndex(names);
      assert.deepEqual({ ...index?.tags }, { a: "b", c: "d" });
    });
  });
}

test("a changed index is as it was changed after a crash", async (t) => {
  const data = temporaryDirectory();
  let running = await ServerProcess.start(data);
  t.after(() => running.kill());
  const transport = PROTOCOLS["Connect with JSON"] ?? assert.fail();
  const clients = createClients(transport(running.url));
  const indexArn = await createIndex(clients, "b", "i");
  const { index } = await clients.indexes.updateIndex({ indexArn, deletionProtection: true, hnsw: { m: 5 } });
  await running.kill();
  running = await ServerProcess.start(data);
  assert.deepEqual((await createClients(transport(running.url)).indexes.getIndex({ indexArn })).index, index);
});
