import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, before, suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { peakOf } from "../support/peak-memory.ts";
import { type Clients, createClients, PROTOCOLS } from "../support/protocols.ts";
import { createIndex } from "../support/resources.ts";
import { rounds } from "../support/rounds.ts";
import { ServerProcess } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { FLOODS } from "./floods.ts";

const SECONDS = rounds("FLOOD_SECONDS", { quick: 2, full: 60 });
/** A call that takes longer has failed. */
const CALL = { timeoutMs: 10_000 };
const PAUSE_MS = 50;
const SERVED_MIN = 0.99;
const PLACE = { vectorBucketName: "b", indexName: "i", namespace: "" };
const LIMIT_MIB = 1_024;

suite("a good client is served", () => {
  let server: ServerProcess;
  let clients: Clients;

  before(async () => {
    server = await ServerProcess.start(temporaryDirectory(), ["--memory-limit", `${LIMIT_MIB}MiB`]);
    clients = createClients((PROTOCOLS.gRPC as (typeof PROTOCOLS)[string])(server.url));
    await createIndex(clients, "b", "i", { dimension: 2 });
  });
  after(() => server.kill());

  for (const name of Object.keys(FLOODS)) {
    test(`beside ${name}`, async (t) => {
      const flood = startFlood(name, server);
      const seen = await callFor(SECONDS, clients);
      const count = await flood.stop();
      t.diagnostic(
        `${seen.ok} of ${seen.calls} calls served, the slowest in ${Math.round(seen.slowestMs)} ms; attacked ${count} times`,
      );
      t.diagnostic(`${Math.round(peakOf(server) / 2 ** 20)} MiB held at most`);
      assert.ok(count > 0, "that was no flood");
      assert.ok(seen.ok >= SERVED_MIN * seen.calls, `${seen.ok} of ${seen.calls} calls: ${seen.error}`);
      assert.ok(peakOf(server) < LIMIT_MIB * 2 ** 20);
      assert.equal((await fetch(`${server.url}/livez`)).status, 200, "new connections are taken afterwards");
    });
  }

  test("and nothing of all that was an error of the server", () => {
    const faults = server.complaints.split("\n").filter((line) => /"level":"(error|fatal)"/.test(line));
    assert.deepEqual(faults, []);
  });
});

/** In a thread of its own: the good client's time is not that of the flood. */
function startFlood(name: string, { url }: ServerProcess): { stop(): Promise<number> } {
  const worker = new Worker(resolve(import.meta.dirname, "floods-worker.ts"), {
    workerData: { name, port: Number(new URL(url).port) },
  });
  return {
    async stop() {
      const count = new Promise<number>((settle, reject) => worker.once("message", settle).once("error", reject));
      worker.postMessage("stop");
      await count;
      await worker.terminate();
      return count;
    },
  };
}

async function callFor(seconds: number, { vectors }: Clients) {
  const seen = { calls: 0, ok: 0, slowestMs: 0, error: "" };
  const endAt = performance.now() + seconds * 1_000;
  const put = { ...PLACE, vectors: [{ key: "good", data: { float32: [1, 2] } }] };
  while (performance.now() < endAt) {
    const startedAt = performance.now();
    seen.calls++;
    try {
      if (seen.calls % 2 === 0) await vectors.getVectors({ ...PLACE, keys: ["good"] }, CALL);
      else await vectors.putVectors(put, CALL);
      seen.ok++;
    } catch (error) {
      seen.error = String(error);
    }
    seen.slowestMs = Math.max(seen.slowestMs, performance.now() - startedAt);
    await setTimeout(PAUSE_MS);
  }
  return seen;
}
