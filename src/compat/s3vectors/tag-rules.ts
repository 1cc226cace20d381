import type { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";

const TAG = "[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*";

/** The tags of a request; {} when they are absent. */
export function tagsOf(input: Input): Readonly<Record<string, string>> {
  const tags = input.input("tags");
  const keys = tags?.fields.names() ?? [];
  input.rule(keys.length <= S3_LIMITS.tagsMax, "tags", "Too many tags specified");
  assertTagKeys(input, keys);
  const demands = { length: S3_LIMITS.tagValue, pattern: TAG, isRequired: true };
  return Object.fromEntries(keys.map((key) => [key, tags?.string(key, demands) ?? ""]));
}

export function assertTagKeys(input: Input, keys: readonly string[]): void {
  for (const key of keys) {
    input.text(`tags/${key}`, key, { length: S3_LIMITS.tagKey, pattern: TAG });
    input.rule(!key.startsWith("aws:"), "tags", "System tags cannot be added/updated by requester");
  }
}
