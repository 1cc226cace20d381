import { type FieldViolation, QuiverError, type Reason } from "../../errors.ts";
import { camelCase } from "../camel-case.ts";
import type { FacadeAnswer, Operation } from "../facade.ts";
import { retryAfter } from "../retry-after.ts";
import { S3_LIMITS } from "./limits.ts";

const STATUSES = {
  ValidationException: 400,
  SerializationException: 400,
  AccessDeniedException: 403,
  NotFoundException: 404,
  UnknownOperationException: 404,
  ConflictException: 409,
  ServiceQuotaExceededException: 402,
  RequestTimeoutException: 408,
  TooManyRequestsException: 429,
  InternalServerException: 500,
  ServiceUnavailableException: 503,
} as const;

type Exception = keyof typeof STATUSES;

/** Which exception an error is. Those that Amazon's clients repeat by themselves are of 408, 429, 500 and 503. */
const BY_REASON: Readonly<Record<Reason, Exception>> = {
  MALFORMED_REQUEST: "SerializationException",
  INVALID_FIELD: "ValidationException",
  DIMENSION_MISMATCH: "ValidationException",
  NON_FINITE_VALUE: "ValidationException",
  ZERO_NORM: "ValidationException",
  DUPLICATE_KEY: "ValidationException",
  METADATA_INVALID: "ValidationException",
  METADATA_TOO_LARGE: "ValidationException",
  FILTER_INVALID: "ValidationException",
  SPARSE_INVALID: "ValidationException",
  PAGE_TOKEN_INVALID: "ValidationException",
  REQUEST_TOO_LARGE: "ValidationException",
  LSN_OUT_OF_RANGE: "ValidationException",

  BUCKET_NOT_FOUND: "NotFoundException",
  INDEX_NOT_FOUND: "NotFoundException",
  NAMESPACE_NOT_FOUND: "NotFoundException",
  VECTOR_NOT_FOUND: "NotFoundException",
  POLICY_NOT_FOUND: "NotFoundException",
  JOB_NOT_FOUND: "NotFoundException",
  ACCESS_KEY_NOT_FOUND: "NotFoundException",
  SERVICE_NOT_FOUND: "UnknownOperationException",
  NOT_IMPLEMENTED: "UnknownOperationException",

  BUCKET_EXISTS: "ConflictException",
  INDEX_EXISTS: "ConflictException",
  NAMESPACE_EXISTS: "ConflictException",
  BUCKET_NOT_EMPTY: "ConflictException",
  DELETION_PROTECTED: "ConflictException",
  VERSION_MISMATCH: "ConflictException",
  IDEMPOTENCY_KEY_REUSED: "ConflictException",
  JOB_FINISHED: "ConflictException",
  LAST_ADMIN_KEY: "ConflictException",
  SECRETS_KEY_MISSING: "ConflictException",

  CREDENTIALS_MISSING: "AccessDeniedException",
  CREDENTIALS_INVALID: "AccessDeniedException",
  NOT_ALLOWED: "AccessDeniedException",
  HOST_REFUSED: "AccessDeniedException",
  ORIGIN_REFUSED: "AccessDeniedException",

  ITEM_LIMIT: "ServiceQuotaExceededException",
  INDEX_LIMIT: "ServiceQuotaExceededException",
  ACCESS_KEY_LIMIT: "ServiceQuotaExceededException",
  DISK_FULL: "ServiceQuotaExceededException",
  RATE_LIMIT: "TooManyRequestsException",
  TOO_MANY_STREAMS: "TooManyRequestsException",
  WATCH_BEHIND: "ServiceUnavailableException",
  MEMORY_FULL: "ServiceUnavailableException",
  INGEST_BACKLOG: "ServiceUnavailableException",
  OVERLOADED: "ServiceUnavailableException",

  STORAGE_READ_ONLY: "ServiceUnavailableException",
  STORAGE_LOCKED: "ServiceUnavailableException",
  WRITE_OUTCOME_UNKNOWN: "ServiceUnavailableException",
  SHUTTING_DOWN: "ServiceUnavailableException",
  DEADLINE_EXCEEDED: "RequestTimeoutException",
  CANCELLED: "RequestTimeoutException",
  CORRUPTION: "InternalServerException",
  INTERNAL: "InternalServerException",
};

/** What Amazon says, where that is known. */
const MESSAGES: Readonly<Partial<Record<Reason, string>>> = {
  BUCKET_NOT_FOUND: "The specified vector bucket could not be found",
  INDEX_NOT_FOUND: "The specified index could not be found",
  POLICY_NOT_FOUND: "The specified vector bucket policy could not be found",
  BUCKET_EXISTS: "A vector bucket with the specified name already exists",
  INDEX_EXISTS: "An index with the specified name already exists",
  BUCKET_NOT_EMPTY: "The specified vector bucket is not empty",
  REQUEST_TOO_LARGE: "Request body exceeds max allowed size",
};

/** They tell nobody whether there is the bucket. */
const ON_INDEX: ReadonlySet<string> = new Set([
  "GetIndex",
  "DeleteIndex",
  "PutVectors",
  "GetVectors",
  "ListVectors",
  "QueryVectors",
  "DeleteVectors",
]);

export function answerError(error: QuiverError, operation: Operation): FacadeAnswer {
  const exception = BY_REASON[error.reason];
  const { violations } = error;
  return {
    status: STATUSES[exception],
    headers: { "x-amzn-errortype": exception, ...retryAfter(error) },
    body: {
      message: messageOf(error, operation),
      ...(exception === "ValidationException" && violations.length > 0 ? { fieldList: fieldListOf(error) } : {}),
    },
  };
}

function messageOf({ reason, message, metadata, violations }: QuiverError, operation: Operation): string {
  if (reason === "FILTER_INVALID") {
    return metadata.non_filterable_key === undefined ? "Invalid filter" : NON_FILTERABLE;
  }
  const asked = reason === "BUCKET_NOT_FOUND" && ON_INDEX.has(operation.name) ? "INDEX_NOT_FOUND" : reason;
  const field = violations[0]?.field ?? "";
  return MESSAGES[asked] ?? message.replace(field, camelCase(field));
}

const NON_FILTERABLE = "Invalid use of non-filterable metadata in filter";

function fieldListOf({ reason, violations }: QuiverError): { path: string; message: string }[] {
  if (reason === "FILTER_INVALID") {
    return violations.map(({ field, description }) => ({ path: "filter", message: `${field}: ${description}` }));
  }
  return violations.map(({ field, description }) => ({ path: camelCase(field), message: description }));
}

/** What is wrong with a vector, as Amazon says it; undefined when it is something else that the error is about. */
function vectorProblem({ reason, metadata, violations }: QuiverError): string | undefined {
  switch (reason) {
    case "DIMENSION_MISMATCH":
      return `vector must have length ${metadata.dimension}, but has length ${metadata.given}`;
    case "NON_FINITE_VALUE":
      return "vector contains NaNs or Infs";
    case "ZERO_NORM":
      return "cosine distance does not support vectors with zero norm";
    case "METADATA_TOO_LARGE":
      return TOO_LARGE[metadata.unit as keyof typeof TOO_LARGE];
    case "METADATA_INVALID":
      return violations[0]?.description;
    default:
      return undefined;
  }
}

const TOO_LARGE = {
  keys: "Metadata object must have at most 50 keys",
  bytes: "Metadata object must have at most 40960 bytes",
  "filterable bytes": "Filterable metadata must have at most 2048 bytes",
};

/** The error of a put, which names the record that is wrong; others as they are. */
export function recordError(thrown: unknown, keys: readonly string[]): unknown {
  if (!(thrown instanceof QuiverError)) return thrown;
  const problem = vectorProblem(thrown);
  const [, digits] = RECORD.exec(thrown.violations[0]?.field ?? "") ?? [];
  if (problem === undefined || digits === undefined) return thrown;
  return invalidRecord(thrown.reason, Number(digits), keys[Number(digits)] ?? "", problem);
}

const RECORD = /^vectors\[(\d{1,4})\]/;

export function invalidRecord(reason: Reason, i: number, key: string, problem: string): QuiverError {
  const violation: FieldViolation = { field: `vectors[${i}]`, description: problem };
  const shown = key.length > KEY_SHOWN_MAX ? `${key.slice(0, KEY_SHOWN_MAX)}...` : key;
  return new QuiverError(reason, `Invalid record for key '${shown.toWellFormed()}': ${problem}`, {
    violations: [violation],
  });
}

/** So that the problem is not cut off. */
const KEY_SHOWN_MAX = S3_LIMITS.key.max / 2;

/** The error of a query whose vector is wrong; others as they are. */
export function queryError(thrown: unknown): unknown {
  if (!(thrown instanceof QuiverError)) return thrown;
  const problem = vectorProblem(thrown);
  if (problem === undefined) return thrown;
  return new QuiverError(thrown.reason, "Query vector contains invalid values or is invalid for this index", {
    violations: [{ field: "vector", description: `Invalid input: ${problem}` }],
  });
}

/** The error of adding tags to those that are there; others as they are. */
export function tagsError(thrown: unknown): unknown {
  if (!(thrown instanceof QuiverError) || thrown.violations[0]?.field !== "tags") return thrown;
  const description = "Too many tags specified";
  return new QuiverError(thrown.reason, description, { violations: [{ field: "tags", description }] });
}
