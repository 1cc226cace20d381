import type { OperationRow } from "../support/compatibility-table.ts";

const NO_TEXT = "no embedding model here: 400 with a sentence that says so";
const TEXT_REFUSED =
  "type text is refused; a namespace is an index of the default bucket that measures the cosine distance";
const SCORES = "vectors only; scores are ours: 1 - distance, 1 / (1 + distance) or the inner product, within 0 and 1";
const METADATA = "null and nested values in metadata are refused, each item for itself; duplicates: the last wins";
const AS_VECTORS = "of vectors, which have metadata and no text";

/** On-prem: moorcheh-client 0.1.6. */
export const ON_PREM_OPERATIONS: readonly OperationRow[] = [
  { operation: "health", status: "works", note: "items are the vectors of all indexes of the default bucket" },
  { operation: "namespaces.create", status: "differs", note: TEXT_REFUSED },
  { operation: "namespaces.list", status: "works", note: "without indexes whose names Moorcheh cannot express" },
  { operation: "namespaces.delete", status: "works", note: "deleted before it answers" },
  { operation: "namespaces.delete_job_status", status: "works", note: "completed, also after a restart" },
  { operation: "vectors.upload", status: "differs", note: METADATA },
  { operation: "vectors.upload_job_status", status: "works", note: "also lists the items that were refused" },
  { operation: "vectors.delete", status: "works", note: "" },
  { operation: "documents.upload", status: "not offered", note: NO_TEXT },
  { operation: "documents.get", status: "works", note: AS_VECTORS },
  { operation: "documents.delete", status: "works", note: AS_VECTORS },
  { operation: "documents.upload_job_status", status: "works", note: "the same as of vectors" },
  { operation: "documents.fetch_text_data", status: "not offered", note: NO_TEXT },
  { operation: "files.upload", status: "not offered", note: NO_TEXT },
  { operation: "files.list", status: "not offered", note: NO_TEXT },
  { operation: "files.get", status: "not offered", note: NO_TEXT },
  { operation: "files.delete", status: "not offered", note: NO_TEXT },
  { operation: "files.job_status", status: "not offered", note: NO_TEXT },
  { operation: "similarity_search.query", status: "differs", note: SCORES },
  { operation: "answer.generate", status: "not offered", note: NO_TEXT },
];

/** Cloud: moorcheh-sdk 1.3.7. */
export const CLOUD_OPERATIONS: readonly OperationRow[] = [
  { operation: "namespaces.create", status: "differs", note: TEXT_REFUSED },
  { operation: "namespaces.list", status: "works", note: "without indexes whose names Moorcheh cannot express" },
  { operation: "namespaces.delete", status: "works", note: "" },
  {
    operation: "vectors.upload",
    status: "differs",
    note: `${METADATA}; the client writes names in metadata in snake case`,
  },
  { operation: "vectors.delete", status: "works", note: "an id that is not there is no error" },
  { operation: "documents.upload", status: "not offered", note: NO_TEXT },
  { operation: "documents.get", status: "not offered", note: NO_TEXT },
  { operation: "documents.delete", status: "not offered", note: NO_TEXT },
  { operation: "documents.fetch_text_data", status: "not offered", note: NO_TEXT },
  { operation: "documents.upload_file", status: "not offered", note: NO_TEXT },
  { operation: "documents.list_files", status: "not offered", note: NO_TEXT },
  { operation: "documents.delete_files", status: "not offered", note: NO_TEXT },
  { operation: "similarity_search.query", status: "differs", note: SCORES },
  { operation: "answer.generate", status: "not offered", note: NO_TEXT },
];

/** Both, for the documentation. */
export const OPERATIONS: readonly OperationRow[] = [
  ...ON_PREM_OPERATIONS.map((row) => ({ ...row, operation: `on-prem ${row.operation}` })),
  ...CLOUD_OPERATIONS.map((row) => ({ ...row, operation: `cloud ${row.operation}` })),
];
