import type { Caller } from "../../service/access/caller.ts";

/** A request of the data plane, whatever protocol it came in. */
export interface DataPlaneCall {
  readonly caller: Caller;
  readonly index: string;
  /** The request as ProtoJSON, with camelCase members: `{ids, namespace}`, or `{namespace}` to describe one. */
  readonly body: unknown;
  /** Hears of the write that was done, or of the last one that the answer to a query saw. */
  noteLsn?(lsn: number): void;
}

/** Answers the response as ProtoJSON. */
export type DataPlaneOperation = (call: DataPlaneCall) => Promise<Record<string, unknown>>;

export interface DataPlaneOptions {
  /** The vector bucket of all indexes. */
  readonly defaultBucket: string;
}

/** The operations on the records of an index. */
export type DataPlane = Readonly<
  Record<
    | "upsert"
    | "query"
    | "fetch"
    | "fetchByMetadata"
    | "update"
    | "delete"
    | "list"
    | "describeIndexStats"
    | "listNamespaces"
    | "createNamespace"
    | "describeNamespace"
    | "deleteNamespace",
    DataPlaneOperation
  >
>;
