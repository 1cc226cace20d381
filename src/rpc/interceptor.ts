import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { QuiverError } from "../errors.ts";
import { callKey } from "./call.ts";
import { toConnectError } from "./error.ts";
import { blameClient } from "./request-body.ts";

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
    const guarded = request.stream ? { ...request, message: blameClient(request.message) } : request;
    const response = await untilAborted(next(guarded), signal);
    if (!response.stream) return response;
    return { ...response, message: writeMessages(response.message, signal, call.requestId) };
  } catch (error) {
    throw toConnectError(error, call.requestId);
  }
};

async function* writeMessages<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal,
  requestId: string,
): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  let done = false;
  try {
    while (true) {
      const result = await untilAborted(iterator.next(), signal);
      if (result.done === true) {
        done = true;
        return;
      }
      yield result.value;
    }
  } catch (error) {
    throw toConnectError(error, requestId);
  } finally {
    // Not awaited: a handler that waits for something else than the signal must not hold the answer back.
    if (!done) iterator.return?.().catch(() => {});
  }
}

/** Settles like `promise`, or rejects with DEADLINE_EXCEEDED or CANCELLED as soon as `signal` is aborted. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortError(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

function abortError(reason: unknown): QuiverError {
  if (reason instanceof ConnectError && reason.code === Code.DeadlineExceeded) {
    return new QuiverError("DEADLINE_EXCEEDED", "The deadline passed before the call was finished");
  }
  return new QuiverError("CANCELLED", "The client ended the call before it was finished", { cause: reason });
}
