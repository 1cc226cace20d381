import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { OPTIONS } from "../../src/config.ts";
import { LIMITS } from "../../src/service/limits.ts";

const reference = resolve(import.meta.dirname, "../../docs/reference");

test("docs/reference/limits.md lists every limit with its value, and no other", () => {
  const documented = rowsOf("limits.md").map(([name, value]) => [name, Number(value)]);
  assert.deepEqual(Object.fromEntries(documented), LIMITS);
});

test("docs/reference/configuration.md lists every option with flag, variable and default, and no other", () => {
  const options = Object.entries(OPTIONS).map(([key, { flag, environment, default: value }]) => {
    const preset = value === undefined || `${value}` === "" ? "none" : `\`${value}\``;
    return [key, `\`--${flag}\``, `\`${environment}\``, preset];
  });
  assert.deepEqual(
    rowsOf("configuration.md").map((cells) => cells.slice(0, 4)),
    options,
  );
});

/** The cells of the rows whose first cell is code, without its backticks. */
function rowsOf(file: string): string[][] {
  const rows = readFileSync(join(reference, file), "utf8").matchAll(/^\| `(\w+)` \| (.*) \|$/gm);
  return [...rows].map(([, name = "", rest = ""]) => [name, ...rest.split(" | ")]);
}
