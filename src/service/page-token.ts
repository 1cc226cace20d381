import { createHash } from "node:crypto";
import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";

/**
 * A page token says after which name or key the next page starts, and is bound to the request that it belongs to:
 *
 *     base64url( sha-256 of the request's other parameters, first 16 bytes | UTF-8 of the last name or key )
 *
 * It holds nothing that the caller has not seen, so it is not signed.
 */
export function createPageToken(request: readonly unknown[], after: string): string {
  return Buffer.concat([fingerprint(request), Buffer.from(after)]).toString("base64url");
}

/** Where the page starts; undefined for the first page. Throws PAGE_TOKEN_INVALID for a token of another request. */
export function parsePageToken(request: readonly unknown[], token: string): string | undefined {
  if (token === "") return undefined;
  const bytes = token.length <= LIMITS.pageTokenLengthMax ? Buffer.from(token, "base64url") : Buffer.alloc(0);
  const isOurs = bytes.length > FINGERPRINT_BYTES && bytes.subarray(0, FINGERPRINT_BYTES).equals(fingerprint(request));
  const after = isOurs ? bytes.subarray(FINGERPRINT_BYTES) : undefined;
  if (!after || bytes.toString("base64url") !== token || !Buffer.from(after.toString()).equals(after)) {
    throw invalidField(
      "next_token",
      "Must be a next_token that an answer to the same request carried; start again without one",
      "PAGE_TOKEN_INVALID",
    );
  }
  return after.toString();
}

const FINGERPRINT_BYTES = 16;

function fingerprint(request: readonly unknown[]): Buffer {
  return createHash("sha256").update(JSON.stringify(request)).digest().subarray(0, FINGERPRINT_BYTES);
}
