import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_ADMISSION_LIMITS } from "../../src/rpc/admission.ts";
import { AdmissionQueue, type Ticket } from "../../src/rpc/admission-queue.ts";
import { until } from "../support/until.ts";

test("calls that wait are refused once others are served much more slowly than when they came, but for a few", async () => {
  const limits = { ...DEFAULT_ADMISSION_LIMITS, seats: 1, clientShare: 1, waitingOfClient: 1, waitMaxMs: 3 };
  const queue = new AdmissionQueue(limits);
  const started: [string, Ticket][] = [];
  const refused: string[] = [];
  const ask = (name: string) =>
    queue.ask({
      client: "",
      deadline: Number.POSITIVE_INFINITY,
      isReceiving: () => false,
      start: (ticket) => started.push([name, ticket]),
      refuse: () => refused.push(name),
    });
  for (const name of ["first", "second", "third", "fourth"]) ask(name);
  queue.refuseHopeless();
  assert.deepEqual(refused, []);

  const slow = performance.now() + 200;
  await until(() => performance.now() > slow);
  started[0]?.[1].end();
  queue.refuseHopeless();
  assert.deepEqual(refused, ["fourth"]);
  started[1]?.[1].end();
  assert.deepEqual(
    started.map(([name]) => name),
    ["first", "second", "third"],
  );
});
