import { type CallContext, callKey } from "./call.ts";

/** Aborted when the call or the server ends. */
export function endOfCall(context: CallContext): AbortSignal {
  return AbortSignal.any([context.signal, context.values.get(callKey).shutdown]);
}
