import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { suite, type TestContext, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";
import type { AdmissionLimits } from "../../src/rpc/admission.ts";
import { networkOf } from "../../src/rpc/client-address.ts";
import { defineService } from "../../src/rpc/define-service.ts";
import { createHealth } from "../../src/rpc/health.ts";
import { DIALECTS, openRpcHarness, type RpcHarness, sendHttp1 } from "../support/rpc-harness.ts";
import { until } from "../support/until.ts";

const timeout = 30_000;

/** Serves one call at a time; queries stay until they are let go. */
async function openSmallServer(t: TestContext, waitingMax: number, admission: Partial<AdmissionLimits> = {}) {
  const held: (() => void)[] = [];
  const begun: string[] = [];
  /** Calls that have asked, and those whose connection is gone. */
  const seen = { asked: 0, left: 0 };
  const asked = new WeakSet<object>();
  const vectors = defineService(VectorService, {
    async queryVectors({ indexName }) {
      begun.push(indexName);
      await new Promise<void>((resolve) => held.push(resolve));
      return {};
    },
    async *watchVectors() {
      yield { lsn: 1n };
    },
  });
  const admin = defineService(AdminService, { getServerInfo: () => ({ serverInfo: { version: "1" } }) });
  const health = createHealth({ services: [], state: () => ({ ready: true, storage: "ok", indexes: {} }) });
  const harness = await openRpcHarness(t, {
    services: [vectors, admin, health],
    rpc: {
      admission: { seats: { read: 1, search: 1, write: 1, stream: 0 }, waitingMax, ...admission },
      clientOf: (connection, headers) => {
        // Asked twice of a call that is not refused at once.
        if (!asked.has(headers)) {
          seen.asked += 1;
          connection.once("close", () => {
            seen.left += 1;
          });
        }
        asked.add(headers);
        return String(headers["x-client"] ?? "");
      },
    },
  });
  const letGo = () => held.shift()?.();
  // Whatever a test leaves behind must end before the harness looks for open calls.
  t.after(() => {
    while (held.length > 0) letGo();
  });
  return { harness, begun, seen, letGo };
}

function queryFrom(harness: RpcHarness, client: string, name: string, signal?: AbortSignal) {
  const vectors = createClient(VectorService, harness.transport(DIALECTS[0] as (typeof DIALECTS)[number]));
  const headers = { "x-client": client };
  return vectors.queryVectors({ indexName: name }, { headers, ...(signal && { signal }) });
}

suite("a call beyond what is served and waits", { timeout }, () => {
  for (const dialect of DIALECTS) {
    test(`is refused with OVERLOADED and a delay, ${dialect.name}`, async (t) => {
      const { harness, begun, letGo } = await openSmallServer(t, 0);
      const first = queryFrom(harness, "", "first");
      await until(() => begun.length === 1);
      const vectors = createClient(VectorService, harness.transport(dialect));
      assertOverloaded(await vectors.queryVectors({ indexName: "second" }).catch(ConnectError.from));
      const stream = vectors.watchVectors({})[Symbol.asyncIterator]();
      assertOverloaded(await stream.next().catch(ConnectError.from));
      letGo();
      await first;
      assert.deepEqual(begun, ["first"]);
    });
  }

  test("is refused before its body has come", async (t) => {
    const { harness, begun, letGo } = await openSmallServer(t, 0);
    const first = queryFrom(harness, "", "first");
    await until(() => begun.length === 1);
    const { status } = await sendHttp1(harness.url, {
      path: `/${VectorService.typeName}/QueryVectors`,
      headers: { "content-type": "application/json" },
      body: [Buffer.alloc(1024 * 1024, "not JSON")],
    });
    assert.equal(status, 429);
    letGo();
    await first;
  });

  test("is served all the same when it is for the administration or the server's health", async (t) => {
    const { harness, begun, letGo } = await openSmallServer(t, 0);
    const first = queryFrom(harness, "", "first");
    await until(() => begun.length === 1);
    const transport = harness.transport(DIALECTS[0] as (typeof DIALECTS)[number]);
    assert.equal((await createClient(AdminService, transport).getServerInfo({})).serverInfo?.version, "1");
    letGo();
    await first;
  });

  test("is counted in the log", async (t) => {
    const { harness, begun, letGo } = await openSmallServer(t, 1);
    const calls = [queryFrom(harness, "", "first")];
    await until(() => begun.length === 1);
    calls.push(queryFrom(harness, "", "second"));
    const refused = await Promise.allSettled([1, 2, 3].map((i) => queryFrom(harness, "", `${i}`)));
    assert.ok(refused.every(({ status }) => status === "rejected"));
    const lines = () => harness.logLines.filter(({ msg }) => msg === "Overloaded: calls were refused");
    // One line, or more where the calls come slowly.
    const refusals = () => lines().reduce((sum, { refused }) => sum + (refused as { search: number }).search, 0);
    await until(() => refusals() === 3);
    letGo();
    await until(() => begun.length === 2);
    letGo();
    await Promise.all(calls);
  });
});

suite("a refusal that no served call pays for", { timeout }, () => {
  const holdMinMs = 300;
  const pace = { refusalBurst: 1, refusalsPerServed: 0, refusalsPerSecond: 0, holdMinMs, holdMaxMs: 400 };

  for (const dialect of DIALECTS) {
    test(`comes late, and those of other clients at once, ${dialect.name}`, async (t) => {
      const { harness, begun, seen, letGo } = await openSmallServer(t, 0, pace);
      const first = queryFrom(harness, "", "first");
      await until(() => begun.length === 1);
      const vectors = createClient(VectorService, harness.transport(dialect));
      const ended: string[] = [];
      const ask = async (client: string) => {
        const error = await vectors.queryVectors({}, { headers: { "x-client": client } }).catch(ConnectError.from);
        assertOverloaded(error);
        ended.push(client);
      };
      await ask("flood");
      const from = performance.now();
      const late = ask("flood");
      await until(() => seen.asked === 3);
      await ask("good");
      await late;
      assert.deepEqual(ended, ["flood", "good", "flood"]);
      assert.ok(performance.now() - from >= holdMinMs);
      letGo();
      await first;
    });
  }

  test("comes before its deadline", async (t) => {
    const { harness, begun, letGo } = await openSmallServer(t, 0, { ...pace, holdMinMs: 60_000, holdMaxMs: 60_000 });
    const first = queryFrom(harness, "", "first");
    await until(() => begun.length === 1);
    await assert.rejects(queryFrom(harness, "flood", "second"));
    const vectors = createClient(VectorService, harness.transport(DIALECTS[0] as (typeof DIALECTS)[number]));
    const options = { headers: { "x-client": "flood" }, timeoutMs: 2_000 };
    assertOverloaded(await vectors.queryVectors({}, options).catch(ConnectError.from));
    letGo();
    await first;
  });

  test("harms nobody when its client has left", async (t) => {
    const { harness, begun, seen, letGo } = await openSmallServer(t, 0, pace);
    const first = queryFrom(harness, "", "first");
    await until(() => begun.length === 1);
    await assert.rejects(queryFrom(harness, "flood", "second"));
    const leaving = new AbortController();
    const third = queryFrom(harness, "flood", "third", leaving.signal);
    await until(() => seen.asked === 3);
    leaving.abort();
    await assert.rejects(third);
    // Held after it, and so answered after it.
    assertOverloaded(await queryFrom(harness, "flood", "fourth").catch(ConnectError.from));
    letGo();
    await first;
  });
});

suite("a call that waits", { timeout }, () => {
  test("has its turn after the first of every other client", async (t) => {
    const { harness, begun, seen, letGo } = await openSmallServer(t, 100);
    const calls = [];
    for (const name of ["0", "1", "2", "3", "4", "5", "good"]) {
      calls.push(queryFrom(harness, name === "good" ? "good" : "flood", name));
      await until(() => seen.asked === calls.length);
    }
    for (let ended = 0; ended < calls.length; ended++) {
      await until(() => begun.length > ended);
      letGo();
    }
    await Promise.all(calls);
    assert.deepEqual(begun, ["0", "1", "good", "2", "3", "4", "5"]);
  });

  test("is served at once when the places that are left are not for the clients before it", async (t) => {
    const seats = { read: 1, search: 4, write: 1, stream: 0 };
    const { harness, begun, seen, letGo } = await openSmallServer(t, 100, { seats, clientShare: 0.5 });
    const calls = [];
    for (const name of ["0", "1", "2", "good"]) {
      calls.push(queryFrom(harness, name === "good" ? "good" : "flood", name));
      await until(() => seen.asked === calls.length);
    }
    await until(() => begun.length === 3);
    assert.deepEqual(begun, ["0", "1", "good"]);
    for (let ended = 0; ended < calls.length; ended++) {
      await until(() => begun.length > ended);
      letGo();
    }
    await Promise.all(calls);
  });

  test("has the place of one whose request comes slowly", async (t) => {
    const { harness, begun, seen, letGo } = await openSmallServer(t, 100, { receiveMs: 10 });
    const slow = httpRequest(new URL(`/${VectorService.typeName}/QueryVectors`, harness.url), {
      method: "POST",
      headers: { "content-type": "application/json" },
    });
    slow.on("error", () => {});
    slow.write("{");
    await until(() => seen.asked === 1);
    const second = queryFrom(harness, "", "second");
    await until(() => begun.length === 1);
    letGo();
    await second;
    slow.destroy();
  });

  test("is not executed when its client has left", async (t) => {
    const { harness, begun, seen, letGo } = await openSmallServer(t, 100);
    const leaving = new AbortController();
    const first = queryFrom(harness, "", "first");
    await until(() => seen.asked === 1);
    const second = queryFrom(harness, "", "second", leaving.signal);
    await until(() => seen.asked === 2);
    const third = queryFrom(harness, "", "third");
    await until(() => seen.asked === 3);
    leaving.abort();
    await assert.rejects(second);
    await until(() => seen.left === 1);
    letGo();
    await until(() => begun.length === 2);
    letGo();
    await Promise.all([first, third]);
    assert.deepEqual(begun, ["first", "third"]);
  });

  test("is not executed when its deadline has passed", async (t) => {
    const { harness, begun, seen, letGo } = await openSmallServer(t, 100);
    const first = queryFrom(harness, "", "first");
    await until(() => seen.asked === 1);
    // Sent as it is: a client would end the call by itself.
    const second = sendHttp1(harness.url, {
      path: `/${VectorService.typeName}/QueryVectors`,
      headers: { "content-type": "application/json", "connect-timeout-ms": "50" },
      body: Buffer.from("{}"),
    });
    await until(() => seen.asked === 2);
    const passed = performance.now() + 60;
    await until(() => performance.now() > passed);
    letGo();
    await first;
    assert.match((await second).body.toString(), /DEADLINE_EXCEEDED/);
    assert.deepEqual(begun, ["first"]);
  });
});

test("IPv6 clients are told apart by their network of 64 bits, IPv4 clients by their address", () => {
  assert.equal(networkOf("127.0.0.1"), "127.0.0.1");
  assert.equal(networkOf("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(networkOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2");
  assert.equal(networkOf("2001:db8::1"), "2001:db8:0:0");
  assert.equal(networkOf("fe80::1%eth0"), "fe80:0:0:0");
  assert.equal(networkOf("::1"), "0:0:0:0");
});

function assertOverloaded(error: unknown): void {
  assert.ok(error instanceof ConnectError, `${JSON.stringify(error)}`);
  assert.equal(Code[error.code], Code[Code.ResourceExhausted], error.message);
  assert.equal(error.findDetails(ErrorInfoSchema)[0]?.reason, "OVERLOADED");
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  assert.ok(Number(delay?.seconds ?? 0) * 1e9 + (delay?.nanos ?? 0) >= 100e6);
  assert.match(error.rawMessage, /more calls than it can serve soon/);
}
