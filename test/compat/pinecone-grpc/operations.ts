import type { OperationRow } from "../support/compatibility-table.ts";

/** Every method of Pinecone's gRPC API 2026-04; the index is named beside them, see `indexOfCall`. */
export const OPERATIONS: readonly OperationRow[] = [
  { operation: "Upsert", status: "works", note: "" },
  { operation: "Delete", status: "works", note: "" },
  { operation: "Fetch", status: "works", note: "" },
  { operation: "FetchByMetadata", status: "works", note: "" },
  { operation: "List", status: "works", note: "" },
  {
    operation: "Query",
    status: "differs",
    note: "`scan_factor` and `max_candidates` are not obeyed; the old `queries` are refused, since nothing is looked for.",
  },
  { operation: "Update", status: "works", note: "" },
  { operation: "DescribeIndexStats", status: "works", note: "" },
  { operation: "ListNamespaces", status: "works", note: "" },
  { operation: "CreateNamespace", status: "differs", note: "`schema` is not obeyed: all metadata can be filtered by." },
  { operation: "DescribeNamespace", status: "works", note: "" },
  { operation: "DeleteNamespace", status: "works", note: "" },
];
