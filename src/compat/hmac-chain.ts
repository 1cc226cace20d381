import { createHmac } from "node:crypto";

/** Keys one HMAC-SHA256 with the result of the one before: the keys that vendors' signatures are made with. */
export function hmacChain(secret: string, parts: readonly string[]): Uint8Array {
  return parts.reduce<Uint8Array>(hmac, Buffer.from(secret));
}

export function hmac(key: Uint8Array, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}
