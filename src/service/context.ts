import type { Engine, IndexRef } from "../engine/engine.ts";
import type { Action } from "./access/actions.ts";
import type { Authorizer } from "./access/authorizer.ts";
import type { Caller } from "./access/caller.ts";
import { type ArnScope, type BucketReference, type IndexReference, resolveBucket, resolveIndex } from "./names.ts";
import type { Rates } from "./rates.ts";

/** What every use case works with. */
export interface ServiceContext {
  readonly engine: Engine;
  /** Where resources live in ARNs. */
  readonly scope: ArnScope;
  /** What counts the requests. */
  readonly rates: Rates;
  readonly authorizer: Authorizer;
}

/** Who asks, and for what. */
export interface Request {
  readonly caller: Caller;
  readonly action: Action;
}

/** Lets in a request that is about no bucket. Counts it. Throws NOT_ALLOWED or RATE_LIMIT. */
export async function admitServer({ rates, authorizer }: ServiceContext, { caller, action }: Request): Promise<void> {
  await authorizer.authorize(caller, action, {});
  rates.admitRequest({});
}

/**
 * The bucket that a request means, which need not exist. Counts the request. Throws INVALID_FIELD, NOT_ALLOWED or
 * RATE_LIMIT.
 */
export async function admitBucket(
  { scope, rates, authorizer }: ServiceContext,
  { caller, action }: Request,
  reference: BucketReference,
): Promise<string> {
  const bucket = resolveBucket(scope, reference);
  await authorizer.authorize(caller, action, { bucket });
  rates.admitRequest({ bucket });
  return bucket;
}

/** The same for an index. */
export async function admitIndex(
  { scope, rates, authorizer }: ServiceContext,
  { caller, action }: Request,
  reference: IndexReference,
): Promise<IndexRef> {
  const ref = resolveIndex(scope, reference);
  await authorizer.authorize(caller, action, ref);
  rates.admitRequest(ref);
  return ref;
}
