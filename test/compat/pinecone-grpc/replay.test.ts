import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect } from "node:http2";
import { join } from "node:path";
import { test } from "node:test";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DistanceMetric } from "../../../gen/quiver/v1/resources_pb.ts";
import { createClients } from "../../support/protocols.ts";
import { createIndex } from "../../support/resources.ts";
import { startCompatServer } from "../support/compat-server.ts";
import { decodeAnswer, GrpcClient } from "./grpc-client.ts";

/** What a client sent, and what it took for an answer, as bytes in hex. */
interface Capture {
  readonly headers: Readonly<Record<string, string>>;
  readonly calls: readonly { readonly [part in "call" | "path" | "request" | "accepted"]: string }[];
}

const capture: Capture = JSON.parse(readFileSync(join(import.meta.dirname, "fixtures/python-5.4.2.json"), "utf8"));

const F = Math.fround;
const TENTHS = [F(0.1), F(0.2), F(0.3)];
const USAGE = { usage: { readUnits: 1 } };
const INVALID_ARGUMENT = "3";

/** By call: what the answer must be, or the status of the error. Stored before: `a` in `ns`. */
const EXPECTED: Readonly<Record<string, object | string>> = {
  "upsert default ns": { upsertedCount: 1 },
  "upsert ns sparse": { upsertedCount: 1 },
  "upsert batch_size=1": { upsertedCount: 1 },
  "upsert async_req": { upsertedCount: 1 },
  "upsert NaN": INVALID_ARGUMENT,
  "query vector": {
    matches: [{ id: "a", score: F(0.1 ** 2 + 0.2 ** 2 + 0.3 ** 2), values: TENTHS, metadata: { g: "x", n: 1 } }],
    namespace: "ns",
    ...USAGE,
  },
  "query id": { matches: [{ id: "a", score: 14 }], ...USAGE },
  "query sparse": { matches: [{ id: "a", score: 14 }], ...USAGE },
  fetch: {
    vectors: {
      a: { id: "a", values: TENTHS, metadata: { g: "x", n: 1 } },
      b: { id: "b", values: [1, 2, 3], sparseValues: { indices: [1, 5], values: [0.5, 0.25] } },
    },
    namespace: "ns",
    ...USAGE,
  },
  // Its page token was made up.
  list_paginated: INVALID_ARGUMENT,
  update: {},
  "delete ids": {},
  "delete all": {},
  "delete filter": {},
  stats: {
    namespaces: { __default__: { vectorCount: 2 }, ns: {} },
    dimension: 3,
    totalVectorCount: 2,
    metric: "dotproduct",
    vectorType: "dense",
    memoryFullness: 0,
    storageFullness: 0,
  },
};

test("what the Python client 5.4.2 sent is answered as it took it, byte for byte", async (t) => {
  const url = await startCompatServer(t);
  const distanceMetric = DistanceMetric.DOT_PRODUCT;
  const native = createClients(createGrpcTransport({ baseUrl: url }));
  await createIndex(native, "default", "docs", { dimension: 3, distanceMetric });
  const client = new GrpcClient(url);
  t.after(() => client.close());
  await client.call("Upsert", {
    vectors: [{ id: "a", values: TENTHS, metadata: { g: "x", n: 1 } }],
    namespace: "ns",
  });

  const session = connect(url);
  t.after(() => session.destroy());
  for (const { call, path, request, accepted } of capture.calls) {
    const { status, message } = await send(session, path, request);
    const expected = EXPECTED[call];
    if (typeof expected === "string") {
      assert.equal(status, expected, call);
      continue;
    }
    assert.equal(status, "0", call);
    const answer = decodeAnswer(path, message);
    assert.deepEqual(answer, expected, call);
    // The namespace is absent when it is the default one.
    const shape = Object.keys(decodeAnswer(path, Buffer.from(accepted, "hex")));
    assert.deepEqual(
      shape.filter((name) => !Object.hasOwn(answer, name)),
      [],
      call,
    );
  }
});

/** Sends the message of one call and reads the answer's, and the status, whether it came in headers or in trailers. */
async function send(session: ClientHttp2Session, path: string, request: string) {
  const message = Buffer.from(request, "hex");
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    te: "trailers",
    "content-type": "application/grpc",
    ...capture.headers,
  });
  let status = "";
  for (const event of ["response", "trailers"]) {
    stream.on(event, (headers) => {
      status ||= `${headers["grpc-status"] ?? ""}`;
    });
  }
  stream.end(Buffer.concat([prefix, message]));
  const body = Buffer.concat(await stream.toArray());
  return { status, message: body.subarray(5) };
}
