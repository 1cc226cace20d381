import { constants } from "node:os";
import type { Log } from "../log.ts";
import type { Server } from "../server.ts";
import { EXIT_CODES } from "./exit-codes.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Ends the process on SIGINT or SIGTERM, after the calls in flight; a second signal ends it at once. So does the end of
 * a supervisor, without which nobody would look after the server.
 */
export function endOnSignals(server: Server, log: Log): void {
  let isEnding = false;
  const end = (why: object) => {
    isEnding = true;
    log.info(why, "Shutting down");
    server.close().then(
      () => process.exit(EXIT_CODES.ok),
      (err: unknown) => {
        log.fatal({ err }, "Cannot shut down cleanly");
        process.exit(EXIT_CODES.failed);
      },
    );
  };
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (!isEnding) return end({ signal });
      log.warn({ signal }, "Calls in flight are cut: a second signal came");
      process.exit(128 + constants.signals[signal]);
    });
  }
  const endUnsupervised = () => {
    if (!isEnding) end({ reason: "the supervisor ended" });
  };
  // While the server started; without a supervisor it is undefined.
  if (process.connected === false) endUnsupervised();
  else process.once("disconnect", endUnsupervised);
}
