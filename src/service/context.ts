import type { Engine, IndexRef } from "../engine/engine.ts";
import { type ArnScope, type BucketReference, type IndexReference, resolveBucket, resolveIndex } from "./names.ts";
import type { Rates } from "./rates.ts";

/** What every use case works with. */
export interface ServiceContext {
  readonly engine: Engine;
  /** Where resources live in ARNs. */
  readonly scope: ArnScope;
  /** What counts the requests. */
  readonly rates: Rates;
}

/** The bucket that a request means, which need not exist. Counts the request. Throws INVALID_FIELD or RATE_LIMIT. */
export function admitBucket({ scope, rates }: ServiceContext, reference: BucketReference): string {
  const bucket = resolveBucket(scope, reference);
  rates.admitRequest({ bucket });
  return bucket;
}

/** The index that a request means, which need not exist. Counts the request. Throws INVALID_FIELD or RATE_LIMIT. */
export function admitIndex({ scope, rates }: ServiceContext, reference: IndexReference): IndexRef {
  const ref = resolveIndex(scope, reference);
  rates.admitRequest(ref);
  return ref;
}
