import type { Engine } from "../engine/engine.ts";
import { VERSION } from "../version.ts";
import type { ArnScope } from "./names.ts";

/** What runs here. */
export interface ServerInfo {
  readonly version: string;
  readonly engine: string;
  readonly formatVersion: number;
  readonly lsn: number;
  /** Writes are refused until a restart. */
  readonly readOnly: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Bytes of memory that the process holds, native memory included. */
  readonly residentBytes: number;
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
    const { name: engine, formatVersion, lsn, readOnly } = this.#engine;
    return {
      version: VERSION,
      engine,
      formatVersion,
      lsn,
      readOnly,
      startedAt: this.#startedAt,
      residentBytes: process.memoryUsage.rss(),
      scope: this.#scope,
    };
  }
}
