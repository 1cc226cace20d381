import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { test } from "node:test";
import { type Facade, type Operation, proofOf } from "../../src/compat/facade.ts";
import { createCompatHandler } from "../../src/compat/handler.ts";
import { openPort } from "../../src/http/port.ts";
import { openLog } from "../../src/log.ts";
import { createCalls } from "../../src/rpc/calls.ts";
import { DEFAULT_RPC_LIMITS } from "../../src/rpc/rpc-limits.ts";
import { EVERYBODY } from "../support/everybody.ts";
import { startCompatServer } from "./support/compat-server.ts";

test("HTTP/2 clients of other vendors have larger windows once they are let in", async (t) => {
  const session = connect(await startCompatServer(t));
  t.after(() => session.destroy());
  const [settings] = await once(session, "remoteSettings");
  assert.equal(settings.initialWindowSize, 65_535);
  session.request({ ":path": "/pinecone/indexes" }).end().resume();
  const [more] = await once(session, "remoteSettings");
  assert.ok((more.initialWindowSize ?? 0) > 65_535, `${more.initialWindowSize}`);
});

for (const part of ["the proof", "the operation"] as const) {
  test(`a fault in ${part} is the server's own, and logged with its cause`, async (t) => {
    const fail = () => {
      throw new TypeError("A fault");
    };
    const operation: Operation = {
      name: "Ask",
      kind: "read",
      maxBytes: 10,
      serve: part === "the operation" ? fail : () => ({ status: 200 }),
    };
    const facade: Facade = {
      name: "vendor",
      numberFields: new Set(),
      find: () => operation,
      authenticate: () => (part === "the proof" ? { caller: EVERYBODY, check: fail } : proofOf(EVERYBODY)),
      answerError: ({ reason }) => ({ status: 500, body: { reason } }),
    };
    const lines: Record<string, unknown>[] = [];
    const log = openLog({ level: "debug", to: { write: (line) => lines.push(JSON.parse(line)) } });
    const handler = createCompatHandler({
      facades: [facade],
      calls: createCalls({ log, limits: DEFAULT_RPC_LIMITS }),
      scheme: "http",
      takeMemory: () => undefined,
      log,
    });
    const port = await openPort({ host: "127.0.0.1", port: 0, handler, log });
    t.after(() => port.drain(0));

    const answer = await fetch(port.url, { method: "POST", body: "{}" });
    assert.deepEqual(await answer.json(), { reason: "INTERNAL" });
    const line = lines.find(({ method }) => method === "vendor/Ask") ?? assert.fail("There is no line");
    assert.equal(line.level, "error");
    assert.equal(line.reason, "INTERNAL");
    assert.equal((line.err as { message: string }).message, "A fault");
  });
}
