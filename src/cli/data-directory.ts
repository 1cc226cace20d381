import { existsSync, readdirSync } from "node:fs";
import { openEmbeddedEngine } from "../engine/embedded/embedded-engine.ts";
import type { Engine } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";

/** Files that a data directory has some of, damaged or not. */
const STORED = /^CURRENT$|\.(sst|log)$/;

/** Opening would make a new one where there is none. */
export function assertHoldsData(data: string): void {
  const names = existsSync(data) ? readdirSync(data) : [];
  if (names.some((name) => STORED.test(name))) return;
  throw new QuiverError("INVALID_FIELD", `There are no data in "${data}"`);
}

/** Opens a data directory for a command. `hint`: what to do instead while a server uses it. */
export async function openData(data: string, hint: string): Promise<Engine> {
  const tell = (message: string) => void process.stderr.write(`quiver: ${message}\n`);
  return openEmbeddedEngine({ path: data, onWarning: tell, onBackgroundError: tell }).catch((error: unknown) => {
    if (!(error instanceof QuiverError) || error.reason !== "STORAGE_LOCKED") throw error;
    throw new QuiverError("STORAGE_LOCKED", `Cannot open "${data}": a server uses it: ${hint}`);
  });
}
