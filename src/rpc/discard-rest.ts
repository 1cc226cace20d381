import { once } from "node:events";
import { constants } from "node:http2";
import type { HttpRequest } from "../node-http.ts";

/** How long a client may go on sending a body that is already answered. */
const LINGER_MS = 5_000;

/**
 * Drops what has not been read of a request. Over HTTP/1.1, resolves when all of it has come, and the response must end
 * only then: closing a connection with unread bytes resets it, and the client would lose the answer.
 */
export async function discardRest(request: HttpRequest): Promise<void> {
  if (request.complete || request.destroyed) return;
  // An iterator that was left before its end still listens, and nothing flows while one does.
  request.removeAllListeners("readable");
  request.resume();
  if ("stream" in request) {
    const { stream } = request;
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LINGER_MS);
    stream.once("close", () => clearTimeout(timer));
    return;
  }
  const signal = AbortSignal.timeout(LINGER_MS);
  await once(request, "close", { signal }).catch(() => request.destroy());
}
