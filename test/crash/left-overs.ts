import assert from "node:assert/strict";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Rejects what a crash must not leave in a data directory once a server has started on it again: unfinished files,
 * column families without an index, saved graphs without a column family or in halves.
 */
export function assertNothingLeft(data: string, { indexes }: { readonly indexes: number }): void {
  const unfinished = globSync(["**/*.tmp", "**/*.new", "checkpoint-*"], { cwd: data });
  assert.deepEqual(unfinished, [], "unfinished files");
  const families = columnFamiliesOf(data);
  assert.equal(families.size, indexes + 1, `the catalog's column family and one for each index: ${[...families]}`);
  const graphs = join(data, "graphs");
  if (!existsSync(graphs)) return;
  for (const family of readdirSync(graphs)) {
    assert.ok(families.has(family), `graphs of ${family}, which has no column family`);
    const files = readdirSync(join(graphs, family));
    const ending = (end: string) => files.filter((file) => file.endsWith(end)).length;
    assert.deepEqual([ending(".graph"), files.length], [ending(".keys"), 2 * ending(".keys")], `${family}: ${files}`);
  }
}

/** Those that RocksDB has written down last; reading them this way leaves the database alone. */
function columnFamiliesOf(data: string): Set<string> {
  const options = globSync("OPTIONS-*", { cwd: data, exclude: (name) => name.endsWith(".dbtmp") }).sort();
  const text = readFileSync(join(data, options.at(-1) as string), "utf8");
  return new Set([...text.matchAll(/^\[CFOptions "(.*)"\]$/gm)].map(([, name]) => name as string));
}
