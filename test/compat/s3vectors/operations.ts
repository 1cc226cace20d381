import type { OperationRow } from "../support/compatibility-table.ts";

/** Every operation of Amazon S3 Vectors, and how it is here; the tests of the clients hold each row to it. */
export const OPERATIONS: readonly OperationRow[] = [
  { operation: "CreateVectorBucket", status: "differs", note: "aws:kms is refused: there is no key service" },
  { operation: "GetVectorBucket", status: "works", note: "Encryption is shown as AES256" },
  {
    operation: "ListVectorBuckets",
    status: "differs",
    note: "Hides names that Amazon does not allow; a page may be shorter for it, even empty, with a token",
  },
  { operation: "DeleteVectorBucket", status: "works", note: "" },
  { operation: "PutVectorBucketPolicy", status: "differs", note: "What the policy language does not know is refused" },
  { operation: "GetVectorBucketPolicy", status: "works", note: "" },
  { operation: "DeleteVectorBucketPolicy", status: "works", note: "" },
  { operation: "CreateIndex", status: "differs", note: "aws:kms is refused: there is no key service" },
  {
    operation: "GetIndex",
    status: "works",
    note: "An index made with another API is shown as it is: dimension up to 20,000, metric dot_product",
  },
  {
    operation: "ListIndexes",
    status: "differs",
    note: "Hides names that Amazon does not allow; a page may be shorter for it, even empty, with a token",
  },
  { operation: "DeleteIndex", status: "works", note: "One that is protected natively is refused as a conflict" },
  { operation: "PutVectors", status: "works", note: "Of a key that stands twice the later vector is kept" },
  { operation: "GetVectors", status: "works", note: "A vector of sparse values alone has no data" },
  { operation: "ListVectors", status: "works", note: "By key, in the order of its bytes" },
  {
    operation: "QueryVectors",
    status: "differs",
    note: "Euclidean distances are not squared; $ne and $nin match where the field is absent; topK is filled where enough vectors match",
  },
  { operation: "DeleteVectors", status: "works", note: "" },
  { operation: "TagResource", status: "works", note: "" },
  { operation: "UntagResource", status: "works", note: "" },
  { operation: "ListTagsForResource", status: "works", note: "" },
  { operation: "UpdateIndexMode", status: "not offered", note: "There is no text search" },
  { operation: "UpdateMetadataConfiguration", status: "not offered", note: "What is filterable is fixed" },
  { operation: "PutVectorBucketDefaultIndexMode", status: "not offered", note: "There is no text search" },
];
