import type { Config } from "./config.ts";
import { QuiverError } from "./errors.ts";
import { isLoopback } from "./http/loopback.ts";

/** Throws INVALID_FIELD for an address beyond this machine without access keys and TLS, unless that was asked for. */
export function assertMayListen(
  { host, insecure, tlsCert }: Pick<Config, "host" | "insecure" | "tlsCert">,
  { hasKeys }: { readonly hasKeys: boolean },
): void {
  const hasTls = tlsCert !== undefined;
  if (insecure || isLoopback(host) || (hasKeys && hasTls)) return;
  const problem = hasKeys ? NO_TLS : hasTls ? NO_KEYS : NEITHER;
  throw new QuiverError("INVALID_FIELD", `--host ${JSON.stringify(host)} is reached from other machines, ${problem}`);
}

const ANYWAY = "or allow it with --insecure true";
const MAKE_KEY = "make one with `quiver keys create` while the server listens on loopback";
const NO_KEYS = `and there are no access keys, so that everyone could read and delete everything: ${MAKE_KEY}, ${ANYWAY}`;
const NO_TLS = `and without TLS access keys and data could be read on their way: give --tls-cert and --tls-key, ${ANYWAY}`;
const NEITHER = `and there are neither access keys nor TLS: ${MAKE_KEY}, and give --tls-cert and --tls-key, ${ANYWAY}`;
