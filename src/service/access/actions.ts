import type { AccessKeyRecord } from "../../engine/engine.ts";

/** What an access key allows, each role all of the one before. */
export const ROLES = ["read-only", "read-write", "admin"] as const satisfies readonly AccessKeyRecord["role"][];
export type Role = (typeof ROLES)[number];

interface ActionRule {
  /** The least role that may do it. */
  readonly role: Role;
  /** What it is done to. A tag may also stand on the bucket of an index that is not named. */
  readonly on: "server" | "bucket" | "index" | "namespace";
  /** Also allowed by a scope that lies within what it is done to: nothing beyond the scope is shown or changed. */
  readonly within?: true;
}

/** What callers do, by the names that policies use. One call may be several actions. */
export const ACTIONS = {
  CreateVectorBucket: { role: "read-write", on: "bucket" },
  GetVectorBucket: { role: "read-only", on: "bucket", within: true },
  ListVectorBuckets: { role: "read-only", on: "server", within: true },
  DeleteVectorBucket: { role: "read-write", on: "bucket" },
  PutVectorBucketPolicy: { role: "admin", on: "bucket" },
  GetVectorBucketPolicy: { role: "admin", on: "bucket" },
  DeleteVectorBucketPolicy: { role: "admin", on: "bucket" },
  CreateIndex: { role: "read-write", on: "index" },
  GetIndex: { role: "read-only", on: "index", within: true },
  ListIndexes: { role: "read-only", on: "bucket", within: true },
  UpdateIndex: { role: "read-write", on: "index" },
  DeleteIndex: { role: "read-write", on: "index" },
  GetIndexStats: { role: "read-only", on: "index" },
  MeasureRecall: { role: "read-only", on: "namespace" },
  CreateNamespace: { role: "read-write", on: "namespace" },
  GetNamespace: { role: "read-only", on: "namespace" },
  ListNamespaces: { role: "read-only", on: "index", within: true },
  DeleteNamespace: { role: "read-write", on: "namespace" },
  PutVectors: { role: "read-write", on: "namespace" },
  UpdateVectors: { role: "read-write", on: "namespace" },
  GetVectors: { role: "read-only", on: "namespace" },
  DeleteVectors: { role: "read-write", on: "namespace" },
  ListVectors: { role: "read-only", on: "namespace" },
  QueryVectors: { role: "read-only", on: "namespace" },
  GetJob: { role: "read-only", on: "namespace" },
  ListJobs: { role: "read-only", on: "server", within: true },
  CancelJob: { role: "read-write", on: "namespace" },
  TagResource: { role: "read-write", on: "index" },
  UntagResource: { role: "read-write", on: "index" },
  ListTagsForResource: { role: "read-only", on: "index" },
  CreateAccessKey: { role: "admin", on: "server" },
  RotateAccessKey: { role: "admin", on: "server" },
  ListAccessKeys: { role: "admin", on: "server" },
  DeleteAccessKey: { role: "admin", on: "server" },
  CreateBackup: { role: "admin", on: "server" },
  ListBackups: { role: "admin", on: "server" },
  VerifyStorage: { role: "admin", on: "server" },
  GetServerInfo: { role: "read-only", on: "server", within: true },
} as const satisfies Readonly<Record<string, ActionRule>>;

export type Action = keyof typeof ACTIONS;

export function ruleOf(action: Action): ActionRule {
  return ACTIONS[action];
}

/** What an action is done to: the server, a bucket, an index in it, a namespace in that. */
export interface Resource {
  readonly bucket?: string;
  readonly index?: string;
  readonly namespace?: string;
}
