/** One operation of Pinecone's documented API, and what becomes of it here. */
export interface DocumentedOperation {
  readonly operation: string;
  readonly status: "works" | "differs" | "not offered";
  readonly note: string;
}

const NO_MODELS = "This server has no embedding models: send vectors";
const NO_BACKUPS = "Backups are made of the whole server, by `quiver backup` or quiver.v1.AdminService";
const NO_IMPORTS = "Send vectors with upsert, or with ImportVectors of quiver.v1.VectorStreamService";
const NO_DOCUMENTS = "This server stores no documents with fields: use vectors";

/** Every operation of the API's versions 2025-04, 2025-10 and 2026-04, and what of 2026-07 its clients need. */
export const OPERATIONS: readonly DocumentedOperation[] = [
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
  { operation: "create_index_for_model", status: "not offered", note: NO_MODELS },
  { operation: "upsert_records", status: "not offered", note: NO_MODELS },
  { operation: "search_records", status: "not offered", note: NO_MODELS },
  { operation: "embed", status: "not offered", note: NO_MODELS },
  { operation: "rerank", status: "not offered", note: NO_MODELS },
  { operation: "list_models", status: "not offered", note: NO_MODELS },
  { operation: "get_model", status: "not offered", note: NO_MODELS },
  { operation: "create_backup", status: "not offered", note: NO_BACKUPS },
  { operation: "list_index_backups", status: "not offered", note: NO_BACKUPS },
  { operation: "list_project_backups", status: "not offered", note: NO_BACKUPS },
  { operation: "describe_backup", status: "not offered", note: NO_BACKUPS },
  { operation: "delete_backup", status: "not offered", note: NO_BACKUPS },
  { operation: "create_index_from_backup", status: "not offered", note: NO_BACKUPS },
  { operation: "list_restore_jobs", status: "not offered", note: NO_BACKUPS },
  { operation: "describe_restore_job", status: "not offered", note: NO_BACKUPS },
  { operation: "create_collection", status: "not offered", note: NO_BACKUPS },
  { operation: "list_collections", status: "not offered", note: NO_BACKUPS },
  { operation: "describe_collection", status: "not offered", note: NO_BACKUPS },
  { operation: "delete_collection", status: "not offered", note: NO_BACKUPS },
  { operation: "start_bulk_import", status: "not offered", note: NO_IMPORTS },
  { operation: "list_bulk_imports", status: "not offered", note: NO_IMPORTS },
  { operation: "describe_bulk_import", status: "not offered", note: NO_IMPORTS },
  { operation: "cancel_bulk_import", status: "not offered", note: NO_IMPORTS },
  { operation: "documents", status: "not offered", note: NO_DOCUMENTS },
];
