import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { RefusalPace, type RefusalPaceLimits } from "../../src/rpc/refusal-pace.ts";
import { until } from "../support/until.ts";

const LIMITS: RefusalPaceLimits = {
  refusalBurst: 2,
  refusalsPerServed: 3,
  refusalsPerSecond: 0,
  holdMinMs: 50,
  holdMaxMs: 100,
  heldMax: 4,
};
const NEVER = Number.POSITIVE_INFINITY;

suite("a refusal", () => {
  test("is sent at once as long as the client has credit, and calls that are served give it more", () => {
    const pace = new RefusalPace(LIMITS);
    const send = () => pace.send("a", NEVER, () => {});
    assert.deepEqual([send(), send(), send()], [true, true, false]);
    pace.countServed();
    // No more than a burst.
    assert.deepEqual([send(), send(), send()], [true, true, false]);
    assert.equal(
      pace.send("b", NEVER, () => {}),
      true,
    );
  });

  test("is sent once, between the shortest and the longest time, when it is held back", async () => {
    const pace = new RefusalPace({ ...LIMITS, refusalBurst: 1, heldMax: 100 });
    pace.send("a", NEVER, () => {});
    const sentAt: number[] = [];
    const from = performance.now();
    for (let i = 0; i < 50; i++) assert.ok(!pace.send("a", NEVER, () => sentAt.push(performance.now())));
    assert.equal(pace.heldCount, 50);
    await until(() => pace.heldCount === 0);
    assert.equal(sentAt.length, 50);
    assert.ok(sentAt.every((at) => at - from >= LIMITS.holdMinMs));
    // And again after there was none.
    pace.send("a", NEVER, () => sentAt.push(performance.now()));
    await until(() => sentAt.length === 51);
  });

  test("is sent before the deadline", async () => {
    const pace = new RefusalPace({ ...LIMITS, refusalBurst: 1, holdMinMs: 60_000, holdMaxMs: 60_000 });
    pace.send("a", NEVER, () => {});
    const deadline = performance.now() + 500;
    let sentAt = 0;
    pace.send("a", deadline, () => {
      sentAt = performance.now();
    });
    await until(() => sentAt > 0);
    assert.ok(sentAt < deadline);
  });

  test("is sent at once when so many are held that memory would be the next to end", () => {
    const pace = new RefusalPace(LIMITS);
    const sent = Array.from({ length: 8 }, () => pace.send("a", NEVER, () => {}));
    assert.deepEqual(sent, [true, true, false, false, false, false, true, true]);
  });
});
