import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { test } from "node:test";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { envelope, openRpcHarness } from "../support/rpc-harness.ts";
import { until } from "../support/until.ts";

const STREAMS = 20;

test("a client that breaks a connection while much is sent to it is no error of the server", async (t) => {
  let open = 0;
  let sent = 0;
  const service = defineService(VectorService, {
    async *exportVectors() {
      open++;
      try {
        for (;;) {
          sent++;
          yield { vectors: [{ key: "x".repeat(1_000_000) }] };
        }
      } finally {
        open--;
      }
    },
  });
  const harness = await openRpcHarness(t, { services: [service] });
  const session = connect(harness.url);
  session.on("error", () => {});
  await once(session, "connect");
  for (let i = 0; i < STREAMS; i++) {
    const stream = session.request({
      ":method": "POST",
      ":path": `/${VectorService.typeName}/ExportVectors`,
      "content-type": "application/connect+proto",
    });
    stream.on("error", () => {});
    stream.pause();
    stream.end(envelope(new Uint8Array()));
  }
  await until(() => sent >= STREAMS);
  session.destroy();
  await until(
    () => open === 0 && harness.logLines.filter(({ msg }) => msg === "Response could not be sent").length > 0,
  );
  assert.deepEqual(
    harness.logLines.filter(({ level }) => level === "error"),
    [],
  );
});
