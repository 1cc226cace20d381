import type { Engine } from "../engine/engine.ts";
import { Admin } from "./admin.ts";
import { Buckets } from "./buckets.ts";
import { Indexes } from "./indexes.ts";
import type { ArnScope } from "./names.ts";
import { Namespaces } from "./namespaces.ts";
import { type RateLimits, Rates } from "./rates.ts";
import { Tags } from "./tags.ts";
import { Vectors } from "./vectors.ts";

/** The use cases, whatever protocol they are asked in. */
export interface Service {
  readonly buckets: Buckets;
  readonly indexes: Indexes;
  readonly namespaces: Namespaces;
  readonly vectors: Vectors;
  readonly tags: Tags;
  readonly admin: Admin;
}

/** Without `rateLimits` callers may go as fast as they can. */
export function createService(engine: Engine, scope: ArnScope, rateLimits?: RateLimits): Service {
  const rates = new Rates(rateLimits);
  return {
    buckets: new Buckets(engine, scope, rates),
    indexes: new Indexes(engine, scope, rates),
    namespaces: new Namespaces(engine, scope, rates),
    vectors: new Vectors(engine, scope),
    tags: new Tags(engine, scope, rates),
    admin: new Admin(engine, scope),
  };
}
