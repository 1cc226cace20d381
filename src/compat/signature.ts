import { createHmac, timingSafeEqual } from "node:crypto";

/** How far the clock of who signs may be from this one. */
export const CLOCK_SKEW_MAX_MS = 15 * 60 * 1_000;

const TIME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/** The time that a request was signed at, such as `20260131T235959Z`, in milliseconds since the epoch; NaN for what is none. */
export function signingTimeOf(text: string): number {
  return TIME.test(text) ? Date.parse(text.replace(TIME, "$1-$2-$3T$4:$5:$6Z")) : Number.NaN;
}

/** HMAC-SHA256 of the first text by the key, that of the next one by the outcome, and so on: how vendors' signatures are made. */
export function hmacChain(key: string, ...texts: readonly [string, ...string[]]): Buffer {
  return texts.reduce((last: Buffer, text) => createHmac("sha256", last).update(text).digest(), Buffer.from(key));
}

/** How many secrets are tried, whether there are any or not: one access key has two while it is rotated. */
const TRIED = 2;
/** Takes as long as a secret that is known. */
const NO_SECRET = "no secret of anybody, as long as they are";

/** The one of the candidates with whose secret `sign` makes the signature. Takes as long for none as for two. */
export function signerAmong<Candidate extends { readonly secret: string }>(
  candidates: readonly Candidate[],
  signature: Uint8Array,
  sign: (secret: string) => Uint8Array,
): Candidate | undefined {
  const tried = Array.from({ length: TRIED }, (_, i) => {
    const right = sign(candidates[i]?.secret ?? NO_SECRET);
    return timingSafeEqual(right, signature) ? candidates[i] : undefined;
  });
  return tried.find((candidate) => candidate !== undefined);
}
