import { invalidField, type QuiverError } from "../errors.ts";
import { fingerprint } from "./fingerprint.ts";
import { LIMITS } from "./limits.ts";

/**
 * A page token says after what the next page starts, a name, a key or a position, and is bound to the request that it
 * belongs to:
 *
 *     base64url( sha-256 of the request's other parameters, first 16 bytes | UTF-8 of what it starts after )
 *
 * It holds nothing that the same caller could not list, so it is not signed.
 */
export function createPageToken(request: readonly unknown[], after: string): string {
  return Buffer.concat([shortFingerprint(request), Buffer.from(after)]).toString("base64url");
}

/** Where the page starts; undefined for the first page. Throws PAGE_TOKEN_INVALID for a token of another request. */
export function parsePageToken(request: readonly unknown[], token: string): string | undefined {
  if (token === "") return undefined;
  const bytes = token.length <= LIMITS.pageTokenLengthMax ? Buffer.from(token, "base64url") : Buffer.alloc(0);
  const isOurs =
    bytes.length >= FINGERPRINT_BYTES && bytes.subarray(0, FINGERPRINT_BYTES).equals(shortFingerprint(request));
  const after = isOurs ? bytes.subarray(FINGERPRINT_BYTES) : undefined;
  if (!after || bytes.toString("base64url") !== token || !Buffer.from(after.toString()).equals(after)) {
    throw pageTokenInvalid();
  }
  return after.toString();
}

export function pageTokenInvalid(
  description = "Must be a next_token that an answer to the same request carried; start again without one",
): QuiverError {
  return invalidField("next_token", description, "PAGE_TOKEN_INVALID");
}

const FINGERPRINT_BYTES = 16;

function shortFingerprint(request: readonly unknown[]): Buffer {
  return fingerprint(request).subarray(0, FINGERPRINT_BYTES);
}
