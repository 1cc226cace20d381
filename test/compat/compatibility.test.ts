import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { COMPATIBILITY_PAGE, compatibilityPage } from "./support/compatibility-table.ts";
import { VENDORS } from "./support/vendors.ts";

test("docs/reference/other-clients.md says of each operation what the tests show", () => {
  assert.equal(readFileSync(COMPATIBILITY_PAGE, "utf8"), compatibilityPage(VENDORS), "run scripts/compatibility-table");
});

test("no operation stands in a table twice, and what differs or is not offered says how or why", () => {
  for (const { title, rows } of VENDORS) {
    const names = rows.map(({ operation }) => operation);
    assert.deepEqual(names, [...new Set(names)], title);
    for (const { operation, status, note } of rows)
      assert.ok(status === "works" || note !== "", `${title}: ${operation}`);
  }
});
