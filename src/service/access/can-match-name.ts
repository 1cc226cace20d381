import { LIMITS } from "../limits.ts";

const CHARACTERS = /^[A-Za-z0-9._?-]*$/;

/** Whether a pattern with `*` and `?` matches any name that a bucket, index or namespace may have. */
export function canMatchName(pattern: string): boolean {
  const least = pattern.replaceAll("*", "");
  return pattern !== "" && least.length <= LIMITS.nameLengthMax && CHARACTERS.test(least) && !/^[._-]/.test(pattern);
}
