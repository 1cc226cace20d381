import assert from "node:assert/strict";
import { Agent } from "node:http";
import { suite, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import { PutVectorsRequestSchema, VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { QuiverError } from "../../src/errors.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import {
  DIALECTS,
  type Dialect,
  envelope,
  openRpcHarness,
  type RawResponse,
  sendHttp1,
  sendHttp2,
} from "../support/rpc-harness.ts";

const SECRET = "the password of the database";
const MIB = 1024 * 1024;

/** What a put does is chosen by the bucket's name, and what an export does likewise. */
function misbehave(name: string): void {
  switch (name) {
    case "details":
      throw new QuiverError("ITEM_LIMIT", "Index is full", {
        metadata: { max: "10", current: "10", requested_new: "2" },
        violations: [{ field: "vectors[3].key", description: "is one too many" }],
        retryAfterMs: 1_500,
        resource: { type: "index", name: "b/i" },
      });
    case "precondition":
      throw new QuiverError("BUCKET_NOT_EMPTY", "Bucket is not empty", { resource: { type: "bucket", name: "b" } });
    case "unknown":
      throw new TypeError(SECRET);
    case "disk":
      throw new QuiverError("WRITE_OUTCOME_UNKNOWN", "The write may be stored", { cause: new Error(SECRET) });
    case "shutdown":
      throw new QuiverError("SHUTTING_DOWN", "The server shuts down");
    case "gone":
      throw Object.assign(new Error("write ECANCELED"), { code: "ECANCELED", syscall: "write" });
    case "unsendable":
      throw new QuiverError("INVALID_FIELD", `Bad name "\ud800" ${"x".repeat(100_000)}`, {
        violations: Array.from({ length: 5_000 }, (_, i) => ({ field: `vectors[${i}].key`, description: "is empty" })),
      });
  }
}

const never = () => new Promise<never>(() => {});

const vectors = defineService(VectorService, {
  async putVectors(request) {
    misbehave(request.vectorBucketName);
    if (request.vectorBucketName === "slow") await never();
    return { lsn: 7n, putCount: BigInt(request.vectors.length) };
  },
  async getVectors(request) {
    return { vectors: request.keys.map((key) => ({ key })) };
  },
  async importVectors(requests) {
    let count = 0;
    for await (const request of requests) count += request.vectors.length;
    return { lsn: BigInt(count) };
  },
  async *exportVectors(request) {
    yield { vectors: [{ key: "first" }] };
    misbehave(request.vectorBucketName);
    if (request.vectorBucketName === "slow") await never();
    yield { vectors: [{ key: "second" }] };
  },
});

type VectorClient = Client<typeof VectorService>;

async function failure(promise: Promise<unknown>): Promise<ConnectError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ConnectError, `expected a ConnectError, got ${error}`);
  return error;
}

async function exportAll(client: VectorClient, vectorBucketName: string, timeoutMs?: number): Promise<string[]> {
  const keys: string[] = [];
  const options = timeoutMs === undefined ? {} : { timeoutMs };
  for await (const { vectors } of client.exportVectors({ vectorBucketName }, options)) {
    keys.push(...vectors.map(({ key }) => key));
  }
  return keys;
}

function assertReason(error: ConnectError, code: Code, reason: string): void {
  const [info] = error.findDetails(ErrorInfoSchema);
  assert.deepEqual([Code[error.code], info?.domain, info?.reason], [Code[code], "quiver", reason], error.message);
}

for (const dialect of DIALECTS) {
  suite(dialect.name, () => {
    test("a put, an import and an export are answered", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      const put = await client.putVectors({ vectorBucketName: "b", vectors: [{ key: "a" }, { key: "b" }] });
      assert.equal(put.lsn, 7n);
      assert.equal(put.putCount, 2n);
      const messages = async function* () {
        for (let i = 0; i < 5; i += 1) yield { vectors: [{ key: `${i}` }] };
      };
      assert.equal((await client.importVectors(messages())).lsn, 5n);
      assert.deepEqual(await exportAll(client, "b"), ["first", "second"]);
    });

    test("a QuiverError arrives with its code, reason and details", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      for (const call of [
        () => client.putVectors({ vectorBucketName: "details" }),
        () => exportAll(client, "details"),
      ]) {
        const error = await failure(call());
        assertReason(error, Code.ResourceExhausted, "ITEM_LIMIT");
        assert.equal(error.rawMessage, "Index is full");
        assert.deepEqual(
          { ...error.findDetails(ErrorInfoSchema)[0]?.metadata },
          { max: "10", current: "10", requested_new: "2" },
        );
        const [violation] = error.findDetails(BadRequestSchema)[0]?.fieldViolations ?? [];
        assert.deepEqual([violation?.field, violation?.description], ["vectors[3].key", "is one too many"]);
        const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
        assert.deepEqual([delay?.seconds, delay?.nanos], [1n, 500_000_000]);
        assert.equal(error.findDetails(ResourceInfoSchema)[0]?.resourceName, "b/i");
        assert.equal(error.findDetails(QuotaFailureSchema)[0]?.violations[0]?.subject, "index:b/i");
      }
    });

    test("a failed precondition says which", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      const error = await failure(client.putVectors({ vectorBucketName: "precondition" }));
      assertReason(error, Code.FailedPrecondition, "BUCKET_NOT_EMPTY");
      assert.equal(error.findDetails(PreconditionFailureSchema)[0]?.violations[0]?.type, "BUCKET_NOT_EMPTY");
    });

    test("an unknown error is INTERNAL, says nothing and is logged with its cause", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      for (const call of [
        () => client.putVectors({ vectorBucketName: "unknown" }),
        () => exportAll(client, "unknown"),
      ]) {
        const error = await failure(call());
        assertReason(error, Code.Internal, "INTERNAL");
        assert.ok(!JSON.stringify([error.message, error.details]).includes(SECRET));
        const requestId = error.findDetails(ErrorInfoSchema)[0]?.metadata.requestId;
        const line = harness.logLines.find((logged) => logged.requestId === requestId);
        assert.ok(line !== undefined);
        assert.equal(line.level, "error");
        assert.equal((line.err as { message: string }).message, SECRET);
      }
    });

    test("an error that is too long for trailers is cut, not lost", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      const error = await failure(client.putVectors({ vectorBucketName: "unsendable" }));
      assertReason(error, Code.InvalidArgument, "INVALID_FIELD");
      assert.ok(error.rawMessage.length <= 1_024);
      assert.match(error.rawMessage, /^Bad name "\ufffd" xxx/);
    });

    test("a deadline ends calls that do not end by themselves", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const { status, headers, body, trailers } = await raw(harness.url, dialect, "PutVectors", {
        message: dialect.json ? Buffer.from('{"vectorBucketName":"slow"}') : putOf("slow"),
        headers: { "grpc-timeout": "50m", "connect-timeout-ms": "50" },
      });
      assertReason(errorOf(dialect, { status, headers, body, trailers }), Code.DeadlineExceeded, "DEADLINE_EXCEEDED");
      const client = createClient(VectorService, harness.transport(dialect));
      assert.equal((await failure(exportAll(client, "slow", 50))).code, Code.DeadlineExceeded);
    });

    test("a deadline in the far future is no deadline in the past", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const response = await raw(harness.url, dialect, "PutVectors", {
        message: dialect.json ? Buffer.from("{}") : putOf("b"),
        headers: { "grpc-timeout": "99999999H", "connect-timeout-ms": "9999999999" },
      });
      assert.equal(errorOrUndefined(dialect, response), undefined);
    });

    test("bytes that are no message are INVALID_ARGUMENT", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const hostile = dialect.json
        ? ["{", "[]", '{"vectors": 5}', '{"vectorBucketName": 7}', `{"vectors":${"[".repeat(50_000)}`, "\xff"]
        : ["\x0a\xff", "\x0a\xff\xff\xff\xff\x0f", "\xff\xff", "\x07", "\x0b", "\x00"];
      for (const text of hostile) {
        const response = await raw(harness.url, dialect, "PutVectors", { message: Buffer.from(text, "latin1") });
        assertReason(errorOf(dialect, response), Code.InvalidArgument, "MALFORMED_REQUEST");
      }
    });

    test("a message that ends early or lies about its compression is INVALID_ARGUMENT", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const encoding = encodingHeader(dialect);
      const response = await raw(harness.url, dialect, "PutVectors", {
        message: Buffer.from("this is not gzip"),
        flags: 1,
        headers: { [encoding]: "gzip" },
      });
      assertReason(errorOf(dialect, response), Code.InvalidArgument, "MALFORMED_REQUEST");
      const unsupported = await raw(harness.url, dialect, "PutVectors", {
        message: Buffer.from(""),
        headers: { [encoding]: "br" },
      });
      assertReason(errorOf(dialect, unsupported), Code.Unimplemented, "NOT_IMPLEMENTED");
    });

    test("a compressed message is read, and one that unpacks to too much is refused", async (t) => {
      const harness = await openRpcHarness(t, {
        services: [vectors],
        rpc: { limits: { maxMessageBytes: MIB, maxJsonBytes: MIB } },
      });
      const encoding = encodingHeader(dialect);
      const send = (name: string) =>
        raw(harness.url, dialect, "PutVectors", {
          message: gzipSync(dialect.json ? JSON.stringify({ vectorBucketName: name }) : putOf(name)),
          flags: 1,
          headers: { [encoding]: "gzip" },
        });
      assert.equal(errorOrUndefined(dialect, await send("b")), undefined);
      assertReason(errorOf(dialect, await send("b".repeat(2 * MIB))), Code.ResourceExhausted, "REQUEST_TOO_LARGE");
    });

    test("a message above the limit is refused with the limit and its size", async (t) => {
      const limits = dialect.json ? { maxJsonBytes: 20 * MIB } : {};
      const harness = await openRpcHarness(t, { services: [vectors], rpc: { limits } });
      const message = Buffer.alloc(21 * MIB, 0x20);
      const error = errorOf(dialect, await raw(harness.url, dialect, "PutVectors", { message }));
      assertReason(error, Code.ResourceExhausted, "REQUEST_TOO_LARGE");
      assert.match(error.rawMessage, /22020096 bytes.*20971520 bytes/);
      const client = createClient(VectorService, harness.transport(dialect));
      assert.equal((await client.putVectors({ vectorBucketName: "b" })).lsn, 7n);
    });

    test("a method that the server does not have is UNIMPLEMENTED by name", async (t) => {
      const harness = await openRpcHarness(t, { services: [vectors] });
      const client = createClient(VectorService, harness.transport(dialect));
      const missing = await failure(client.updateVectors({}));
      assertReason(missing, Code.Unimplemented, "NOT_IMPLEMENTED");
      assert.match(
        missing.rawMessage,
        /"quiver\.v1\.VectorService\/UpdateVectors".*docs\/reference\/unimplemented\.md/,
      );
      const stream = await failure(
        (async () => {
          for await (const _ of client.watchVectors({}));
        })(),
      );
      assertReason(stream, Code.Unimplemented, "NOT_IMPLEMENTED");
      const unknown = errorOf(dialect, await raw(harness.url, dialect, "NoSuchMethod", { message: Buffer.alloc(0) }));
      assertReason(unknown, Code.Unimplemented, "NOT_IMPLEMENTED");
      assert.match(unknown.rawMessage, /"quiver\.v1\.VectorService\/NoSuchMethod"/);
    });
  });
}

suite("hostile messages", () => {
  test("a million empty elements are refused before they are decoded", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const field = PutVectorsRequestSchema.field.vectors.number;
    const message = Buffer.alloc(2_000_000);
    for (let i = 0; i < message.length; i += 2) message[i] = (field << 3) | 2;
    const response = await sendHttp1(harness.url, {
      path: "/quiver.v1.VectorService/PutVectors",
      headers: { "content-type": "application/proto" },
      body: message,
    });
    assert.equal(response.status, 429);
    assert.match(response.body.toString(), /"Request message has more than 211000 fields/);
  });

  test("a million elements in JSON are refused before they are parsed, wherever they hide", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const ones = `1${",1".repeat(1_000_000)}`;
    const empty = `{}${",{}".repeat(1_000_000)}`;
    for (const body of [
      `{"vectors":[{"metadata":{"a":[${ones}]}}]}`,
      `{"vectors":[{"metadata":{"float32":[${ones}]}}]}`,
      `{"vectors":[{"metadata":{"data":{"float32":[${ones}]}}}]}`,
      `{"vectors":[{"\\u006detadata":{"float32":[${ones}]}}]}`,
      `{"vectors":[{"data":{"float32":["]",${ones}]}}]}`,
      `{"vectors":[{"data":{"float32":["]",[]]},"metadata":{"data":{"float32":[${ones}]}},"data":null}]}`,
      `{"vectors":[{"data":{"float32":[[]]},"metadata":{"data":{"float32":[${ones}]}},"data":null}]}`,
      `{"vectors":[{"data":{"float32":[{}]},"metadata":{"data":{"float32":[${ones}]}},"data":null}]}`,
      `{"vectors":[{"data":{"float32":[]},"key":"\\"float32\\":[","metadata":{"a":[${ones}]}}]}`,
      `{"vectors":[${empty}]}`,
      `{"unknown":[${ones}]}`,
      `[[${ones}]]`,
    ]) {
      const response = await sendJson(harness.url, body);
      assert.equal(response.status, 429, body.slice(0, 80));
      assert.match(response.body.toString(), /"Request message has more than 211000 fields/);
    }
  });

  test("a million numbers of vectors in JSON are no problem", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const vector = `{"key":"]\\"[","data":{"float32":[1${",1".repeat(999)}]},"sparse":{"indices":[1, 2],"values":[1,2]}}`;
    const response = await sendJson(harness.url, `{"vectors": [${Array(1_000).fill(vector).join(" , ")}]}`);
    assert.deepEqual(JSON.parse(response.body.toString()), { lsn: "7", putCount: "1000" });
  });

  test("a message that comes byte by byte costs no more than its size", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const message = envelope(putOf("b".repeat(20_000)));
    const response = await sendHttp2(harness.url, {
      path: "/quiver.v1.VectorService/PutVectors",
      headers: { "content-type": "application/grpc" },
      body: Array.from(message, (_, i) => message.subarray(i, i + 1)),
    });
    assert.equal(response.trailers["grpc-status"], "0");
  });

  test("a chunked body above the limit is answered while the client is still sending", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors], rpc: { limits: { maxMessageBytes: MIB } } });
    const response = await sendHttp1(harness.url, {
      path: "/quiver.v1.VectorService/PutVectors",
      headers: { "content-type": "application/proto", "transfer-encoding": "chunked" },
      body: Array.from({ length: 64 }, () => Buffer.alloc(MIB / 8)),
    });
    assert.equal(response.status, 429);
    assert.match(response.body.toString(), /REQUEST_TOO_LARGE|limit of 1048576 bytes/);
  });

  test("a call with a message too many is answered, and its connection is good for the next", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    for (const count of [2, 3, 1]) {
      const response = await sendHttp1(harness.url, {
        path: "/quiver.v1.VectorService/PutVectors",
        headers: { "content-type": "application/grpc" },
        body: Buffer.concat(Array(count).fill(envelope(putOf("b")))),
        agent,
      });
      assert.equal(response.trailers["grpc-status"], count === 1 ? "0" : String(Code.Unimplemented));
    }
  });

  test("a full memory budget refuses with a time to retry, and is given back", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors], rpc: { limits: { maxBufferedBytes: MIB } } });
    const put = (bytes: number) =>
      sendHttp1(harness.url, {
        path: "/quiver.v1.VectorService/PutVectors",
        headers: { "content-type": "application/proto" },
        body: putOf("b".repeat(bytes)),
      });
    for (let i = 0; i < 5; i += 1) assert.equal((await put(MIB / 2)).status, 200);
    const refused = await put(2 * MIB);
    assert.equal(refused.status, 429);
    assert.match(refused.body.toString(), /google\.rpc\.RetryInfo/);
    assert.equal((await put(MIB / 2)).status, 200);
  });

  test("requests that no protocol takes get a JSON error with a reason", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const path = "/quiver.v1.VectorService/PutVectors";
    const wrongType = await sendHttp1(harness.url, { path, headers: { "content-type": "text/plain" } });
    assert.equal(wrongType.status, 415);
    const wrongMethod = await sendHttp1(harness.url, { path, method: "GET" });
    assert.equal(wrongMethod.status, 405);
    const wrongBase64 = await sendHttp1(harness.url, {
      path: "/quiver.v1.VectorService/GetVectors?encoding=proto&base64=1&message=%21%21%21",
      method: "GET",
    });
    assert.equal(wrongBase64.status, 400);
    const wrongHost = await sendHttp1(harness.url, {
      path,
      headers: { host: "[", "content-type": "application/json" },
    });
    assert.equal(wrongHost.status, 400);
    for (const response of [wrongType, wrongMethod, wrongBase64, wrongHost]) {
      const [detail] = JSON.parse(response.body.toString()).details;
      assert.equal(detail.type, "google.rpc.ErrorInfo");
    }
  });

  test("a request id is taken when it is well formed, else replaced, and stands in the log", async (t) => {
    const harness = await openRpcHarness(t, { services: [vectors] });
    const path = "/quiver.v1.VectorService/PutVectors";
    const send = (id: string) =>
      sendHttp1(harness.url, {
        path,
        headers: { "content-type": "application/json", "x-request-id": id },
        body: Buffer.from("{}"),
      });
    assert.equal((await send("abc-123")).headers["x-request-id"], "abc-123");
    assert.notEqual((await send("a b")).headers["x-request-id"], "a b");
    const line = harness.logLines.find(({ requestId }) => requestId === "abc-123");
    assert.equal(line?.method, "quiver.v1.VectorService/PutVectors");
    assert.equal(line?.code, "OK");
  });
});

test("grpc-js reads the message of an error as it was written", async (t) => {
  const harness = await openRpcHarness(t, { services: [vectors] });
  const response = await sendHttp2(harness.url, {
    path: "/quiver.v1.VectorService/UpdateVectors",
    headers: { "content-type": "application/grpc" },
    body: envelope(new Uint8Array()),
  });
  // As headers that end the stream, since clients try no call again of which others have come.
  assert.deepEqual({ ...response.trailers }, {});
  const message = String(response.headers["grpc-message"]);
  assert.equal(decodeURI(message), decodeURIComponent(message));
  assert.match(decodeURI(message), /"quiver\.v1\.VectorService\/UpdateVectors" does not exist/);
});

function sendJson(url: string, body: string): Promise<RawResponse> {
  return sendHttp1(url, {
    path: "/quiver.v1.VectorService/PutVectors",
    headers: { "content-type": "application/json" },
    body: Buffer.from(body),
  });
}

function putOf(vectorBucketName: string): Uint8Array {
  return toBinary(PutVectorsRequestSchema, create(PutVectorsRequestSchema, { vectorBucketName }));
}

interface RawCall {
  message: Uint8Array;
  flags?: number;
  headers?: Record<string, string>;
}

/** Calls a unary method with hand-made bytes. */
function raw(url: string, dialect: Dialect, method: string, call: RawCall): Promise<RawResponse> {
  const send = dialect.httpVersion === "2" ? sendHttp2 : sendHttp1;
  const codec = dialect.json ? "json" : "proto";
  const contentType =
    dialect.protocol === "connect" ? `application/${codec}` : `application/${dialect.protocol}+${codec}`;
  const body = dialect.protocol === "connect" ? call.message : envelope(call.message, call.flags);
  return send(url, {
    path: `/quiver.v1.VectorService/${method}`,
    headers: { "content-type": contentType, ...call.headers },
    body,
  });
}

function encodingHeader({ protocol }: Dialect): string {
  return protocol === "connect" ? "content-encoding" : "grpc-encoding";
}

function errorOf(dialect: Dialect, response: RawResponse): ConnectError {
  const error = errorOrUndefined(dialect, response);
  assert.ok(error !== undefined, "expected an error");
  return error;
}

/** Reads the error of a response by hand, not with the library under test. */
function errorOrUndefined(dialect: Dialect, response: RawResponse): ConnectError | undefined {
  if (dialect.protocol === "connect") {
    if (response.status === 200) return undefined;
    const { code, message, details } = JSON.parse(response.body.toString());
    const error = new ConnectError(message, codeOf(code));
    error.details = details.map((detail: { type: string; value: string }) => ({
      type: detail.type,
      value: Buffer.from(detail.value, "base64"),
    }));
    return error;
  }
  assert.equal(response.status, 200);
  const trailers =
    dialect.protocol === "grpc" ? { ...response.headers, ...response.trailers } : webTrailers(response.body);
  if (trailers["grpc-status"] === "0") return undefined;
  const status = fromBinary(StatusSchema, Buffer.from(String(trailers["grpc-status-details-bin"]), "base64"));
  assert.equal(String(status.code), trailers["grpc-status"]);
  const error = new ConnectError(status.message, status.code);
  error.details = status.details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/.*\//, ""), value }));
  return error;
}

function codeOf(name: string): Code {
  const pascal = name.replace(/(^|_)([a-z])/g, (_, _separator, letter: string) => letter.toUpperCase());
  return Code[pascal as keyof typeof Code];
}

function webTrailers(body: Buffer): Record<string, string> {
  for (let at = 0; at < body.length; ) {
    const size = body.readUInt32BE(at + 1);
    const frame = body.subarray(at + 5, at + 5 + size);
    if (((body[at] ?? 0) & 0x80) !== 0) {
      const lines = frame.toString().trim().split("\r\n");
      return Object.fromEntries(lines.map((line) => line.split(/: */, 2) as [string, string]));
    }
    at += 5 + size;
  }
  return {};
}

test("the log tells a failed disk from a shutdown and from a client that has gone", async (t) => {
  const harness = await openRpcHarness(t, { services: [vectors] });
  for (const [name, code, level] of [
    ["disk", "UNAVAILABLE", "error"],
    ["shutdown", "UNAVAILABLE", "info"],
    ["gone", "CANCELLED", "info"],
  ] as const) {
    const response = await sendHttp1(harness.url, {
      path: "/quiver.v1.VectorService/PutVectors",
      headers: { "content-type": "application/json", "x-request-id": name },
      body: Buffer.from(JSON.stringify({ vectorBucketName: name })),
    });
    assert.ok(!response.body.toString().includes(SECRET));
    const line = harness.logLines.find(({ requestId }) => requestId === name);
    assert.deepEqual([line?.code, line?.level, line?.err !== undefined], [code, level, level === "error"]);
    if (level === "error") assert.ok(JSON.stringify(line?.err).includes(SECRET));
  }
});
