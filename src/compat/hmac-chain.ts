import { createHmac } from "node:crypto";

/** HMAC-SHA256 of the first text by the key, that of the next one by the outcome, and so on: how vendors' signatures are made. */
export function hmacChain(key: string, ...texts: readonly [string, ...string[]]): Buffer {
  return texts.reduce((last: Buffer, text) => createHmac("sha256", last).update(text).digest(), Buffer.from(key));
}
