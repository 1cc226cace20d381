import type { Index } from "../../engine/engine.ts";
import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { IndexReference } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";

/** Remembers what else an index was created with, as JSON. No tag of Pinecone's can have this name. */
export const KIND_TAG = "quiver:pinecone";

/** What a Pinecone index has that an index of this server has not. */
export interface IndexKind {
  readonly sparse: boolean;
  /** As it was given: nothing of it is obeyed. */
  readonly spec: Spec;
}

export interface Spec {
  readonly serverless?: { readonly cloud: string; readonly region: string };
  readonly pod?: {
    readonly environment: string;
    readonly pod_type: string;
    readonly pods: number;
    readonly replicas: number;
    readonly shards: number;
  };
}

export const DEFAULT_SPEC: Spec = Object.freeze({
  serverless: Object.freeze({ cloud: "aws", region: "us-east-1" }),
});

/** Of an index that was created through another API, too. */
export function kindOf({ tags }: Pick<Index, "tags">): IndexKind {
  const { sparse, spec } = parse(tags[KIND_TAG] ?? "{}");
  return { sparse: sparse === true, spec: typeof spec === "object" && spec !== null ? spec : DEFAULT_SPEC };
}

/** Other APIs let everybody write every tag. */
function parse(text: string): { readonly sparse?: unknown; readonly spec?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/**
 * Throws when dense values are meant for a sparse index. Such an index has the dimension 1, which no other values fit: only
 * for those is the index looked at.
 */
export async function assertNotSparse(
  service: Service,
  caller: Caller,
  reference: IndexReference,
  values: Float32Array | undefined,
): Promise<void> {
  if (values?.length !== 1) return;
  const { vectorBucketName, indexName, indexArn } = reference;
  if (!kindOf(await service.indexes.get(caller, { vectorBucketName, indexName, indexArn })).sparse) return;
  throw invalidField("values", "Dense values are not allowed on a sparse index", "SPARSE_INVALID");
}
