import { invalidField, QuiverError, quote } from "../../errors.ts";
import type { CallKind } from "../../rpc/admission.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { BucketReference, IndexReference } from "../../service/names.ts";
import type { FacadeAnswer, FacadeRequest, Operation, RequestHead } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { OSS_LIMITS } from "./limits.ts";
import { assertIndexName, bucketOf } from "./references.ts";

type Answer = FacadeAnswer | Promise<FacadeAnswer>;

/** By method and sub-resource: `POST putVectors`, `PUT ` for none. */
export type Routes = Readonly<Record<string, Operation>>;

/** A request on a bucket that is named by its host. */
export interface BucketRequest extends FacadeRequest {
  readonly bucket: BucketReference;
}

/** A request on an index that is named in its body. */
export interface IndexRequest {
  readonly caller: Caller;
  readonly fields: JsonFields;
  readonly index: IndexReference & { readonly namespace: string };
}

export const DONE: FacadeAnswer = Object.freeze({ status: 200 });
export const GONE: FacadeAnswer = Object.freeze({ status: 204 });

/** An operation on a bucket; without `maxBytes` it has no body. */
export function onBucket(
  name: string,
  kind: CallKind,
  serve: (request: BucketRequest) => Answer,
  maxBytes = 0,
): Operation {
  return {
    name,
    kind,
    maxBytes,
    serve: (request) => {
      const vectorBucketName = bucketOf(request.head);
      request.note(vectorBucketName);
      return serve({ ...request, bucket: { vectorBucketName, vectorBucketArn: "" } });
    },
  };
}

/** An operation on an index, whose body is JSON. */
export function onIndex(
  name: string,
  kind: CallKind,
  serve: (request: IndexRequest) => Answer,
  maxBytes: number = OSS_LIMITS.bodyBytesMax,
): Operation {
  return {
    name,
    kind,
    maxBytes,
    serve: ({ head, caller, body, note }) => {
      const vectorBucketName = bucketOf(head);
      const fields = new JsonFields(body ?? {});
      const indexName = fields.string("indexName") ?? "";
      assertIndexName(indexName);
      note(`${vectorBucketName}/${indexName}`);
      return serve({ caller, fields, index: { vectorBucketName, indexName, indexArn: "", namespace: "" } });
    },
  };
}

/** What an OSS client may ask for and this server does not have. */
export const NOT_OFFERED: Operation = {
  name: "NotOffered",
  kind: "read",
  maxBytes: 0,
  serve: ({ head }) => {
    throw notOffered(head);
  },
};

export function notOffered({ method, path, query }: RequestHead): QuiverError {
  const asked = `${method} ${path}${query === "" ? "" : `?${query}`}`;
  return new QuiverError(
    "NOT_IMPLEMENTED",
    `${quote(asked)} is none of the operations on vector buckets that this server has: buckets are named by the host, not the path, and there are no objects, fusion indexes and public-access settings`,
  );
}

/** A whole number that may be left out. Throws INVALID_FIELD. */
export function integerIn(fields: JsonFields, name: string, min: number, max: number): number | undefined {
  const value = fields.integer(name);
  if (value === undefined || (value >= min && value <= max)) return value;
  throw invalidField(name, `Must be ${min} to ${max}, got ${value}`);
}
