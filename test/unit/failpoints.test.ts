import assert from "node:assert/strict";
import { test } from "node:test";
import { createFailpoint } from "../../src/failpoints.ts";

test("a failpoint acts when it is hit as often as told, and only then", () => {
  const failpoint = createFailpoint("after-write=throw@2,before-write=throw@1");
  failpoint("after-write");
  failpoint("after-apply");
  assert.throws(() => failpoint("after-write"), /after-write/);
  failpoint("after-write");
  assert.throws(() => failpoint("before-write"), /before-write/);
});

test("a failpoint can pause", () => {
  const failpoint = createFailpoint("after-write=pause:30@1");
  const started = performance.now();
  failpoint("after-write");
  assert.ok(performance.now() - started >= 29);
});

test("without the variable a failpoint does nothing", () => {
  assert.equal(createFailpoint(undefined)("after-write"), undefined);
});

for (const text of [
  "",
  "after-write",
  "after-write=kill",
  "after-write=kill@0",
  "no-such-point=kill@1",
  "after-write=stop@1",
]) {
  test(`failpoints of ${JSON.stringify(text)} are refused`, () => {
    assert.throws(() => createFailpoint(text), /QUIVER_TEST_FAILPOINTS/);
  });
}
