import type { Engine } from "../engine/engine.ts";
import { Admin } from "./admin.ts";
import { Buckets } from "./buckets.ts";
import { Indexes } from "./indexes.ts";
import type { ArnScope } from "./names.ts";
import { Vectors } from "./vectors.ts";

/** The use cases, whatever protocol they are asked in. */
export interface Service {
  readonly buckets: Buckets;
  readonly indexes: Indexes;
  readonly vectors: Vectors;
  readonly admin: Admin;
}

export function createService(engine: Engine, scope: ArnScope): Service {
  return {
    buckets: new Buckets(engine, scope),
    indexes: new Indexes(engine, scope),
    vectors: new Vectors(engine, scope),
    admin: new Admin(engine, scope),
  };
}
