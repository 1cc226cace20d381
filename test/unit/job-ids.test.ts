import assert from "node:assert/strict";
import { test } from "node:test";
import { JobIds } from "../../src/service/jobs/job-ids.ts";

test("job ids are UUIDs of version 7 in the order in which they were chosen, whatever the clock does", () => {
  const ids = new JobIds();
  const chosen: string[] = [];
  // 5,000 in one millisecond are more than the counter has numbers.
  for (const now of [1_000, 2_000, 500, Date.UTC(2026, 10, 21)]) {
    for (let i = 0; i < 5_000; i++) chosen.push(ids.next(now));
  }
  assert.deepEqual(chosen.toSorted(), chosen);
  assert.equal(new Set(chosen).size, chosen.length);
  for (const id of chosen) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(chosen[15_000]?.startsWith(Date.UTC(2026, 10, 21).toString(16).padStart(12, "0").slice(0, 8)));
});

test("after a restart with a clock that went back, ids still follow those before", () => {
  const before = new JobIds();
  const last = Array.from({ length: 10 }, () => before.next(5_000)).at(-1) as string;
  const after = new JobIds();
  after.notice(last);
  for (let i = 0; i < 10; i++) assert.ok(after.next(1_000) > last);
});
