import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { quote } from "./names.ts";

/** Throws INVALID_FIELD unless there are at most 50 tags with keys of 1-128 and values of 0-256 characters. */
export function assertTags(tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags);
  if (entries.length > LIMITS.tagsMax) {
    throw invalidField("tags", `Must be at most ${LIMITS.tagsMax} tags, got ${entries.length}`);
  }
  for (const [key, value] of entries) {
    if (key.length < 1 || key.length > LIMITS.tagKeyLengthMax || !key.isWellFormed()) {
      throw invalidField("tags", `A key must be 1 to ${LIMITS.tagKeyLengthMax} characters, got ${quote(key)}`);
    }
    if (value.length > LIMITS.tagValueLengthMax || !value.isWellFormed()) {
      throw invalidField(
        `tags[${quote(key)}]`,
        `Must be at most ${LIMITS.tagValueLengthMax} characters, got ${value.length}`,
      );
    }
  }
}
