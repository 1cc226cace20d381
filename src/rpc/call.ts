import type { IncomingHttpHeaders } from "node:http";
import { Code, ConnectError, type ContextKey, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { AuditEntry, AuditLog } from "../audit-log.ts";
import type { QuiverError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Caller } from "../service/access/caller.ts";
import { nobody } from "../service/access/callers.ts";
import { NO_TICKET, type Ticket } from "./admission-queue.ts";
import { damagedFileOf, overwriteError, reasonOf, toConnectError, toRequestError } from "./error.ts";
import { createMemoryBudget, type Lease } from "./memory-budget.ts";
import { placeOf } from "./place-of.ts";

/**
 * How far a call has come. Until its handler is entered, connect is decoding the request, and what fails is the
 * client's fault.
 */
type Stage = "request" | "handler";

/** One call from its headers to its log line. */
export interface Call {
  readonly requestId: string;
  /** As in the request's path, `quiver.v1.VectorService/PutVectors`, or that of a vendor's API, `s3vectors/PutVectors`. */
  readonly method: string;
  /** Of its request. */
  readonly headers: IncomingHttpHeaders;
  /** Nobody, until a signature over the whole request is checked. */
  caller: Caller;
  /** Aborted when the server shuts down: calls that never end by themselves end then. */
  readonly shutdown: AbortSignal;
  /** The memory that the request's bytes take; given back when the call ends. */
  readonly lease: Lease;
  /** The memory that its answer takes until it is sent. */
  readonly answer: Lease;
  readonly startedAt: number;
  /** Why the call is refused before its body is read, or what else it is answered with by no handler. */
  refusal: QuiverError | ConnectError | undefined;
  /** Ended when the call is served, so that another has its turn. */
  readonly ticket: Ticket;
  /** What it works on, such as "b/i"; "-" before that is known. */
  place: string;
  /** Keeps the place, as much of it as may be logged, also for the case of a crash. */
  note(place: string): void;
  stage: Stage;
  /** Ends it with this error: it may not, or cannot be waited for. Before it is read, nothing is to be done. */
  cut(reason: QuiverError): void;
}

/** Of a call that is refused: its answer is small. */
export const NO_LEASE: Lease = createMemoryBudget({ what: "Calls", maxBytes: 0 }).open();

const NO_CALL: Call = {
  requestId: "",
  method: "",
  headers: {},
  caller: nobody({ address: "", secure: false }),
  shutdown: new AbortController().signal,
  lease: NO_LEASE,
  answer: NO_LEASE,
  startedAt: 0,
  refusal: undefined,
  ticket: NO_TICKET,
  place: "-",
  note() {},
  stage: "request",
  cut() {},
};

/** Under which handlers find their call: `context.values.get(callKey)`. */
export const callKey: ContextKey<Call> = createContextKey<Call>(NO_CALL, { description: "call" });

/** What handlers without streams are told of their call. */
export type CallContext = Pick<HandlerContext, "values" | "signal">;

/** Who calls a handler. */
export function callerOf(context: CallContext): Caller {
  return context.values.get(callKey).caller;
}

/** Where calls are written to. */
export interface CallLogs {
  readonly log: Log;
  readonly audit?: AuditLog | undefined;
}

/** Notes what a stream is about, which its messages tell. */
export function notePlace(context: HandlerContext, message: object): void {
  context.values.get(callKey).note(placeOf(message));
}

/** Given as the reason, since a signal that is aborted without one makes an error with a stack trace, for each call. */
const CALL_ENDED = new Error("The call has ended");

type AbortableContext = HandlerContext & { abort(reason?: unknown): void };

/**
 * Follows a call to its end: gives errors that connect raised by itself their reason, and writes the log line.
 *
 * Connect offers no hook for such errors, but it tells the context about every error before it sends that same object,
 * and about every end without one. test/rpc/errors.test.ts holds this for each protocol.
 */
export function followCall(context: HandlerContext, call: Call, logs: CallLogs): void {
  const controller = context as AbortableContext;
  const abort = controller.abort;
  let ended = false;
  call.cut = abort;
  controller.abort = (thrown) => {
    if (!ended) {
      ended = true;
      endCall(call, context.protocolName, logs, thrown === undefined ? undefined : settleError(thrown, call));
    }
    abort(thrown ?? CALL_ENDED);
  };
}

/** Gives back what a call held, and writes down how it ended. */
export function endCall(call: Call, protocol: string, { log, audit }: CallLogs, error?: ConnectError): void {
  call.lease.close();
  call.ticket.end();
  logCall(log, protocol, call, { error, durationMs: performance.now() - call.startedAt });
  audit?.add(auditEntry(call, error));
}

function auditEntry({ requestId, caller, method, place }: Call, error: ConnectError | undefined): AuditEntry {
  const { keyId, address } = caller;
  const reason = error && reasonOf(error);
  return { requestId, keyId, address, method, on: place, code: error ? codeName(error.code) : "OK", reason };
}

function settleError(thrown: unknown, call: Call): ConnectError {
  const lost = connectionError(thrown);
  const settled =
    call.stage === "request" || lost !== undefined
      ? toRequestError(lost ?? thrown)
      : toConnectError(thrown, call.requestId);
  if (thrown instanceof ConnectError && thrown !== settled) overwriteError(thrown, settled);
  return settled;
}

/** What says that the client has gone, in an error for which connect or a handler would blame the server. */
function connectionError(thrown: unknown): Error | undefined {
  const wrapped = thrown instanceof ConnectError && (thrown.code === Code.Internal || thrown.code === Code.Unknown);
  const error = wrapped ? thrown.cause : thrown;
  const lost = error instanceof Error && "code" in error && CONNECTION_LOST.has(error.code);
  return lost ? error : undefined;
}

const CONNECTION_LOST: ReadonlySet<unknown> = new Set([
  "ECANCELED",
  "ECONNRESET",
  "EPIPE",
  "ERR_HTTP2_INVALID_STREAM",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

interface CallEnd {
  readonly error: ConnectError | undefined;
  readonly durationMs: number;
}

/** Writes one line for a call that has ended; an error line with the cause when the server is at fault. */
function logCall(log: Log, protocol: string, call: Call, { error, durationMs }: CallEnd): void {
  const line = {
    requestId: call.requestId,
    method: call.method,
    protocol,
    code: error === undefined ? "OK" : codeName(error.code),
    ...(error === undefined ? {} : { reason: reasonOf(error) }),
    durationMs: Math.round(durationMs * 1_000) / 1_000,
    bytesReceived: call.lease.total,
  };
  if (error === undefined) log.debug(line, "Call");
  // Its message says all: what the disk holds is wrong, not the program.
  else if (error.code === Code.DataLoss) log.error({ ...line, file: damagedFileOf(error) }, error.rawMessage);
  else if (isServerFault(error)) log.error({ ...line, err: error.cause ?? error }, error.rawMessage);
  else log.info(line, error.rawMessage);
}

/** UNAVAILABLE with a cause is a disk that failed; without one it is a shutdown. */
function isServerFault({ code, cause }: ConnectError): boolean {
  if (code === Code.Unavailable) return cause !== undefined;
  return code === Code.Internal || code === Code.Unknown;
}

function codeName(code: Code): string {
  return code === Code.Canceled ? "CANCELLED" : (Code[code] ?? "").replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase();
}
