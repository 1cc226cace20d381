import { existsSync, readdirSync } from "node:fs";
import { openEmbeddedEngine } from "../engine/embedded/embedded-engine.ts";
import { makeDataDirectory } from "../engine/embedded/make-data-directory.ts";
import { assertMayUse } from "../engine/embedded/storage/assert-may-use.ts";
import type { Engine } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";

/** Files that a data directory has some of, damaged or not. */
const STORED = /^CURRENT$|\.(sst|log)$/;

export interface OpenDataOptions {
  /** Makes it where there is none. */
  readonly create?: boolean;
  /** As of the engine. */
  readonly onlyVerifies?: boolean;
  /** What to do instead while a server uses it. */
  readonly hint: string;
}

/** Opens a data directory for a command. INVALID_FIELD when there is none, or it may not be used. */
export async function openData(
  data: string,
  { create = false, onlyVerifies = false, hint }: OpenDataOptions,
): Promise<Engine> {
  await assertMayUse(data);
  if (create) await makeDataDirectory(data);
  else assertHoldsData(data);
  const tell = (message: string) => void process.stderr.write(`quiver: ${message}\n`);
  const options = { path: data, onlyVerifies, onWarning: tell, onBackgroundError: tell };
  return openEmbeddedEngine(options).catch((error: unknown) => {
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
