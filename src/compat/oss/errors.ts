import { QuiverError, type Reason, type StatusCode } from "../../errors.ts";
import { camelCase } from "../camel-case.ts";
import type { FacadeAnswer, Operation, RequestHead } from "../facade.ts";

/** Codes of OSS with their status of HTTP. */
const CODES = {
  InvalidArgument: 400,
  InvalidDigest: 400,
  InvalidPolicyDocument: 400,
  InvalidVectorBucketName: 400,
  MalformedJson: 400,
  VectorIndexParameterInvalid: 400,
  VectorBucketIndexExceedLimit: 400,
  EntityTooLarge: 400,
  AccessDenied: 403,
  InvalidAccessKeyId: 403,
  SignatureDoesNotMatch: 403,
  RequestTimeTooSkewed: 403,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchVectorIndex: 404,
  RequestTimeout: 408,
  BucketNameNotAvailable: 409,
  BucketNotEmpty: 409,
  OperationConflict: 409,
  VectorBucketIndexAlreadyExist: 409,
  InternalError: 500,
  NotImplemented: 501,
  QpsLimitExceeded: 503,
  ServiceUnavailable: 503,
} as const;

export type OssCode = keyof typeof CODES;

const BY_REASON: Partial<Record<Reason, OssCode>> = {
  BUCKET_NOT_FOUND: "NoSuchBucket",
  POLICY_NOT_FOUND: "NoSuchBucketPolicy",
  BUCKET_EXISTS: "BucketNameNotAvailable",
  INDEX_EXISTS: "VectorBucketIndexAlreadyExist",
  BUCKET_NOT_EMPTY: "BucketNotEmpty",
  CREDENTIALS_INVALID: "InvalidAccessKeyId",
  INDEX_LIMIT: "VectorBucketIndexExceedLimit",
  ITEM_LIMIT: "VectorIndexParameterInvalid",
  RATE_LIMIT: "QpsLimitExceeded",
  REQUEST_TOO_LARGE: "EntityTooLarge",
};

const BY_CODE: Readonly<Record<StatusCode, OssCode>> = {
  INVALID_ARGUMENT: "VectorIndexParameterInvalid",
  NOT_FOUND: "NoSuchVectorIndex",
  ALREADY_EXISTS: "OperationConflict",
  FAILED_PRECONDITION: "OperationConflict",
  UNAUTHENTICATED: "AccessDenied",
  PERMISSION_DENIED: "AccessDenied",
  RESOURCE_EXHAUSTED: "ServiceUnavailable",
  OUT_OF_RANGE: "VectorIndexParameterInvalid",
  UNAVAILABLE: "ServiceUnavailable",
  DEADLINE_EXCEEDED: "RequestTimeout",
  CANCELLED: "RequestTimeout",
  DATA_LOSS: "InternalError",
  UNIMPLEMENTED: "NotImplemented",
  INTERNAL: "InternalError",
};

/** What the real service says; elsewhere the service's own message says more. */
const MESSAGES: Partial<Record<OssCode, string>> = {
  NoSuchBucket: "The specified bucket does not exist.",
  NoSuchBucketPolicy: "The bucket policy does not exist.",
  NoSuchVectorIndex: "The specified vector index does not exist.",
  BucketNotEmpty: "The bucket you tried to delete is not empty.",
};

/** What an argument of these that is wrong is called; of the others it is a parameter of an index. */
const INVALID_IN: Readonly<Record<string, OssCode>> = {
  PutVectorBucket: "InvalidArgument",
  ListVectorBuckets: "InvalidArgument",
  PutBucketPolicy: "InvalidPolicyDocument",
};

/** An error that OSS has a code of its own for. */
export function ossError(reason: Reason, ossCode: OssCode, message: string): QuiverError {
  return new QuiverError(reason, message, { metadata: { ossCode } });
}

/** The reason is sent, too, as the code that tells more. */
export function answerError(error: QuiverError, head: RequestHead, operation: Operation, hostId: string): FacadeAnswer {
  const code = codeOf(error, operation.name);
  const message = MESSAGES[code] ?? messageOf(error);
  const { requestId } = head;
  return {
    status: CODES[code],
    body: { Error: { Code: code, Message: message, RequestId: requestId, HostId: hostId, EC: error.reason } },
  };
}

function codeOf({ reason, code, violations, metadata: { ossCode } }: QuiverError, operation: string): OssCode {
  if (isOssCode(ossCode)) return ossCode;
  if (reason === "MALFORMED_REQUEST" && (violations[0] === undefined || violations[0].field === "body"))
    return "MalformedJson";
  const known = BY_REASON[reason] ?? BY_CODE[code];
  return known === "VectorIndexParameterInvalid" ? (INVALID_IN[operation] ?? known) : known;
}

function isOssCode(code: string | undefined): code is OssCode {
  return code !== undefined && Object.hasOwn(CODES, code);
}

/** Fields are told by their names in this API: `topK`, not `top_k`. */
function messageOf({ message, violations }: QuiverError): string {
  const [violation] = violations;
  if (violation === undefined || violations.length > 1) return message;
  return `${camelCase(violation.field)}: ${violation.description}`;
}
