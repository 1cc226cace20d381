import type { Idempotency } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import { fingerprint } from "./fingerprint.ts";
import { LIMITS } from "./limits.ts";

/**
 * The idempotency of a write; undefined for the key "". `request` is all that decides what the write does, its method
 * included, so that the same key with another request is refused. Throws INVALID_FIELD for a key that is too long.
 */
export function idempotencyOf({ keyId }: Caller, key: string, request: readonly unknown[]): Idempotency | undefined {
  if (key === "") return undefined;
  if (key.length > LIMITS.idempotencyKeyLengthMax || !key.isWellFormed()) {
    throw invalidField(
      "idempotency_key",
      `Must be at most ${LIMITS.idempotencyKeyLengthMax} characters of valid Unicode, got ${key.length}`,
    );
  }
  // Nobody learns of the keys that another caller uses, or takes them.
  return {
    key: keyId === undefined ? key : `${keyId} ${key}`,
    fingerprint: fingerprint(request).toString("base64url"),
  };
}
