import { QuiverError, type Reason, type StatusCode } from "../../errors.ts";
import type { FacadeAnswer } from "../facade.ts";
import { retryAfter } from "../retry-after.ts";

/** The API of the server that Moorcheh's users run themselves, or that of Moorcheh's cloud. */
export type Api = "on-prem" | "cloud";

/** By code. What Quiver does not have is 400: the cloud's client would send a 501 again, three times. */
const BY_CODE: Readonly<Record<StatusCode, number>> = {
  INVALID_ARGUMENT: 400,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  FAILED_PRECONDITION: 409,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  OUT_OF_RANGE: 400,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
  CANCELLED: 499,
  DATA_LOSS: 500,
  UNIMPLEMENTED: 400,
  INTERNAL: 500,
};

/** Of those whose code does not say it. */
const BY_REASON: Partial<Record<Reason, number>> = {
  REQUEST_TOO_LARGE: 413,
  INDEX_LIMIT: 409,
  DISK_FULL: 507,
  MEMORY_FULL: 507,
};

/** Any error in Moorcheh's dress. */
export function answerError(error: QuiverError, api: Api, operation: string): FacadeAnswer {
  const { reason, code, metadata } = error;
  const headers = retryAfter(error);
  // Bytes are no items.
  if (reason === "ITEM_LIMIT" && metadata.unit === "vectors") {
    const { current: items, max: max_items, requested_new } = metadata;
    const counts = { items: Number(items), max_items: Number(max_items), requested_new: Number(requested_new) };
    return { status: 409, headers, body: { status: "failure", message: "Item limit exceeded", ...counts } };
  }
  const status = BY_REASON[reason] ?? (reason === "ITEM_LIMIT" ? 507 : BY_CODE[code]);
  return {
    // The on-prem client takes any 409 for the item limit.
    status: status === 409 && api === "on-prem" ? 400 : status,
    headers,
    body: {
      status: operation === "Search" ? "error" : "failure",
      message: error.message.replace(NATIVE_QUERY, "query"),
    },
  };
}

/** How the native API calls what a search brings. */
const NATIVE_QUERY = /^query_vector\.float32/;

/** Runs what is about one namespace: a missing index or default bucket is a missing namespace. */
export async function inNamespace<T>(namespace: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const missing = error instanceof QuiverError && ["INDEX_NOT_FOUND", "BUCKET_NOT_FOUND"].includes(error.reason);
    throw missing ? new QuiverError("INDEX_NOT_FOUND", `Namespace '${namespace}' not found.`, { cause: error }) : error;
  }
}
