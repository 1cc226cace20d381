import type { ArnScope } from "../names.ts";
import { ACTIONS, type Action, ruleOf } from "./actions.ts";

/** What tells the languages of policies apart; the rest is the same, see docs/guides/policies.md. */
export interface PolicyLanguage {
  readonly version: string;
  /** The members of the document and of a statement, those that must be there first. */
  readonly members: readonly string[];
  readonly statementMembers: readonly string[];
  /** What may stand before the `:` of an action, in lower case. */
  readonly actionPrefixes: readonly string[];
  /** The names of the actions on a bucket and what is in it. */
  readonly actionNames: ReadonlyMap<string, Action>;
  /** The member of Principal that lists them; undefined: Principal is the list itself. */
  readonly principalMember: string | undefined;
  /** The access key that a principal names, "*" for every one; undefined: it is none. */
  keyIdOf(principal: string, scope: ArnScope): string | undefined;
  /** What stands before the last part of a resource, between `:`. */
  resourceParts(scope: ArnScope): readonly string[];
  bucketResource(bucket: string): string;
  indexResource(bucket: string, index: string): string;
}

/** A bucket's policy can say nothing on those that are done to the server. */
const BUCKET_ACTIONS = (Object.keys(ACTIONS) as Action[]).filter((action) => ruleOf(action).on !== "server");

/** The identifier of an access key. */
export const KEY_ID = /^[A-Za-z0-9_-]{1,128}$/;
const USER = "user/";

/** The policies of S3 Vectors. */
const IAM: PolicyLanguage = {
  version: "2012-10-17",
  members: ["Version", "Statement", "Id"],
  statementMembers: [
    "Effect",
    "Principal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
    "Sid",
    // Known, so that it is refused with advice.
    "NotPrincipal",
  ],
  actionPrefixes: ["s3vectors"],
  actionNames: new Map(BUCKET_ACTIONS.map((action) => [action, action])),
  principalMember: "AWS",
  keyIdOf(principal, { account }) {
    const start = `arn:aws:iam::${account}:`;
    if (!principal.startsWith(start)) return plainKeyId(principal, account);
    const who = principal.slice(start.length);
    if (who === "root") return "*";
    const keyId = who.slice(USER.length);
    return who.startsWith(USER) && KEY_ID.test(keyId) ? keyId : undefined;
  },
  resourceParts: ({ region, account }) => ["arn", "aws", "s3vectors", region, account],
  bucketResource: (bucket) => `bucket/${bucket}`,
  indexResource: (bucket, index) => `bucket/${bucket}/index/${index}`,
};

const OSS_NAMES: Partial<Record<Action, string>> = {
  CreateVectorBucket: "PutVectorBucket",
  PutVectorBucketPolicy: "PutBucketPolicy",
  GetVectorBucketPolicy: "GetBucketPolicy",
  DeleteVectorBucketPolicy: "DeleteBucketPolicy",
  CreateIndex: "PutVectorIndex",
  GetIndex: "GetVectorIndex",
  ListIndexes: "ListVectorIndexes",
  DeleteIndex: "DeleteVectorIndex",
};

/** The policies of OSS vector buckets. */
const OSS: PolicyLanguage = {
  version: "1",
  members: ["Version", "Statement"],
  statementMembers: ["Effect", "Principal", "Action", "Resource"],
  actionPrefixes: ["ossvector", "oss"],
  actionNames: new Map(BUCKET_ACTIONS.map((action) => [OSS_NAMES[action] ?? action, action])),
  principalMember: undefined,
  keyIdOf: (principal, { account }) => plainKeyId(principal, account),
  resourceParts: ({ region, account }) => ["acs", "ossvector", region, account],
  bucketResource: (bucket) => bucket,
  indexResource: (bucket, index) => `${bucket}/${index}`,
};

export const POLICY_LANGUAGES: readonly PolicyLanguage[] = [IAM, OSS];

function plainKeyId(principal: string, account: string): string | undefined {
  if (principal === "*" || principal === account) return "*";
  // Twelve digits are another account.
  return KEY_ID.test(principal) && !/^\d{12}$/.test(principal) ? principal : undefined;
}
