import assert from "node:assert/strict";
import { test } from "node:test";
import { writeJson } from "../../src/compat/write-json.ts";

test("what is written is what JSON.stringify writes", async () => {
  const bodies: readonly object[] = [
    {},
    [],
    { a: undefined, b: null, c: [], d: {}, e: [undefined, 1], f: { g: undefined, h: "ü\ud800" } },
    {
      vectors: [{ key: "k", data: { float32: [0.5, Number.NaN] }, metadata: { a: [true, "x"] } }],
      nextToken: undefined,
    },
    [{ a: { b: { c: [[1]] } } }, [[[2]]], "x", 3],
    JSON.parse('{"vectors":{"__proto__":{"id":"__proto__"},"constructor":1,"\\"":2}}'),
    { vectors: Array.from({ length: 10_000 }, (_, i) => ({ key: `${i}ü`, values: [i, i / 3] })) },
  ];
  for (const body of bodies) assert.equal((await writeJson(body)).toString(), JSON.stringify(body));
});

test("others have their turn while a long answer is written", async () => {
  let turns = 0;
  let isDone = false;
  const count = () => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const body = { vectors: Object.fromEntries(Array.from({ length: 64 }, (_, i) => [i, "x".repeat(64 * 1024)])) };
  assert.ok((await writeJson(body)).length > 64 * 64 * 1024);
  isDone = true;
  assert.ok(turns >= 50, `${turns}`);
});
