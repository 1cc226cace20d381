import type { DiskUse, Engine, Health, MemoryUse, Verification } from "../engine/engine.ts";
import { VERSION } from "../version.ts";
import { type ArnScope, type IndexReference, resolveIndex } from "./names.ts";

/** What runs here. */
export interface ServerInfo {
  readonly version: string;
  readonly engine: string;
  readonly formatVersion: number;
  readonly graphFormatVersion: number | undefined;
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

  /** Reads everything that is stored, or one index when the reference is not empty. The signal ends it. */
  async verify({ signal, ...reference }: IndexReference & { readonly signal: AbortSignal }): Promise<Verification> {
    const { vectorBucketName, indexName, indexArn } = reference;
    const isEmpty = vectorBucketName === "" && indexName === "" && indexArn === "";
    const ref = isEmpty ? undefined : resolveIndex(this.#scope, reference);
    return this.#engine.verify({ ref, signal });
  }

  serverInfo(): ServerInfo {
    const { name: engine, formatVersion, graphFormatVersion, lsn, health, memory, disk } = this.#engine;
    return {
      version: VERSION,
      engine,
      formatVersion,
      graphFormatVersion,
      lsn,
      health,
      memory,
      disk,
      startedAt: this.#startedAt,
      scope: this.#scope,
    };
  }
}
