import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, createClient, createContextValues, type HandlerContext, type MethodImpl } from "@connectrpc/connect";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Status,
} from "../../gen/grpc/health/v1/health_pb.ts";
import { createHealth, type HealthState } from "../../src/rpc/health.ts";
import { LIMITS } from "../../src/service/limits.ts";
import { DIALECTS, openRpcHarness } from "../support/rpc-harness.ts";

const SERVICE = "quiver.v1.VectorService";
const POLL_MS = 5;

function health(state: () => Partial<HealthState>) {
  const whole = () => ({ ready: true, storage: "healthy", indexes: {}, ...state() });
  return [createHealth({ services: [SERVICE], state: whole, pollMs: POLL_MS })];
}

for (const dialect of DIALECTS.filter(({ json }) => !json)) {
  suite(dialect.name, () => {
    test("check and list tell the server, its services and each index apart", async (t) => {
      const state = {
        ready: true,
        storage: "healthy",
        indexes: { "b/loaded": "ready", "b/new": "loading", "b/bad": "failed" },
      };
      const harness = await openRpcHarness(t, { services: health(() => state) });
      const client = createClient(Health, harness.transport(dialect));
      const expected = {
        "": Status.SERVING,
        storage: Status.SERVING,
        [SERVICE]: Status.SERVING,
        "index:b/loaded": Status.SERVING,
        "index:b/new": Status.NOT_SERVING,
        "index:b/bad": Status.NOT_SERVING,
      };
      for (const [service, status] of Object.entries(expected)) {
        assert.equal((await client.check({ service })).status, status, service);
      }
      const { statuses } = await client.list({});
      assert.deepEqual(Object.fromEntries(Object.entries(statuses).map(([name, s]) => [name, s.status])), expected);
      state.storage = "read_only";
      assert.equal((await client.check({ service: "storage" })).status, Status.NOT_SERVING);
      assert.equal((await client.check({})).status, Status.SERVING);
      state.ready = false;
      assert.equal((await client.check({})).status, Status.NOT_SERVING);
      await assert.rejects(client.check({ service: "no.Service" }), { code: Code.NotFound });
      await assert.rejects(client.check({ service: "index:b/none" }), { code: Code.NotFound });
    });

    test("watch tells the state at once and then each change", async (t) => {
      const state: { ready: boolean; indexes: Record<string, string> } = { ready: false, indexes: {} };
      const harness = await openRpcHarness(t, { services: health(() => state) });
      const client = createClient(Health, harness.transport(dialect));
      const stop = new AbortController();
      const watch = (service: string) => client.watch({ service }, { signal: stop.signal })[Symbol.asyncIterator]();
      const server = watch("");
      assert.equal((await server.next()).value?.status, Status.NOT_SERVING);
      state.ready = true;
      assert.equal((await server.next()).value?.status, Status.SERVING);
      const index = watch("index:b/i");
      assert.equal((await index.next()).value?.status, Status.SERVICE_UNKNOWN);
      state.indexes["b/i"] = "serving";
      assert.equal((await index.next()).value?.status, Status.SERVING);
      stop.abort();
      await assert.rejects(server.next(), { code: Code.Canceled });
      await assert.rejects(index.next(), { code: Code.Canceled });
    });

    test("a watch says NOT_SERVING and ends when the server shuts down", async (t) => {
      const shutdown = new AbortController();
      const services = health(() => ({ ready: true, indexes: {} }));
      const harness = await openRpcHarness(t, { services, rpc: { shutdown: shutdown.signal } });
      const client = createClient(Health, harness.transport(dialect));
      const watch = client.watch({})[Symbol.asyncIterator]();
      assert.equal((await watch.next()).value?.status, Status.SERVING);
      shutdown.abort();
      assert.equal((await watch.next()).value?.status, Status.NOT_SERVING);
      await assert.rejects(watch.next(), { code: Code.Unavailable });
    });
  });
}

test("as many watches are open as allowed", async () => {
  const [service] = health(() => ({}));
  assert.ok(service);
  const leaving = new AbortController();
  const context = { signal: leaving.signal, values: createContextValues() } as HandlerContext;
  const { watch } = service.implementation as unknown as { watch: MethodImpl<typeof Health.method.watch> };
  const open = () => watch(create(HealthCheckRequestSchema), context)[Symbol.asyncIterator]();
  const watches = Array.from({ length: LIMITS.healthWatchesMax }, open);
  for (const each of watches) assert.equal((await each.next()).done, false);
  await assert.rejects(open().next(), { reason: "TOO_MANY_STREAMS" });
  await watches[0]?.return?.();
  const next = open();
  assert.equal((await next.next()).done, false);
  leaving.abort();
  for (const each of [...watches.slice(1), next]) await each.next();
});

test("fifty watches compute the state as often as one", async (t) => {
  let polls = 0;
  const services = health(() => {
    polls += 1;
    return { ready: polls > 1, indexes: {} };
  });
  const dialect = DIALECTS.find(({ protocol, json }) => protocol === "grpc" && !json);
  assert.ok(dialect !== undefined);
  const harness = await openRpcHarness(t, { services });
  const client = createClient(Health, harness.transport(dialect));
  const stop = new AbortController();
  const watches = Array.from({ length: 50 }, () => client.watch({}, { signal: stop.signal })[Symbol.asyncIterator]());
  await Promise.all(watches.map((watch) => watch.next()));
  const before = polls;
  // The event loop serves one timer: 50 of them would have polled 50 times as often.
  const started = performance.now();
  while (polls < before + 20) await new Promise(setImmediate);
  const periods = (performance.now() - started) / POLL_MS;
  assert.ok(polls - before <= 2 * periods + 2, `${polls - before} polls in ${periods} periods`);
  stop.abort();
  await Promise.all(watches.map((watch) => assert.rejects(watch.next(), { code: Code.Canceled })));
});
