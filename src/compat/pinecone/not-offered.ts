import { QuiverError } from "../../errors.ts";
import { OPERATIONS } from "./operations.ts";

/** The operations that this server does not have, by their methods and paths, in the control plane. */
export const CONTROL_NOT_OFFERED = {
  "POST /indexes/create-for-model": "create_index_for_model",
  "POST /indexes/{index}/backups": "create_backup",
  "GET /indexes/{index}/backups": "list_index_backups",
  "GET /backups": "list_project_backups",
  "GET /backups/{id}": "describe_backup",
  "DELETE /backups/{id}": "delete_backup",
  "POST /backups/{id}/create-index": "create_index_from_backup",
  "GET /restore-jobs": "list_restore_jobs",
  "GET /restore-jobs/{id}": "describe_restore_job",
  "POST /collections": "create_collection",
  "GET /collections": "list_collections",
  "GET /collections/{id}": "describe_collection",
  "DELETE /collections/{id}": "delete_collection",
  "POST /embed": "embed",
  "POST /rerank": "rerank",
  "GET /models": "list_models",
  "GET /models/{id}": "get_model",
};

/** The same of the data plane, below `/i/{index}`. */
export const DATA_NOT_OFFERED = {
  "POST /records/namespaces/{namespace}/upsert": "upsert_records",
  "POST /records/namespaces/{namespace}/search": "search_records",
  "POST /bulk/imports": "start_bulk_import",
  "GET /bulk/imports": "list_bulk_imports",
  "GET /bulk/imports/{id}": "describe_bulk_import",
  "DELETE /bulk/imports/{id}": "cancel_bulk_import",
  "POST /namespaces/{namespace}/documents/{action}": "documents",
};

/** The answer to such an operation, whatever is sent. */
export function notOffered(operation: string): QuiverError {
  const note = OPERATIONS.find((row) => row.operation === operation)?.note;
  return new QuiverError("NOT_IMPLEMENTED", `${operation} is not offered. ${note}`);
}
