import type { Index, PartitionRef } from "../engine/engine.ts";
import { admitIndex, type ServiceContext } from "./context.ts";
import { type IndexReference, resolveNamespace } from "./names.ts";

/** An index by name or ARN, and one of its namespaces, as a request gives them. */
export interface PartitionReference extends IndexReference {
  readonly namespace: string;
}

/**
 * What a request means; the namespace need not exist. Counts the request. Throws INVALID_FIELD, RATE_LIMIT,
 * BUCKET_NOT_FOUND or INDEX_NOT_FOUND.
 */
export async function resolvePartition(
  context: ServiceContext,
  request: PartitionReference,
): Promise<{ partition: PartitionRef; index: Index }> {
  const ref = admitIndex(context, request);
  const namespace = resolveNamespace(request.namespace);
  return { partition: { ...ref, namespace }, index: await context.engine.getIndex(ref) };
}
