import { QuiverError } from "../../errors.ts";
import type { Api } from "./errors.ts";
import type { Route } from "./routes.ts";

/** What a server without an embedding model answers to all that is about text. */
export function noText(what: string): QuiverError {
  const message = `${what} is not offered: this server has no embedding model and stores vectors only; embed text before it is sent`;
  return new QuiverError("NOT_IMPLEMENTED", message);
}

/** Operations on text, each by its pattern with its name. */
const COMMON = [
  ["POST /namespaces/{namespace}/documents", "UploadDocuments"],
  ["GET /namespaces/{namespace}/documents/fetch-text-data", "FetchTextData"],
  ["POST /answer", "Answer"],
] as const;

const ON_PREM = [
  ["POST /namespaces/{namespace}/files", "UploadFiles"],
  ["GET /namespaces/{namespace}/files", "ListFiles"],
  ["GET /namespaces/{namespace}/files/{id}", "GetFile"],
  ["POST /namespaces/{namespace}/files/delete", "DeleteFiles"],
  ["GET /namespaces/{namespace}/file-jobs/{id}", "GetFileJob"],
] as const;

const CLOUD = [
  ["POST /namespaces/{namespace}/documents/get", "GetDocuments"],
  ["POST /namespaces/{namespace}/documents/delete", "DeleteDocuments"],
  ["POST /namespaces/{namespace}/upload-url", "UploadFile"],
  ["GET /namespaces/{namespace}/list-files", "ListFiles"],
  ["DELETE /namespaces/{namespace}/delete-file", "DeleteFile"],
] as const;

/** Every operation of the API that is refused, each with a sentence that says why. */
export function textRoutes(api: Api): Route[] {
  return [...COMMON, ...(api === "cloud" ? CLOUD : ON_PREM)].map(([pattern, name]) => {
    const refuse = () => {
      throw noText(name);
    };
    return [pattern, name, "read", refuse];
  });
}
