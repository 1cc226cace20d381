import type { DiskUse, Engine, Health, MemoryUse } from "../engine/engine.ts";
import { VERSION } from "../version.ts";
import type { ArnScope } from "./names.ts";

/** What runs here. */
export interface ServerInfo {
  readonly version: string;
  readonly engine: string;
  readonly formatVersion: number;
  readonly lsn: number;
  readonly health: Health;
  readonly memory: MemoryUse;
  readonly disk: DiskUse;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly scope: ArnScope;
}

/** The server itself. */
export class Admin {
  readonly #engine: Engine;
  readonly #scope: ArnScope;
  readonly #startedAt = Date.now();

  constructor(engine: Engine, scope: ArnScope) {
    this.#engine = engine;
    this.#scope = scope;
  }

  serverInfo(): ServerInfo {
    const { name: engine, formatVersion, lsn, health, memory, disk } = this.#engine;
    return {
      version: VERSION,
      engine,
      formatVersion,
      lsn,
      health,
      memory,
      disk,
      startedAt: this.#startedAt,
      scope: this.#scope,
    };
  }
}
