import { create, createRegistry, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  file_google_rpc_error_details,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.ts";
import { type Status, StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import { QuiverError, type Reason, type StatusCode } from "../errors.ts";

/** The domain of every ErrorInfo. */
export const ERROR_DOMAIN = "quiver";

/**
 * The longest message and description sent, in characters, and the most field violations. gRPC carries an error in
 * response trailers, twice, and clients refuse trailers beyond 8 KiB.
 */
const MESSAGE_MAX = 1_024;
const DESCRIPTION_MAX = 160;
const VIOLATIONS_MAX = 10;

const CODES: Readonly<Record<StatusCode, Code>> = {
  CANCELLED: Code.Canceled,
  INVALID_ARGUMENT: Code.InvalidArgument,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  OUT_OF_RANGE: Code.OutOfRange,
  UNIMPLEMENTED: Code.Unimplemented,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  DATA_LOSS: Code.DataLoss,
  UNAUTHENTICATED: Code.Unauthenticated,
};

const QUOTA_REASONS: ReadonlySet<Reason> = new Set([
  "ITEM_LIMIT",
  "INDEX_LIMIT",
  "ACCESS_KEY_LIMIT",
  "RATE_LIMIT",
  "TOO_MANY_STREAMS",
]);

/** The messages that stand in the details of errors: a status inside of an answer is written as JSON with their help. */
export const detailRegistry = createRegistry(file_google_rpc_error_details);

/** An error inside of an answer, with the code, message and details that a call which fails with it would have. */
export function toStatus(error: QuiverError): Status {
  const details = detailsOf(error).map(({ desc, value }) => anyPack(desc, create(desc, value)));
  return create(StatusSchema, { code: CODES[error.code], message: clip(error.message, MESSAGE_MAX), details });
}

/**
 * Turns anything that was thrown while a call was served into the error that the client gets. What is neither a
 * QuiverError nor an error made for a client becomes INTERNAL with a message that says nothing but the request id; the
 * thrown value stays in `cause`, for the log.
 */
export function toConnectError(thrown: unknown, requestId: string): ConnectError {
  if (thrown instanceof ConnectError && isForClients(thrown)) return thrown;
  return fromQuiverError(toQuiverError(thrown, requestId));
}

/** The same for protocols in which no error is made for clients but QuiverErrors. */
export function toQuiverError(thrown: unknown, requestId: string): QuiverError {
  if (thrown instanceof QuiverError) return thrown;
  const message = `The server failed to serve this call; its log has the cause under request id "${requestId}"`;
  return new QuiverError("INTERNAL", message, { metadata: { requestId }, cause: thrown });
}

/**
 * Turns an error that connect raised on the way from the first byte to a decoded message into the error that the client
 * gets: connect blames the server for bytes that it cannot decode.
 */
export function toRequestError(thrown: unknown): ConnectError {
  if (thrown instanceof QuiverError) return fromQuiverError(thrown);
  if (thrown instanceof ConnectError) {
    if (reasonOf(thrown) !== undefined) return thrown;
    return fromQuiverError(
      new QuiverError(requestReason(thrown.code), requestMessage(thrown), { cause: thrown.cause }),
    );
  }
  return fromQuiverError(new QuiverError("CANCELLED", "The request ended before it was complete", { cause: thrown }));
}

/** The reason in an error's ErrorInfo, if it has one. */
export function reasonOf(error: ConnectError): string | undefined {
  return error.findDetails(ErrorInfoSchema)[0]?.reason;
}

/** The damaged file that an error is about, if it names one. */
export function damagedFileOf(error: ConnectError): string | undefined {
  return error.findDetails(ErrorInfoSchema)[0]?.metadata.file;
}

/** Makes `error` say what `other` says. Connect sends the very object that it raised. */
export function overwriteError(error: ConnectError, other: ConnectError): void {
  const { code, rawMessage, message, details, cause } = other;
  Object.assign(error, { code, rawMessage, message, details, cause });
}

function isForClients(error: ConnectError): boolean {
  return reasonOf(error) !== undefined || (error.code !== Code.Internal && error.code !== Code.Unknown);
}

function requestReason(code: Code): Reason {
  switch (code) {
    case Code.ResourceExhausted:
      return "REQUEST_TOO_LARGE";
    case Code.DeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code.Canceled:
    case Code.Aborted:
      return "CANCELLED";
    case Code.Unimplemented:
      return "NOT_IMPLEMENTED";
    default:
      return "MALFORMED_REQUEST";
  }
}

function requestMessage(error: ConnectError): string {
  const message = error.rawMessage.replace(/^(parse binary|protocol error): /, "");
  return `Cannot read the request: ${message}`;
}

function fromQuiverError(error: QuiverError): ConnectError {
  const message = clip(error.message, MESSAGE_MAX);
  return new ConnectError(message, CODES[error.code], undefined, detailsOf(error), error.cause);
}

function detailsOf(error: QuiverError) {
  const { reason, metadata, violations, retryAfterMs, resource, code } = error;
  const description = clip(error.message, DESCRIPTION_MAX);
  const subject = resource === undefined ? "" : `${resource.type}:${resource.name}`;

  const details = [detail(ErrorInfoSchema, { reason, domain: ERROR_DOMAIN, metadata: { ...metadata } })];
  if (violations.length > 0) {
    const fieldViolations = violations.slice(0, VIOLATIONS_MAX).map((violation) => ({
      field: clip(violation.field, DESCRIPTION_MAX),
      description: clip(violation.description, DESCRIPTION_MAX),
    }));
    details.push(detail(BadRequestSchema, { fieldViolations }));
  }
  if (code === "FAILED_PRECONDITION") {
    details.push(detail(PreconditionFailureSchema, { violations: [{ type: reason, subject, description }] }));
  }
  if (QUOTA_REASONS.has(reason)) {
    details.push(detail(QuotaFailureSchema, { violations: [{ subject, description }] }));
  }
  if (resource !== undefined) {
    const { type, name } = resource;
    details.push(detail(ResourceInfoSchema, { resourceType: type, resourceName: name, description }));
  }
  if (retryAfterMs !== undefined) {
    const seconds = Math.floor(retryAfterMs / 1_000);
    const nanos = Math.round((retryAfterMs % 1_000) * 1e6);
    details.push(detail(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } }));
  }
  return details;
}

function detail<Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>) {
  return { desc, value } as { desc: DescMessage; value: MessageInitShape<DescMessage> };
}

/** Cuts a text. Lone surrogates, which a request may contain, cannot be sent and are replaced. */
function clip(text: string, max: number): string {
  return (text.length <= max ? text : `${text.slice(0, max - 1)}…`).toWellFormed();
}
