import assert from "node:assert/strict";
import { test } from "node:test";
import { answerError } from "../../../src/compat/oss/errors.ts";
import { invalidField, QuiverError, REASONS, type Reason } from "../../../src/errors.ts";

const PARAMETER = [400, "VectorIndexParameterInvalid"] as const;
const NO_INDEX = [404, "NoSuchVectorIndex"] as const;
const CONFLICT = [409, "OperationConflict"] as const;
const DENIED = [403, "AccessDenied"] as const;
const BUSY = [503, "ServiceUnavailable"] as const;
const FAULT = [500, "InternalError"] as const;

/** Clients try again after 408 and from 500 on, and after no other status here. */
const ANSWERS: Readonly<Record<Reason, readonly [status: number, code: string]>> = {
  MALFORMED_REQUEST: [400, "MalformedJson"],
  INVALID_FIELD: PARAMETER,
  DIMENSION_MISMATCH: PARAMETER,
  NON_FINITE_VALUE: PARAMETER,
  ZERO_NORM: PARAMETER,
  DUPLICATE_KEY: PARAMETER,
  METADATA_INVALID: PARAMETER,
  METADATA_TOO_LARGE: PARAMETER,
  FILTER_INVALID: PARAMETER,
  SPARSE_INVALID: PARAMETER,
  PAGE_TOKEN_INVALID: PARAMETER,
  BUCKET_NOT_FOUND: [404, "NoSuchBucket"],
  INDEX_NOT_FOUND: NO_INDEX,
  NAMESPACE_NOT_FOUND: NO_INDEX,
  VECTOR_NOT_FOUND: NO_INDEX,
  POLICY_NOT_FOUND: [404, "NoSuchBucketPolicy"],
  JOB_NOT_FOUND: NO_INDEX,
  ACCESS_KEY_NOT_FOUND: NO_INDEX,
  SERVICE_NOT_FOUND: NO_INDEX,
  BUCKET_EXISTS: [409, "BucketNameNotAvailable"],
  INDEX_EXISTS: [409, "VectorBucketIndexAlreadyExist"],
  NAMESPACE_EXISTS: CONFLICT,
  BUCKET_NOT_EMPTY: [409, "BucketNotEmpty"],
  DELETION_PROTECTED: CONFLICT,
  VERSION_MISMATCH: CONFLICT,
  IDEMPOTENCY_KEY_REUSED: CONFLICT,
  JOB_FINISHED: CONFLICT,
  LAST_ADMIN_KEY: CONFLICT,
  SECRETS_KEY_MISSING: CONFLICT,
  CREDENTIALS_MISSING: DENIED,
  CREDENTIALS_INVALID: [403, "InvalidAccessKeyId"],
  NOT_ALLOWED: DENIED,
  HOST_REFUSED: DENIED,
  ORIGIN_REFUSED: DENIED,
  ITEM_LIMIT: PARAMETER,
  INDEX_LIMIT: [400, "VectorBucketIndexExceedLimit"],
  ACCESS_KEY_LIMIT: BUSY,
  RATE_LIMIT: [503, "QpsLimitExceeded"],
  DISK_FULL: BUSY,
  MEMORY_FULL: BUSY,
  INGEST_BACKLOG: BUSY,
  REQUEST_TOO_LARGE: [400, "EntityTooLarge"],
  WATCH_BEHIND: BUSY,
  TOO_MANY_STREAMS: BUSY,
  OVERLOADED: BUSY,
  LSN_OUT_OF_RANGE: PARAMETER,
  STORAGE_READ_ONLY: BUSY,
  WRITE_OUTCOME_UNKNOWN: BUSY,
  STORAGE_LOCKED: BUSY,
  SHUTTING_DOWN: BUSY,
  DEADLINE_EXCEEDED: [408, "RequestTimeout"],
  CANCELLED: [408, "RequestTimeout"],
  CORRUPTION: FAULT,
  NOT_IMPLEMENTED: [501, "NotImplemented"],
  INTERNAL: FAULT,
};

interface Sent {
  readonly Code: string;
  readonly Message: string;
  readonly RequestId: string;
  readonly HostId: string;
  readonly EC: string;
}

function answer(error: QuiverError, name = "PutVectors"): Sent & { readonly status: number } {
  const head = {
    method: "POST",
    path: "/",
    query: "",
    headers: {},
    url: "http://localhost",
    origin: { address: "127.0.0.1", secure: false },
    requestId: "id",
  };
  const operation = { name, kind: "write", maxBytes: 0, serve: () => assert.fail() } as const;
  const { status, body } = answerError(error, head, operation, "host");
  return { status, ...(body as { readonly Error: Sent }).Error };
}

test("every reason has a status and a code of OSS, and is told as EC", () => {
  assert.deepEqual(Object.keys(ANSWERS).sort(), Object.keys(REASONS).sort());
  for (const [reason, [status, Code]] of Object.entries(ANSWERS)) {
    const { Message, ...rest } = answer(new QuiverError(reason as Reason, "Why"));
    assert.deepEqual(rest, { status, Code, RequestId: "id", HostId: "host", EC: reason });
    assert.ok(Message);
  }
});

test("what is wrong in a request is told by the names of this API", () => {
  const messageOf = (field: string) => answer(invalidField(field, "Must not")).Message;
  assert.equal(messageOf("query_vector.float32[3]"), "queryVector.float32[3]: Must not");
  assert.equal(messageOf('vectors[0].metadata["my_key"]'), 'vectors[0].metadata["my_key"]: Must not');
  assert.equal(messageOf("topK"), "topK: Must not");
});

test("an argument that is wrong has another code in requests on buckets", () => {
  const codeOf = (operation: string) => answer(invalidField("x", "Must not"), operation).Code;
  assert.equal(codeOf("PutVectorBucket"), "InvalidArgument");
  assert.equal(codeOf("ListVectorBuckets"), "InvalidArgument");
  assert.equal(codeOf("PutBucketPolicy"), "InvalidPolicyDocument");
  assert.equal(codeOf("PutVectorIndex"), "VectorIndexParameterInvalid");
});
