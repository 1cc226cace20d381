import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { createFileRegistry, createRegistry, fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { credentials } from "@grpc/grpc-js";
import { GrpcReflection, serviceHelper } from "grpc-js-reflection-client";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection, type ServerReflectionResponse } from "../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { createReflection } from "../../src/rpc/reflection.ts";
import { DIALECTS, openRpcHarness, type RpcHarness } from "../support/rpc-harness.ts";

const BUF = new URL("../../node_modules/.bin/buf", import.meta.url).pathname;
const run = promisify(execFile);
const SERVICES = [BucketService, VectorService, Health];
const NAMES = [...SERVICES, ServerReflection, ServerReflectionV1Alpha].map(({ typeName }) => typeName).sort();

function open(t: TestContext): Promise<RpcHarness> {
  const vectors = defineService(VectorService, {
    putVectors: (request) => ({ putCount: BigInt(request.vectors.length) }),
  });
  return openRpcHarness(t, { services: [vectors, ...createReflection(SERVICES)] });
}

type Question =
  Parameters<ReturnType<typeof createClient<typeof ServerReflection>>["serverReflectionInfo"]>[0] extends AsyncIterable<
    infer R
  >
    ? R
    : never;

/** Asks one question and reads the answer. */
async function ask(harness: RpcHarness, messageRequest: NonNullable<Question["messageRequest"]>) {
  const dialect = DIALECTS.find(({ protocol }) => protocol === "grpc");
  assert.ok(dialect !== undefined);
  const client = createClient(ServerReflection, harness.transport(dialect));
  const answers: ServerReflectionResponse[] = [];
  for await (const answer of client.serverReflectionInfo(once({ host: "h", messageRequest }))) answers.push(answer);
  assert.equal(answers.length, 1);
  const [answer] = answers;
  assert.deepEqual([answer?.validHost, answer?.originalRequest?.messageRequest.case], ["h", messageRequest.case]);
  assert.ok(answer !== undefined);
  return answer.messageResponse;
}

async function* once<T>(value: T) {
  yield value;
}

async function filesOf(harness: RpcHarness, question: NonNullable<Question["messageRequest"]>) {
  const answer = await ask(harness, question);
  assert.equal(answer.case, "fileDescriptorResponse");
  return answer.case === "fileDescriptorResponse"
    ? answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
    : [];
}

function importsFirst(files: readonly FileDescriptorProto[]): FileDescriptorProto[] {
  const sorted = new Set<FileDescriptorProto>();
  const add = (file: FileDescriptorProto) => {
    for (const imported of files) if (file.dependency.includes(imported.name)) add(imported);
    sorted.add(file);
  };
  files.forEach(add);
  return [...sorted];
}

test("every service is listed once, the reflection itself too", async (t) => {
  const answer = await ask(await open(t), { case: "listServices", value: "" });
  assert.equal(answer.case, "listServicesResponse");
  if (answer.case === "listServicesResponse")
    assert.deepEqual(
      answer.value.service.map(({ name }) => name),
      NAMES,
    );
});

test("symbols of every kind lead to their file, first, and to all that it imports", async (t) => {
  const harness = await open(t);
  const expected = {
    "quiver.v1.VectorService": "quiver/v1/vector_service.proto",
    "quiver.v1.VectorService.PutVectors": "quiver/v1/vector_service.proto",
    "quiver.v1.PutVectorsRequest": "quiver/v1/vector_service.proto",
    "quiver.v1.PutVectorsRequest.vectors": "quiver/v1/vector_service.proto",
    "quiver.v1.DistanceMetric": "quiver/v1/resources.proto",
    "quiver.v1.DISTANCE_METRIC_COSINE": "quiver/v1/resources.proto",
    "google.protobuf.Value.kind": "google/protobuf/struct.proto",
  };
  for (const [symbol, file] of Object.entries(expected)) {
    const files = await filesOf(harness, { case: "fileContainingSymbol", value: symbol });
    assert.equal(files[0]?.name, file, symbol);
  }
  const files = await filesOf(harness, { case: "fileByFilename", value: "quiver/v1/vector_service.proto" });
  // Fails when an import is missing.
  const registry = createFileRegistry({ $typeName: FileDescriptorSetSchema.typeName, file: importsFirst(files) });
  assert.equal(registry.getService("quiver.v1.VectorService")?.methods.length, VectorService.methods.length);
  assert.ok(createRegistry(registry).getMessage("google.protobuf.Struct"));
});

test("what is unknown is NOT_FOUND in the answer, and the stream goes on", async (t) => {
  const harness = await open(t);
  for (const question of [
    { case: "fileByFilename", value: "no.proto" },
    { case: "fileContainingSymbol", value: "quiver.v1.Nope" },
    { case: "fileContainingExtension", value: { containingType: "quiver.v1.Vector", extensionNumber: 7 } },
    { case: "allExtensionNumbersOfType", value: "quiver.v1.Nope" },
  ] as const) {
    const answer = await ask(harness, question);
    assert.equal(answer.case, "errorResponse", question.case);
    if (answer.case === "errorResponse") assert.equal(answer.value.errorCode, Code.NotFound);
  }
  const none = await ask(harness, { case: "allExtensionNumbersOfType", value: "quiver.v1.Vector" });
  assert.equal(none.case, "allExtensionNumbersResponse");
});

test("buf curl lists and describes, and calls a method without files", async (t) => {
  const { url } = await open(t);
  const buf = async (...args: string[]) => (await run(BUF, ["curl", "--http2-prior-knowledge", ...args])).stdout;
  for (const protocol of ["grpc-v1", "grpc-v1alpha"]) {
    const listed = await buf("--reflect-protocol", protocol, "--list-services", url);
    assert.deepEqual(listed.trim().split("\n").sort(), NAMES);
  }
  const methods = await buf("--list-methods", url);
  assert.ok(methods.split("\n").includes("quiver.v1.VectorService/PutVectors"), methods);
  const body = '{"vectorBucketName":"b","vectors":[{"key":"a","data":{"float32":[1,2]}}]}';
  const called = await buf("--protocol", "grpc", "--data", body, `${url}/quiver.v1.VectorService/PutVectors`);
  assert.deepEqual(JSON.parse(called), { putCount: "1" });
});

test("grpc-js builds a client from reflection alone", async (t) => {
  const { port } = await open(t);
  const host = `127.0.0.1:${port.port}`;
  const reflection = new GrpcReflection(host, credentials.createInsecure());
  assert.deepEqual((await reflection.listServices()).sort(), NAMES);
  interface PutClient {
    putVectors(request: object, done: (error: Error | null, response: { put_count: string }) => void): void;
    close(): void;
  }
  const client = await serviceHelper<PutClient>({
    host,
    servicePath: "quiver.v1.VectorService",
    proto_symbol: "quiver.v1.VectorService",
    credentials: credentials.createInsecure(),
    protoLoaderOptions: { keepCase: true, longs: String },
  });
  t.after(() => client.close());
  const putCount = await new Promise<string>((resolve, reject) => {
    client.putVectors({ vector_bucket_name: "b", vectors: [{ key: "a" }, { key: "b" }] }, (error, response) =>
      error === null ? resolve(response.put_count) : reject(error),
    );
  });
  assert.equal(putCount, "2");
});

test("a reflection stream that a client keeps open ends when the server shuts down", async (t) => {
  const shutdown = new AbortController();
  const harness = await openRpcHarness(t, { services: createReflection(SERVICES), rpc: { shutdown: shutdown.signal } });
  const dialect = DIALECTS.find(({ protocol }) => protocol === "grpc");
  assert.ok(dialect !== undefined);
  const client = createClient(ServerReflection, harness.transport(dialect));
  const open = Promise.withResolvers<void>();
  t.after(() => open.resolve());
  async function* questions() {
    yield { messageRequest: { case: "listServices" as const, value: "" } };
    await open.promise;
  }
  const answers = client.serverReflectionInfo(questions())[Symbol.asyncIterator]();
  assert.equal((await answers.next()).done, false);
  shutdown.abort();
  await assert.rejects(answers.next(), { code: Code.Unavailable });
});

test("the details of errors are known, by file and by symbol, though no service names them", async (t) => {
  const harness = await open(t);
  const file = "google/rpc/error_details.proto";
  const byName = await filesOf(harness, { case: "fileByFilename", value: file });
  assert.equal(byName[0]?.name, file);
  const bySymbol = await filesOf(harness, { case: "fileContainingSymbol", value: "google.rpc.ErrorInfo" });
  assert.deepEqual(bySymbol.map(({ name }) => name).sort(), [file, "google/protobuf/duration.proto"].sort());
});
