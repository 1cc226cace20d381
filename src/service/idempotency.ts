import { createHash } from "node:crypto";
import type { Idempotency } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";

/** Throws INVALID_FIELD unless the key has at most 128 characters of valid Unicode. */
export function assertIdempotencyKey(key: string): void {
  if (key.length <= LIMITS.idempotencyKeyLengthMax && key.isWellFormed()) return;
  throw invalidField(
    "idempotency_key",
    `Must be at most ${LIMITS.idempotencyKeyLengthMax} characters of valid Unicode, got ${key.length}`,
  );
}

/**
 * How a repetition of a request is known. `request` is all of it, in JSON's terms but for lists of numbers, which may be
 * typed arrays; requests that differ in anything have different fingerprints. Undefined when the key is "".
 */
export function idempotencyOf(key: string, request: readonly unknown[]): Idempotency | undefined {
  assertIdempotencyKey(key);
  if (key === "") return undefined;
  const hash = createHash("sha256");
  // Numbers go into the hash as they are: text would be slow, and JSON has no NaN.
  const text = JSON.stringify(request, (_, value: unknown) => {
    if (!ArrayBuffer.isView(value)) return value;
    hash.update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    return { bytes: value.byteLength };
  });
  return { key, fingerprint: hash.update(text).digest("base64url") };
}
