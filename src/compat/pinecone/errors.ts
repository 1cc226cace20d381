import type { QuiverError, Reason, StatusCode } from "../../errors.ts";
import type { FacadeAnswer } from "../facade.ts";
import { retryAfter } from "../retry-after.ts";
import { messageOf } from "./message.ts";

interface Dress {
  readonly status: number;
  /** In answers of the control plane. */
  readonly name: string;
  /** A google.rpc.Code, in answers of the data plane. */
  readonly code: number;
}

const BY_CODE: Readonly<Record<StatusCode, Dress>> = {
  CANCELLED: { status: 499, name: "ABORTED", code: 1 },
  INVALID_ARGUMENT: { status: 400, name: "INVALID_ARGUMENT", code: 3 },
  DEADLINE_EXCEEDED: { status: 504, name: "DEADLINE_EXCEEDED", code: 4 },
  NOT_FOUND: { status: 404, name: "NOT_FOUND", code: 5 },
  ALREADY_EXISTS: { status: 409, name: "ALREADY_EXISTS", code: 6 },
  PERMISSION_DENIED: { status: 403, name: "PERMISSION_DENIED", code: 7 },
  RESOURCE_EXHAUSTED: { status: 429, name: "RESOURCE_EXHAUSTED", code: 8 },
  FAILED_PRECONDITION: { status: 412, name: "FAILED_PRECONDITION", code: 9 },
  OUT_OF_RANGE: { status: 400, name: "OUT_OF_RANGE", code: 11 },
  // Not 501: the clients try that again and then hide what was said.
  UNIMPLEMENTED: { status: 400, name: "UNIMPLEMENTED", code: 12 },
  INTERNAL: { status: 500, name: "INTERNAL", code: 13 },
  UNAVAILABLE: { status: 503, name: "UNAVAILABLE", code: 14 },
  DATA_LOSS: { status: 500, name: "DATA_LOSS", code: 15 },
  UNAUTHENTICATED: { status: 401, name: "UNAUTHENTICATED", code: 16 },
};

const QUOTA: Dress = { status: 403, name: "QUOTA_EXCEEDED", code: 8 };

/** Where Pinecone tells more, or something else, than the code says. */
const BY_REASON: Partial<Record<Reason, Dress>> = {
  DELETION_PROTECTED: { status: 403, name: "FORBIDDEN", code: 7 },
  REQUEST_TOO_LARGE: { status: 400, name: "OUT_OF_RANGE", code: 11 },
  ITEM_LIMIT: QUOTA,
  INDEX_LIMIT: QUOTA,
};

/** A body that does not fit its type, to the control plane alone. */
const UNPROCESSABLE: Dress = { status: 422, name: "UNPROCESSABLE_ENTITY", code: 3 };

export type Plane = "control" | "data";

/** An error as Pinecone's control plane and its data plane tell it. */
export function answerError(error: QuiverError, plane: Plane): FacadeAnswer {
  const { status, name, code } = dressOf(error, plane);
  const message = messageOf(error);
  return {
    status,
    headers: retryAfter(error),
    body: plane === "data" ? { code, message, details: [] } : { status, error: { code: name, message } },
  };
}

function dressOf({ reason, code }: QuiverError, plane: Plane): Dress {
  if (reason === "MALFORMED_REQUEST" && plane === "control") return UNPROCESSABLE;
  return BY_REASON[reason] ?? BY_CODE[code];
}
