import type { Log } from "../log.ts";
import type { HttpResponse } from "../node-http.ts";
import type { PortLimits } from "./limits.ts";

/** How often answers are looked at, as a share of the time that they have. */
const SWEEPS_PER_TIMEOUT = 10;

/** Cuts answers that their clients do not take. */
export interface StalledAnswers {
  /** Watches an answer until it is sent. */
  watch(response: HttpResponse): void;
  close(): void;
}

/**
 * An answer that nobody reads holds memory, and a read snapshot when it is an export. It is cut when for so long nothing of
 * what waits to be sent was taken; a client that reads slowly but steadily has all the time that it needs.
 */
export function watchStalledAnswers({ writeTimeoutMs }: Pick<PortLimits, "writeTimeoutMs">, log: Log): StalledAnswers {
  const movedAt = new Map<HttpResponse, number>();
  const sweep = setInterval(() => {
    const now = performance.now();
    for (const [response, since] of movedAt) {
      if (waitingBytes(response) === 0) movedAt.set(response, now);
      else if (now - since > writeTimeoutMs) {
        movedAt.delete(response);
        log.info({ path: response.req.url, writeTimeoutMs }, "Answer is cut: its client does not read it");
        response.destroy();
      }
    }
  }, writeTimeoutMs / SWEEPS_PER_TIMEOUT);
  sweep.unref();

  return {
    watch(response) {
      movedAt.set(response, performance.now());
      response.on("drain", () => movedAt.has(response) && movedAt.set(response, performance.now()));
      response.once("close", () => movedAt.delete(response));
    },
    close() {
      clearInterval(sweep);
    },
  };
}

/** What was handed over and not sent yet. */
function waitingBytes(response: HttpResponse): number {
  return "stream" in response ? response.stream.writableLength : response.writableLength;
}
