import type { IndexReference } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";
import type { Api } from "./errors.ts";

/** What Moorcheh's operations work with. */
export interface MoorchehContext {
  readonly service: Service;
  readonly api: Api;
  /** Its indexes are the namespaces. */
  readonly bucket: string;
  /** How many vectors it may hold for on-prem clients; 0: as many as fit. */
  readonly maxItems: number;
}

/** The index that a namespace is. */
export function indexOf({ bucket }: MoorchehContext, namespace: string): IndexReference {
  return { vectorBucketName: bucket, indexName: namespace, indexArn: "" };
}

/** The bucket of all namespaces. */
export function bucketOf({ bucket }: MoorchehContext) {
  return { vectorBucketName: bucket, vectorBucketArn: "" };
}
