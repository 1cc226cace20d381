import type { OperationRow } from "../support/compatibility-table.ts";

/** Every operation of the vector buckets of Alibaba Cloud OSS. */
export const OPERATIONS: readonly OperationRow[] = [
  {
    operation: "PutVectorBucket",
    status: "differs",
    note: "Any account number in the host is taken; a resource group is kept as the tag x-oss-resource-group-id, tags as tags",
  },
  {
    operation: "GetVectorBucket",
    status: "differs",
    note: "Region, Location and the account in Name are those of --region and --account; both endpoints are the host that was asked",
  },
  { operation: "ListVectorBuckets", status: "works", note: "Hides buckets whose names OSS cannot have" },
  { operation: "DeleteVectorBucket", status: "works", note: "" },
  {
    operation: "PutBucketPolicy",
    status: "differs",
    note: 'Version "1"; principals are identifiers of access keys; what this server does not read is refused, not ignored',
  },
  { operation: "GetBucketPolicy", status: "works", note: "" },
  { operation: "DeleteBucketPolicy", status: "works", note: "" },
  {
    operation: "PutBucketLogging",
    status: "not offered",
    note: "501 NotImplemented: no log is written into a bucket; --audit-log writes one to a file",
  },
  { operation: "GetBucketLogging", status: "differs", note: "Always says that logging is off" },
  { operation: "DeleteBucketLogging", status: "works", note: "There is nothing to delete" },
  { operation: "PutVectorIndex", status: "works", note: "" },
  {
    operation: "GetVectorIndex",
    status: "differs",
    note: "status is always enable; an index that another API made may have the metric dot_product",
  },
  { operation: "ListVectorIndexes", status: "works", note: "Hides indexes whose names OSS cannot have" },
  { operation: "DeleteVectorIndex", status: "works", note: "" },
  {
    operation: "PutVectors",
    status: "differs",
    note: "All vectors are written or none; they are found at once; a key has at most 1,024 bytes, not characters",
  },
  { operation: "GetVectors", status: "works", note: "" },
  { operation: "ListVectors", status: "differs", note: "nextToken may be longer than 512 characters" },
  { operation: "DeleteVectors", status: "works", note: "" },
  {
    operation: "QueryVectors",
    status: "differs",
    note: "A filter may compare numbers and booleans, too; with one or returnMetadata it needs the permission GetVectors; euclidean distance is not squared",
  },
  { operation: "PutVectorIndexFusion", status: "not offered", note: "501 NotImplemented: there are no fusion indexes" },
  { operation: "QueryVectorsFusion", status: "not offered", note: "501 NotImplemented: there are no fusion indexes" },
];
