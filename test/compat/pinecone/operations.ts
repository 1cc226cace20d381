import { CONTROL_NOT_OFFERED, DATA_NOT_OFFERED } from "../../../src/compat/pinecone/not-offered.ts";
import type { OperationRow } from "../support/compatibility-table.ts";

/** Every operation of the API's versions 2025-04, 2025-10 and 2026-04, and what of 2026-07 its clients need. */
export const OPERATIONS: readonly OperationRow[] = [
  {
    operation: "create_index",
    status: "differs",
    note: "Ready at once. The metadata keys text, chunk_text and _node_content cannot be filtered by. Cloud, region and pods are answered as given and mean nothing; dedicated read capacity, collections, customer's keys and schemas with other fields than _values or _sparse_values are refused",
  },
  { operation: "list_indexes", status: "works", note: "" },
  { operation: "describe_index", status: "works", note: "The host has a path, /pinecone/i/<index>" },
  {
    operation: "configure_index",
    status: "differs",
    note: "Deletion protection and tags; there are no pods, read capacity or embedding to configure",
  },
  { operation: "delete_index", status: "works", note: "Gone at once" },
  {
    operation: "upsert",
    status: "differs",
    note: "Seen by the next read. The metadata of a record has at most 50 keys, and 2 KB without text, chunk_text and _node_content; a namespace's name has 1 to 63 letters, digits, '.', '_' and '-'",
  },
  {
    operation: "query",
    status: "differs",
    note: "Scores: cosine 1 - distance, dotproduct as it is, euclidean the distance, nearest first. Dense and sparse are added unweighted. A filter has at most 1,024 values. scanFactor and maxCandidates are passed over",
  },
  { operation: "fetch", status: "works", note: "" },
  { operation: "fetch_by_metadata", status: "works", note: "A page may be shorter than its limit though more follow" },
  { operation: "update", status: "works", note: "" },
  { operation: "update_by_metadata", status: "works", note: "" },
  { operation: "delete", status: "differs", note: "An empty filter is refused: everything goes with deleteAll alone" },
  { operation: "list", status: "works", note: "" },
  { operation: "describe_index_stats", status: "works", note: "indexFullness is always 0" },
  { operation: "list_namespaces", status: "differs", note: "__default__ is listed once it has records" },
  {
    operation: "create_namespace",
    status: "differs",
    note: "Every key of metadata can be filtered by, whatever the schema says",
  },
  { operation: "describe_namespace", status: "works", note: "" },
  { operation: "delete_namespace", status: "works", note: "__default__ is emptied" },
  ...[...Object.values(CONTROL_NOT_OFFERED), ...Object.values(DATA_NOT_OFFERED)].map(({ operation, why: note }) => ({
    operation,
    status: "not offered" as const,
    note,
  })),
];
