import type { Engine, Index, PartitionRef } from "../engine/engine.ts";
import { type ArnScope, type IndexReference, resolveIndex, resolveNamespace } from "./names.ts";
import type { Rates } from "./rates.ts";

/** An index by name or ARN, and one of its namespaces, as a request gives them. */
export interface PartitionReference extends IndexReference {
  readonly namespace: string;
}

/** What it takes to tell which partition a request means, and to count the request. */
export interface PartitionContext {
  readonly engine: Engine;
  readonly scope: ArnScope;
  readonly rates: Rates;
}

/**
 * What a request means; the namespace need not exist. Counts the request. Throws INVALID_FIELD, RATE_LIMIT,
 * BUCKET_NOT_FOUND or INDEX_NOT_FOUND.
 */
export async function resolvePartition(
  { engine, scope, rates }: PartitionContext,
  request: PartitionReference,
): Promise<{ partition: PartitionRef; index: Index }> {
  const ref = resolveIndex(scope, request);
  const namespace = resolveNamespace(request.namespace);
  rates.admitRequest(ref);
  return { partition: { ...ref, namespace }, index: await engine.getIndex(ref) };
}
