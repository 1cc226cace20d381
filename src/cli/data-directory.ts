import { existsSync, readdirSync } from "node:fs";
import { openEmbeddedEngine } from "../engine/embedded/embedded-engine.ts";
import { makeDataDirectory } from "../engine/embedded/make-data-directory.ts";
import { assertMayUse } from "../engine/embedded/storage/assert-may-use.ts";
import type { Engine } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";

/** Files that a data directory has some of, damaged or not. */
const STORED = /^CURRENT$|\.(sst|log)$/;

/**
 * Opens a data directory for a command. `create`: makes it where there is none; else INVALID_FIELD says that there are no data.
 * `hint`: what to do instead while a server uses it.
 */
export async function openData(
  data: string,
  { create = false, hint }: { readonly create?: boolean; readonly hint: string },
): Promise<Engine> {
  await assertMayUse(data);
  if (create) await makeDataDirectory(data);
  else assertHoldsData(data);
  const tell = (message: string) => void process.stderr.write(`quiver: ${message}\n`);
  return openEmbeddedEngine({ path: data, onWarning: tell, onBackgroundError: tell }).catch((error: unknown) => {
    if (!(error instanceof QuiverError) || error.reason !== "STORAGE_LOCKED") throw error;
    throw new QuiverError("STORAGE_LOCKED", `Cannot open "${data}": a server uses it: ${hint}`);
  });
}

/** Opening would make a new one where there is none. */
function assertHoldsData(data: string): void {
  const names = existsSync(data) ? readdirSync(data) : [];
  if (names.some((name) => STORED.test(name))) return;
  throw new QuiverError("INVALID_FIELD", `There are no data in "${data}"`);
}
