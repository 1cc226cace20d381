import type { Backup, Engine } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";

/** The backups of everything that is stored: make, list. */
export class Backups {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Complete and verified; one at a time, later calls wait. The signal ends it, which leaves nothing. */
  async create(request: { readonly displayName: string; readonly signal: AbortSignal }): Promise<Backup> {
    const { displayName, signal } = request;
    if (displayName.length > LIMITS.displayNameLengthMax) {
      throw invalidField(
        "display_name",
        `Must be at most ${LIMITS.displayNameLengthMax} characters, got ${displayName.length}`,
      );
    }
    return this.#engine.createBackup({ displayName, signal });
  }

  /** By identifier, which is the order of their creation. */
  list(request: PageRequest): Promise<PageResult<Backup>> {
    return listPage(
      ["backups"],
      request,
      (options) => this.#engine.listBackups(options),
      ({ id }) => id,
    );
  }
}
