import type { Engine } from "../engine/engine.ts";
import { AccessKeys } from "./access/access-keys.ts";
import { Authorizer } from "./access/authorizer.ts";
import { Callers } from "./access/callers.ts";
import type { SecretsKey } from "./access/secrets-key.ts";
import { Admin } from "./admin.ts";
import { Backups } from "./backups.ts";
import { Buckets } from "./buckets.ts";
import { Indexes } from "./indexes.ts";
import { Jobs } from "./jobs/jobs.ts";
import type { ArnScope } from "./names.ts";
import { Namespaces } from "./namespaces.ts";
import { Policies } from "./policies.ts";
import { Queries } from "./queries.ts";
import { type RateLimits, Rates } from "./rates.ts";
import { RecallMeasurements } from "./recall.ts";
import { Streams } from "./streams.ts";
import { Tags } from "./tags.ts";
import { Vectors } from "./vectors.ts";

/** The use cases, whatever protocol they are asked in. */
export interface Service {
  readonly buckets: Buckets;
  readonly policies: Policies;
  readonly indexes: Indexes;
  readonly namespaces: Namespaces;
  readonly vectors: Vectors;
  readonly queries: Queries;
  readonly recall: RecallMeasurements;
  readonly streams: Streams;
  /** Call `resume` before anything else, and `close` before the engine is closed. */
  readonly jobs: Jobs;
  readonly tags: Tags;
  /** Call `load` before anything else. */
  readonly accessKeys: AccessKeys;
  readonly backups: Backups;
  readonly admin: Admin;
  readonly authorizer: Authorizer;
  /** Tells who calls. */
  readonly callers: Callers;
}

export interface ServiceOptions {
  readonly scope: ArnScope;
  /** Absent: callers may go as fast as they can. */
  readonly rateLimits?: RateLimits;
  /** Absent: no access key can sign. */
  readonly secretsKey?: SecretsKey | undefined;
  /** Whether everybody may do everything as long as there is no access key. */
  readonly opensWithoutKeys: boolean;
  /** Hears of background work that failed and what that means. */
  readonly onBackgroundError: (message: string, error: unknown) => void;
}

export function createService(
  engine: Engine,
  { scope, rateLimits, secretsKey, opensWithoutKeys, onBackgroundError }: ServiceOptions,
): Service {
  const context = {
    engine,
    scope,
    rates: new Rates(rateLimits),
    authorizer: new Authorizer(engine, scope, onBackgroundError),
  };
  const accessKeys = new AccessKeys({ ...context, secretsKey, onError: onBackgroundError });
  return {
    buckets: new Buckets(context),
    policies: new Policies(context),
    indexes: new Indexes(context),
    namespaces: new Namespaces(context),
    vectors: new Vectors(context),
    queries: new Queries(context),
    recall: new RecallMeasurements(context),
    streams: new Streams(context),
    jobs: new Jobs({ ...context, onError: onBackgroundError }),
    tags: new Tags(context),
    accessKeys,
    backups: new Backups(context),
    admin: new Admin(context),
    authorizer: context.authorizer,
    callers: new Callers(accessKeys, { isOpen: opensWithoutKeys }),
  };
}
