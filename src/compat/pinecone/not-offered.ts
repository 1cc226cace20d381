import { QuiverError } from "../../errors.ts";

/** An operation of Pinecone's that this server does not have. */
export interface NotOffered {
  readonly operation: string;
  /** A sentence. */
  readonly why: string;
}

const NO_MODELS = "This server has no embedding models: send vectors";
const NO_BACKUPS = "Backups are made of the whole server, by `quiver backup` or quiver.v1.AdminService";
const NO_IMPORTS = "Send vectors with upsert, or with ImportVectors of quiver.v1.VectorStreamService";
const NO_DOCUMENTS = "This server stores no documents with fields: use vectors";

/** The operations that this server does not have, by their methods and paths, in the control plane. */
export const CONTROL_NOT_OFFERED = {
  "POST /indexes/create-for-model": { operation: "create_index_for_model", why: NO_MODELS },
  "POST /indexes/{index}/backups": { operation: "create_backup", why: NO_BACKUPS },
  "GET /indexes/{index}/backups": { operation: "list_index_backups", why: NO_BACKUPS },
  "GET /backups": { operation: "list_project_backups", why: NO_BACKUPS },
  "GET /backups/{id}": { operation: "describe_backup", why: NO_BACKUPS },
  "DELETE /backups/{id}": { operation: "delete_backup", why: NO_BACKUPS },
  "POST /backups/{id}/create-index": { operation: "create_index_from_backup", why: NO_BACKUPS },
  "GET /restore-jobs": { operation: "list_restore_jobs", why: NO_BACKUPS },
  "GET /restore-jobs/{id}": { operation: "describe_restore_job", why: NO_BACKUPS },
  "POST /collections": { operation: "create_collection", why: NO_BACKUPS },
  "GET /collections": { operation: "list_collections", why: NO_BACKUPS },
  "GET /collections/{id}": { operation: "describe_collection", why: NO_BACKUPS },
  "DELETE /collections/{id}": { operation: "delete_collection", why: NO_BACKUPS },
  "POST /embed": { operation: "embed", why: NO_MODELS },
  "POST /rerank": { operation: "rerank", why: NO_MODELS },
  "GET /models": { operation: "list_models", why: NO_MODELS },
  "GET /models/{id}": { operation: "get_model", why: NO_MODELS },
};

/** The same of the data plane, below `/i/{index}`. */
export const DATA_NOT_OFFERED = {
  "POST /records/namespaces/{namespace}/upsert": { operation: "upsert_records", why: NO_MODELS },
  "POST /records/namespaces/{namespace}/search": { operation: "search_records", why: NO_MODELS },
  "POST /bulk/imports": { operation: "start_bulk_import", why: NO_IMPORTS },
  "GET /bulk/imports": { operation: "list_bulk_imports", why: NO_IMPORTS },
  "GET /bulk/imports/{id}": { operation: "describe_bulk_import", why: NO_IMPORTS },
  "DELETE /bulk/imports/{id}": { operation: "cancel_bulk_import", why: NO_IMPORTS },
  "POST /namespaces/{namespace}/documents/{action}": { operation: "documents", why: NO_DOCUMENTS },
};

/** The answer to such an operation, whatever is sent. */
export function notOffered({ operation, why }: NotOffered): QuiverError {
  return new QuiverError("NOT_IMPLEMENTED", `${operation} is not offered. ${why}`);
}
