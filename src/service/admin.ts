import type { DiskUse, Health, MemoryUse, Verification } from "../engine/engine.ts";
import { VERSION } from "../version.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
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
  readonly #context: ServiceContext;
  readonly #startedAt = Date.now();

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** Reads everything that is stored, or one index when the reference is not empty. The signal ends it. */
  async verify(
    caller: Caller,
    { signal, ...reference }: IndexReference & { readonly signal: AbortSignal },
  ): Promise<Verification> {
    await this.#context.authorizer.authorize(caller, "VerifyStorage", {});
    const { vectorBucketName, indexName, indexArn } = reference;
    const isEmpty = vectorBucketName === "" && indexName === "" && indexArn === "";
    const ref = isEmpty ? undefined : resolveIndex(this.#context.scope, reference);
    return this.#context.engine.verify({ ref, signal });
  }

  async serverInfo(caller: Caller): Promise<ServerInfo> {
    await this.#context.authorizer.authorize(caller, "GetServerInfo", {});
    const { engine: port, scope } = this.#context;
    const { name: engine, formatVersion, graphFormatVersion, lsn, health, memory, disk } = port;
    return {
      version: VERSION,
      engine,
      formatVersion,
      graphFormatVersion,
      lsn,
      // What is wrong may name files, buckets and indexes.
      health: caller.role === "admin" ? health : { ...health, problems: [] },
      memory,
      disk,
      startedAt: this.#startedAt,
      scope,
    };
  }
}
