import type { HandlerContext } from "@connectrpc/connect";
import { callKey } from "./call.ts";

/** Aborted when the call or the server ends. */
export function endOfCall(context: HandlerContext): AbortSignal {
  return AbortSignal.any([context.signal, context.values.get(callKey).shutdown]);
}
