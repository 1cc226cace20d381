import type { Backup } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { LIMITS } from "./limits.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";

/** The backups of everything that is stored: make, list. */
export class Backups {
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** Complete and verified; one at a time, later calls wait. The signal ends it, which leaves nothing. */
  async create(
    caller: Caller,
    { displayName, signal }: { readonly displayName: string; readonly signal: AbortSignal },
  ): Promise<Backup> {
    await this.#context.authorizer.authorize(caller, "CreateBackup", {});
    if (displayName.length > LIMITS.displayNameLengthMax) {
      throw invalidField(
        "display_name",
        `Must be at most ${LIMITS.displayNameLengthMax} characters, got ${displayName.length}`,
      );
    }
    return this.#context.engine.createBackup({ displayName, signal });
  }

  /** By identifier, which is the order of their creation. */
  async list(caller: Caller, request: PageRequest): Promise<PageResult<Backup>> {
    await this.#context.authorizer.authorize(caller, "ListBackups", {});
    return listPage(
      ["backups"],
      request,
      (options) => this.#context.engine.listBackups(options),
      ({ id }) => id,
    );
  }
}
