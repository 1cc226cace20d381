import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clients } from "../support/protocols.ts";
import { rounds } from "../support/rounds.ts";
import { runModel } from "./run.ts";

const OPERATIONS = rounds("MODEL_OPS", { quick: 5_000, full: 200_000 });

test("the server does what a plain model does, whatever is called in whatever order, across restarts", async (t) => {
  const { counts, restarts, parallel, watches } = await runModel(t, { operations: OPERATIONS });
  t.diagnostic(`${OPERATIONS} operations, ${parallel} of them side by side, ${restarts} restarts, ${watches} watches`);
  t.diagnostic([...counts].map(([method, count]) => `${method} ${count}`).join(", "));
});

for (const [what, tamper] of Object.entries({
  "a value": (vector: { data?: { float32: number[] } }) => {
    if (vector.data) vector.data.float32[0] = (vector.data.float32[0] ?? 0) + 1e-7;
  },
  "a version": (vector: { version: bigint }) => {
    vector.version++;
  },
})) {
  test(`the model notices ${what} that an answer changes`, async (t) => {
    const changed = (clients: Clients): Clients => ({
      ...clients,
      vectors: {
        ...clients.vectors,
        getVectors: async (request, options) => {
          const answer = await clients.vectors.getVectors(request, options);
          for (const vector of answer.vectors) tamper(vector as never);
          return answer;
        },
      },
    });
    await assert.rejects(runModel(t, { operations: 1_000, tamper: changed }), /QUIVER_TEST_SEED=\d+, operation \d+/);
  });
}
