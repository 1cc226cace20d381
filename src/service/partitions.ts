import type { Index, PartitionRef } from "../engine/engine.ts";
import type { Request, ServiceContext } from "./context.ts";
import { type IndexReference, resolveIndex, resolveNamespace } from "./names.ts";

/** An index by name or ARN, and one of its namespaces, as a request gives them. */
export interface PartitionReference extends IndexReference {
  readonly namespace: string;
}

/** A request that shows data or metadata, or tells by a filter what metadata is like, is also GetVectors. */
export interface PartitionRequest extends Request {
  readonly reads?: boolean;
}

/**
 * The partition that a request means, which need not exist. Counts the request. Throws INVALID_FIELD, NOT_ALLOWED or
 * RATE_LIMIT.
 */
export async function admitPartition(
  context: ServiceContext,
  asked: PartitionRequest,
  request: PartitionReference,
): Promise<PartitionRef> {
  const ref = resolveIndex(context.scope, request);
  const partition = { ...ref, namespace: resolveNamespace(request.namespace) };
  await authorizePartition(context, asked, partition);
  context.rates.admitRequest(ref);
  return partition;
}

/** Streams ask again for each item: a policy may have changed, or allow only until some time. Throws NOT_ALLOWED. */
export async function authorizePartition(
  { authorizer }: ServiceContext,
  { caller, action, reads = false }: PartitionRequest,
  partition: PartitionRef,
): Promise<void> {
  await authorizer.authorize(caller, action, partition);
  if (reads) await authorizer.authorize(caller, "GetVectors", partition);
}

/** The same with its index. Throws BUCKET_NOT_FOUND or INDEX_NOT_FOUND, too. */
export async function resolvePartition(
  context: ServiceContext,
  asked: PartitionRequest,
  request: PartitionReference,
): Promise<{ partition: PartitionRef; index: Index }> {
  const partition = await admitPartition(context, asked, request);
  return { partition, index: await context.engine.getIndex(partition) };
}

/** Whether a projection shows what only GetVectors may show. */
export function shows({ data, metadata }: { readonly data: boolean; readonly metadata: boolean }): boolean {
  return data || metadata;
}
