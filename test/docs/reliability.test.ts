import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../..");

test("docs/reliability.md lists every test that has a full form, and no other", () => {
  const { scripts } = JSON.parse(readFileSync(resolve(root, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const withFullForm = Object.keys(scripts).filter((name) => scripts[name]?.includes("scripts/test-full"));
  const page = readFileSync(resolve(root, "docs/reliability.md"), "utf8");
  const listed = [...page.matchAll(/^\| `npm run (test:[\w-]+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(listed.sort(), withFullForm.sort());
});
