/**
 * The one error type of Quiver. Every failure that a caller may see is a QuiverError with a reason from this file;
 * rpc/ and compat/ turn it into their protocol's dress and never invent one.
 */

/**
 * Every reason, grouped by situation, with the google.rpc.Code that it stands for. quiver.v1.ErrorReason lists the same
 * names; a test keeps the two and docs/reference/errors.md equal.
 */
export const REASONS = {
  // The request itself is wrong: certainly not applied.
  MALFORMED_REQUEST: "INVALID_ARGUMENT",
  INVALID_FIELD: "INVALID_ARGUMENT",
  DIMENSION_MISMATCH: "INVALID_ARGUMENT",
  NON_FINITE_VALUE: "INVALID_ARGUMENT",
  ZERO_NORM: "INVALID_ARGUMENT",
  DUPLICATE_KEY: "INVALID_ARGUMENT",
  METADATA_INVALID: "INVALID_ARGUMENT",
  METADATA_TOO_LARGE: "INVALID_ARGUMENT",
  FILTER_INVALID: "INVALID_ARGUMENT",
  SPARSE_INVALID: "INVALID_ARGUMENT",
  PAGE_TOKEN_INVALID: "INVALID_ARGUMENT",

  // What it names does not exist, or exists already.
  BUCKET_NOT_FOUND: "NOT_FOUND",
  INDEX_NOT_FOUND: "NOT_FOUND",
  NAMESPACE_NOT_FOUND: "NOT_FOUND",
  VECTOR_NOT_FOUND: "NOT_FOUND",
  POLICY_NOT_FOUND: "NOT_FOUND",
  JOB_NOT_FOUND: "NOT_FOUND",
  ACCESS_KEY_NOT_FOUND: "NOT_FOUND",
  SERVICE_NOT_FOUND: "NOT_FOUND",
  BUCKET_EXISTS: "ALREADY_EXISTS",
  INDEX_EXISTS: "ALREADY_EXISTS",
  NAMESPACE_EXISTS: "ALREADY_EXISTS",

  // The state does not allow it.
  BUCKET_NOT_EMPTY: "FAILED_PRECONDITION",
  DELETION_PROTECTED: "FAILED_PRECONDITION",
  VERSION_MISMATCH: "FAILED_PRECONDITION",
  IDEMPOTENCY_KEY_REUSED: "FAILED_PRECONDITION",
  JOB_FINISHED: "FAILED_PRECONDITION",
  LAST_ADMIN_KEY: "FAILED_PRECONDITION",
  SECRETS_KEY_MISSING: "FAILED_PRECONDITION",

  // The caller may not.
  CREDENTIALS_MISSING: "UNAUTHENTICATED",
  CREDENTIALS_INVALID: "UNAUTHENTICATED",
  NOT_ALLOWED: "PERMISSION_DENIED",
  HOST_REFUSED: "PERMISSION_DENIED",
  ORIGIN_REFUSED: "PERMISSION_DENIED",

  // Something is used up: certainly not applied.
  ITEM_LIMIT: "RESOURCE_EXHAUSTED",
  INDEX_LIMIT: "RESOURCE_EXHAUSTED",
  ACCESS_KEY_LIMIT: "RESOURCE_EXHAUSTED",
  RATE_LIMIT: "RESOURCE_EXHAUSTED",
  DISK_FULL: "RESOURCE_EXHAUSTED",
  MEMORY_FULL: "RESOURCE_EXHAUSTED",
  INGEST_BACKLOG: "RESOURCE_EXHAUSTED",
  REQUEST_TOO_LARGE: "RESOURCE_EXHAUSTED",
  WATCH_BEHIND: "RESOURCE_EXHAUSTED",
  TOO_MANY_STREAMS: "RESOURCE_EXHAUSTED",
  OVERLOADED: "RESOURCE_EXHAUSTED",

  // The watch position is no longer kept.
  LSN_OUT_OF_RANGE: "OUT_OF_RANGE",

  // Not now: a write may have been applied.
  STORAGE_READ_ONLY: "UNAVAILABLE",
  WRITE_OUTCOME_UNKNOWN: "UNAVAILABLE",
  STORAGE_LOCKED: "UNAVAILABLE",
  SHUTTING_DOWN: "UNAVAILABLE",
  DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
  CANCELLED: "CANCELLED",

  // The server's fault.
  CORRUPTION: "DATA_LOSS",
  NOT_IMPLEMENTED: "UNIMPLEMENTED",
  INTERNAL: "INTERNAL",
} as const;

export type Reason = keyof typeof REASONS;
export type StatusCode = (typeof REASONS)[Reason];

/** One field that is wrong, by its path in the request: `vectors[3].data.float32[17]`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

export interface QuiverErrorOptions {
  /** Facts for programs, as strings: { max: "1000", given: "1001" }. */
  metadata?: Readonly<Record<string, string>>;
  /** Which fields are wrong, for INVALID_ARGUMENT. */
  violations?: readonly FieldViolation[];
  /** Wait so long before trying again, in milliseconds. */
  retryAfterMs?: number;
  /** What was looked for or stood in the way, for NOT_FOUND and ALREADY_EXISTS: { type: "index", name: "b/i" }. */
  resource?: { readonly type: string; readonly name: string };
  /** What caused it. Logged, never sent. */
  cause?: unknown;
}

/** Of each text in an error, in characters. What is echoed may be as long as a request. */
const TEXT_MAX = 1_024;

/** A failure with a reason. The message says what was asked, the value given and the value allowed. Texts are cut to 1,024 characters. */
export class QuiverError extends Error {
  override readonly name = "QuiverError";
  readonly reason: Reason;
  readonly code: StatusCode;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;
  readonly resource: QuiverErrorOptions["resource"];

  constructor(reason: Reason, message: string, options: QuiverErrorOptions = {}) {
    super(cut(message), { cause: options.cause });
    const { metadata = {}, violations = [], resource } = options;
    this.reason = reason;
    this.code = REASONS[reason];
    this.metadata = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, cut(value)]));
    this.violations = violations.map((each) => ({ field: cut(each.field), description: cut(each.description) }));
    this.retryAfterMs = options.retryAfterMs;
    this.resource = resource && { type: resource.type, name: cut(resource.name) };
  }
}

function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX - 3).toWellFormed()}...`;
}

/** An INVALID_ARGUMENT that names one field. */
export function invalidField(
  field: string,
  description: string,
  reason: Reason = "INVALID_FIELD",
  metadata: Readonly<Record<string, string>> = {},
): QuiverError {
  return new QuiverError(reason, `${field}: ${description}`, { violations: [{ field, description }], metadata });
}

/** Told to every call while the server stops. */
export function shuttingDown(cause?: unknown): QuiverError {
  return new QuiverError("SHUTTING_DOWN", "The server is shutting down: connect again", { retryAfterMs: 1000, cause });
}

/** A value for a message: quoted, and shortened so that a hostile one does not fill the log. */
export function quote(value: string): string {
  return JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}...` : value);
}
