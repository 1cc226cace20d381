import type { Engine } from "../engine/engine.ts";
import { Buckets } from "./buckets.ts";
import { Indexes } from "./indexes.ts";
import type { ArnScope } from "./names.ts";
import { Vectors } from "./vectors.ts";

/** The use cases, whatever protocol they are asked in. */
export interface Service {
  readonly buckets: Buckets;
  readonly indexes: Indexes;
  readonly vectors: Vectors;
}

export function createService(engine: Engine, scope: ArnScope): Service {
  return {
    buckets: new Buckets(engine, scope),
    indexes: new Indexes(engine, scope),
    vectors: new Vectors(engine, scope),
  };
}
