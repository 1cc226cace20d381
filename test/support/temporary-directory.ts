import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directories: string[] = [];

// Not when its test ends: hooks run in the order of their registration, and a store that is closed after its directory
// is gone cannot write its last bytes.
process.once("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
});

/** A directory that is removed when the process ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "quiver-test-"));
  directories.push(directory);
  return directory;
}
