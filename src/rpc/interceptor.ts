import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { QuiverError } from "../errors.ts";
import { callKey } from "./call.ts";
import { toConnectError } from "./error.ts";
import { placeOf } from "./place-of.ts";
import { blameClient } from "./request-body.ts";
import { readUntilAborted, untilAborted } from "./until-aborted.ts";

/**
 * Stands around every handler: turns what it throws into the client's error, and ends the call when its deadline
 * passes or its client leaves, which connect only signals.
 */
export const guardCall: Interceptor = (next) => async (request) => {
  const { signal } = request;
  const call = request.contextValues.get(callKey);
  call.stage = "handler";
  try {
    if (signal.aborted) throw abortError(signal.reason);
    call.note(request.stream ? "-" : placeOf(request.message));
    const guarded = request.stream ? { ...request, message: blameClient(request.message) } : request;
    // Streams go on for long; only that they begin is a matter of turns.
    if (request.method.methodKind !== "unary") setImmediate(call.ticket.end);
    const response = await untilAborted(next(guarded), signal, abortError);
    // A client that reads slowly keeps nobody waiting.
    call.ticket.end();
    if (!response.stream) return response;
    return { ...response, message: guardMessages(response.message, signal, call.requestId) };
  } catch (error) {
    throw toConnectError(error, call.requestId);
  }
};

async function* guardMessages<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal,
  requestId: string,
): AsyncGenerator<T> {
  try {
    yield* readUntilAborted(messages, signal, abortError);
  } catch (error) {
    throw toConnectError(error, requestId);
  }
}

function abortError(reason: unknown): QuiverError {
  if (reason instanceof QuiverError) return reason;
  return reason instanceof ConnectError && reason.code === Code.DeadlineExceeded
    ? deadlinePassed()
    : clientLeft(reason);
}

export function deadlinePassed(): QuiverError {
  return new QuiverError("DEADLINE_EXCEEDED", "The deadline passed before the call was finished");
}

export function clientLeft(cause?: unknown): QuiverError {
  return new QuiverError("CANCELLED", "The client ended the call before it was finished", { cause });
}
