import type { QuiverError } from "../errors.ts";

/** The header that tells when to try again, in whole seconds (RFC 9110, 10.2.3); {} where the error does not say. */
export function retryAfter({ retryAfterMs }: QuiverError): Readonly<Record<string, string>> {
  return retryAfterMs === undefined ? {} : { "retry-after": `${Math.max(1, Math.ceil(retryAfterMs / 1_000))}` };
}
