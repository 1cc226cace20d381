import assert from "node:assert/strict";
import { before, suite, test } from "node:test";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { BadRequestSchema, ResourceInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex, failureOf } from "../support/resources.ts";
import { ServerProcess, serverOfFile } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const server = serverOfFile();

const vectorsOf = (keys: readonly string[]) => keys.map((key) => ({ key, data: { float32: [1, 2] } }));

for (const [protocol, transport] of Object.entries(PROTOCOLS)) {
  suite(protocol, () => {
    const bucket = protocol.replaceAll(" ", "-");
    let clients: Clients;

    before(() => {
      clients = createClients(transport(server.url));
    });

    /** An index of its own for a test. */
    async function open(indexName: string, options: object = {}) {
      const indexArn = await createIndex(clients, bucket, indexName, options);
      const names = { vectorBucketName: bucket, indexName };
      const list = async (request: object = {}) => {
        const { namespaces } = await clients.namespaces.listNamespaces({ ...names, ...request });
        return namespaces.map(({ namespace, vectorCount }) => `${namespace} ${vectorCount}`);
      };
      const put = (namespace: string, keys: readonly string[]) =>
        clients.vectors.putVectors({ ...names, namespace, vectors: vectorsOf(keys) });
      return { indexArn, names, list, put };
    }

    test("a namespace is created by its call or by the first write, once", async () => {
      const { indexArn, names, list, put } = await open("create");
      const started = Date.now();
      const { namespace } = await clients.namespaces.createNamespace({ indexArn, namespace: "Made" });
      assert.deepEqual([namespace?.namespace, namespace?.vectorCount], ["Made", 0n]);
      const createdAt = namespace?.creationTime ? timestampMs(namespace.creationTime) : 0;
      assert.ok(createdAt >= started - 1_000 && createdAt <= Date.now() + 1_000, `created at ${createdAt}`);
      assert.deepEqual((await clients.namespaces.getNamespace({ indexArn, namespace: "Made" })).namespace, namespace);
      await put("written", ["a", "b"]);
      await put("Made", ["a"]);
      await put("__default__", ["c"]);
      assert.deepEqual(await list(), [" 1", "Made 1", "written 2"]);
      for (const taken of ["Made", "written", "", "__default__"]) {
        const call = clients.namespaces.createNamespace({ ...names, namespace: taken });
        await failureOf(call, Code.AlreadyExists, "NAMESPACE_EXISTS");
      }
      for (const spelling of ["", "__default__"]) {
        const { namespace: found } = await clients.namespaces.getNamespace({ ...names, namespace: spelling });
        assert.deepEqual([found?.namespace, found?.vectorCount], ["", 1n]);
      }
    });

    test("of calls side by side that create one namespace one succeeds", async () => {
      const { names } = await open("race");
      const calls = Array.from({ length: 16 }, () =>
        clients.namespaces.createNamespace({ ...names, namespace: "n" }).then(
          () => "created",
          (error: { code: Code }) => Code[error.code],
        ),
      );
      assert.deepEqual((await Promise.all(calls)).sort(), [...Array(15).fill("AlreadyExists"), "created"]);
    });

    test("pages list every namespace once, in byte order, the default one first", async () => {
      const { names, list } = await open("pages");
      const all = ["-".repeat(2), "Z", "a", "a.b", "a_b", "ab", "b"].map((name) => `0${name}`);
      for (const namespace of [...all].reverse()) await clients.namespaces.createNamespace({ ...names, namespace });
      const expected = ["", ...all.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))];
      for (const maxResults of [1, 2, 3, 8, 9]) {
        const seen: string[] = [];
        let nextToken = "";
        do {
          const page = await clients.namespaces.listNamespaces({ ...names, maxResults, nextToken });
          assert.ok(page.namespaces.length <= maxResults);
          seen.push(...page.namespaces.map(({ namespace }) => namespace));
          nextToken = page.nextToken;
        } while (nextToken !== "");
        assert.deepEqual(seen, expected, `pages of ${maxResults}`);
      }
      assert.deepEqual(await list({ prefix: "0a" }), ["0a 0", "0a.b 0", "0a_b 0", "0ab 0"]);
      assert.deepEqual(await list({ prefix: "none" }), []);
      const { nextToken } = await clients.namespaces.listNamespaces({ ...names, maxResults: 1 });
      const other = clients.namespaces.listNamespaces({ ...names, prefix: "0a", nextToken });
      await failureOf(other, Code.InvalidArgument, "PAGE_TOKEN_INVALID");
      const tooMany = clients.namespaces.listNamespaces({ ...names, maxResults: 1_001 });
      await failureOf(tooMany, Code.InvalidArgument, "INVALID_FIELD");
    });

    test("a namespace is deleted with its vectors, the default one is emptied", async () => {
      const { names, list, put } = await open("delete");
      await put("n", ["a", "b", "c"]);
      await put("other", ["a"]);
      const { lsn: written } = await put("", ["x", "y"]);
      const deleted = await clients.namespaces.deleteNamespace({ ...names, namespace: "n" });
      assert.equal(deleted.deletedCount, 3n);
      assert.ok(deleted.lsn > written);
      const emptied = await clients.namespaces.deleteNamespace({ ...names, namespace: "__default__" });
      assert.equal(emptied.deletedCount, 2n);
      assert.deepEqual(await list(), [" 0", "other 1"]);
      for (const call of [
        () => clients.namespaces.deleteNamespace({ ...names, namespace: "n" }),
        () => clients.namespaces.getNamespace({ ...names, namespace: "n" }),
        () => clients.vectors.listVectors({ ...names, namespace: "n" }),
      ]) {
        const error = await failureOf(call(), Code.NotFound, "NAMESPACE_NOT_FOUND");
        assert.equal(error.findDetails(ResourceInfoSchema)[0]?.resourceName, `${bucket}/delete/n`);
      }
      await put("n", ["d"]);
      const again = await clients.vectors.listVectors({ ...names, namespace: "n" });
      assert.deepEqual(
        again.vectors.map(({ key }) => key),
        ["d"],
      );
    });

    test("the namespaces of a protected index are not deleted, and not emptied", async () => {
      const { names, list, put } = await open("protected", { deletionProtection: true });
      await put("", ["a"]);
      await put("n", ["a"]);
      for (const namespace of ["", "n"]) {
        const call = clients.namespaces.deleteNamespace({ ...names, namespace });
        await failureOf(call, Code.FailedPrecondition, "DELETION_PROTECTED");
      }
      const absent = clients.namespaces.deleteNamespace({ ...names, namespace: "absent" });
      await failureOf(absent, Code.NotFound, "NAMESPACE_NOT_FOUND");
      assert.deepEqual(await list(), [" 1", "n 1"]);
      await clients.indexes.updateIndex({ ...names, deletionProtection: false });
      await clients.namespaces.deleteNamespace({ ...names, namespace: "n" });
      assert.deepEqual(await list(), [" 1"]);
    });

    test("wrong names are refused, absent indexes are not found", async () => {
      const { names } = await open("wrong");
      for (const namespace of ["_n", "a/b", "x".repeat(64), "ü", "__default"]) {
        for (const call of [
          () => clients.namespaces.createNamespace({ ...names, namespace }),
          () => clients.namespaces.getNamespace({ ...names, namespace }),
          () => clients.namespaces.deleteNamespace({ ...names, namespace }),
        ]) {
          const error = await failureOf(call(), Code.InvalidArgument, "INVALID_FIELD");
          assert.equal(error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field, "namespace");
        }
      }
      for (const [where, reason] of [
        [{ ...names, indexName: "none" }, "INDEX_NOT_FOUND"],
        [{ ...names, vectorBucketName: "none" }, "BUCKET_NOT_FOUND"],
      ] as const) {
        for (const call of [
          () => clients.namespaces.createNamespace({ ...where, namespace: "n" }),
          () => clients.namespaces.createNamespace(where),
          () => clients.namespaces.getNamespace(where),
          () => clients.namespaces.listNamespaces(where),
          () => clients.namespaces.deleteNamespace(where),
        ]) {
          await failureOf(call(), Code.NotFound, reason);
        }
      }
    });
  });
}

test("namespaces and their times are there again after a crash, deleted ones are not", async (t) => {
  const data = temporaryDirectory();
  let running = await ServerProcess.start(data);
  t.after(() => running.kill());
  const transport = PROTOCOLS["Connect with JSON"] ?? assert.fail();
  const first = createClients(transport(running.url));
  const indexArn = await createIndex(first, "b", "i");
  await first.namespaces.createNamespace({ indexArn, namespace: "empty" });
  await first.vectors.putVectors({ indexArn, namespace: "full", vectors: vectorsOf(["a"]) });
  await first.vectors.putVectors({ indexArn, namespace: "gone", vectors: vectorsOf(["a", "b"]) });
  await first.namespaces.deleteNamespace({ indexArn, namespace: "gone" });
  const { namespaces } = await first.namespaces.listNamespaces({ indexArn });
  assert.equal(namespaces.length, 3);
  await running.kill();
  running = await ServerProcess.start(data);
  const second = createClients(transport(running.url));
  assert.deepEqual((await second.namespaces.listNamespaces({ indexArn })).namespaces, namespaces);
});
