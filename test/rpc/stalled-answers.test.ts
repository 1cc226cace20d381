import assert from "node:assert/strict";
import { connect as http2Connect } from "node:http2";
import { connect } from "node:net";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { openRpcHarness } from "../support/rpc-harness.ts";
import { until } from "../support/until.ts";

const timeout = 60_000;
const MIB = 1024 * 1024;
const PATH = "/quiver.v1.VectorService/ExportVectors";
const TYPE = "application/connect+json";
const REQUEST = Buffer.from(
  [0, 0, 0, 0, 2, ..."{}"].map((each) => (typeof each === "string" ? each.charCodeAt(0) : each)),
);

/** An export of so many parts of 1 MiB, and whether it has ended. */
function exportOf(parts: number) {
  const state = { ended: false };
  const service = defineService(VectorService, {
    async *exportVectors() {
      try {
        for (let i = 0; i < parts; i++) yield { vectors: [{ key: "x".repeat(MIB) }] };
      } finally {
        state.ended = true;
      }
    },
  });
  return { state, service };
}

function openHttp1(url: string) {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  const head = [
    `POST ${PATH} HTTP/1.1`,
    "host: localhost",
    `content-type: ${TYPE}`,
    `content-length: ${REQUEST.length}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  socket.write(REQUEST);
  return socket;
}

suite("an answer that its client does not take", { timeout }, () => {
  test("is cut over HTTP/1.1, and its work ends", async (t) => {
    const { state, service } = exportOf(100);
    const { url, logLines } = await openRpcHarness(t, { services: [service], limits: { writeTimeoutMs: 500 } });
    const socket = openHttp1(url).pause();
    await until(() => state.ended);
    assert.ok(logLines.some(({ msg }) => msg === "Answer is cut: its client does not read it"));
    socket.destroy();
  });

  test("is cut over HTTP/2, and other calls of the connection go on", async (t) => {
    const { state, service } = exportOf(100);
    const { url } = await openRpcHarness(t, { services: [service], limits: { writeTimeoutMs: 500 } });
    const session = http2Connect(url);
    const stalled = session.request({ ":method": "POST", ":path": PATH, "content-type": TYPE });
    stalled.on("error", () => {});
    stalled.pause().end(REQUEST);
    await until(() => state.ended);
    const alive = session.request({ ":path": "/livez" }).resume();
    await new Promise((resolve) => alive.once("end", resolve));
    session.destroy();
  });

  test("is not cut while the client takes some of it now and then", async (t) => {
    const parts = 24;
    const { service } = exportOf(parts);
    const { url } = await openRpcHarness(t, { services: [service], limits: { writeTimeoutMs: 2_000 } });
    const socket = openHttp1(url);
    let received = 0;
    for await (const chunk of socket) {
      const before = Math.floor(received / MIB);
      received += chunk.length;
      if (Math.floor(received / MIB) > before) await setTimeout(200);
      if (received > parts * MIB) break;
    }
    assert.ok(received > parts * MIB);
  });
});
