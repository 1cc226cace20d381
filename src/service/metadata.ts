import type { Metadata, MetadataValue } from "../engine/engine.ts";
import { invalidField, quote } from "../errors.ts";
import { LIMITS } from "./limits.ts";

/**
 * Throws METADATA_INVALID or METADATA_TOO_LARGE. Strings, numbers, booleans and lists of only strings or only numbers
 * are filterable; anything else of JSON is allowed under non-filterable keys alone.
 */
export function assertMetadata(field: string, metadata: Metadata, nonFilterableKeys: readonly string[]): void {
  const keys = Object.keys(metadata);
  if (keys.length > LIMITS.metadataKeysMax) {
    throw tooLarge(field, `Must have at most ${LIMITS.metadataKeysMax} keys, has ${keys.length}`, "keys");
  }
  let filterable = OBJECT_BYTES;
  let total = OBJECT_BYTES;
  for (const key of keys) {
    const path = `${field}[${quote(key)}]`;
    const value = metadata[key] as MetadataValue;
    const isFilterable = !nonFilterableKeys.includes(key);
    assertWellFormed(path, key);
    if (isFilterable && !canFilter(value)) {
      throw invalidField(
        path,
        "Must be a string, a number, a boolean, or a list of only strings or only numbers; other values are allowed under the index's non-filterable keys only",
        "METADATA_INVALID",
      );
    }
    const size = ENTRY_BYTES + Buffer.byteLength(key) + sizeOf(path, value, 1);
    total += size;
    if (isFilterable) filterable += size;
  }
  if (total > LIMITS.metadataBytesMax) {
    throw tooLarge(field, `Must be at most ${LIMITS.metadataBytesMax} bytes in all, has ${total}`, "bytes");
  }
  if (filterable > LIMITS.filterableMetadataBytesMax) {
    throw tooLarge(
      field,
      `Filterable metadata must be at most ${LIMITS.filterableMetadataBytesMax} bytes, has ${filterable}; move long values under non-filterable keys`,
      "filterable bytes",
    );
  }
}

// The size model of Amazon S3 Vectors: 4 + sum(8 + key + value); string its bytes, number 4, boolean 0, list sum(4 + element).
const OBJECT_BYTES = 4;
const ENTRY_BYTES = 8;
const NUMBER_BYTES = 4;
const ELEMENT_BYTES = 4;

function canFilter(value: MetadataValue): boolean {
  if (!Array.isArray(value)) return ["string", "number", "boolean"].includes(typeof value);
  const elements: readonly MetadataValue[] = value;
  return elements.every((e) => typeof e === "string") || elements.every((e) => typeof e === "number");
}

function sizeOf(path: string, value: MetadataValue, depth: number): number {
  if (depth > LIMITS.metadataDepthMax) {
    throw invalidField(path, `Must nest at most ${LIMITS.metadataDepthMax} levels`, "METADATA_INVALID");
  }
  if (value === null || typeof value === "boolean") return 0;
  if (typeof value === "string") {
    assertWellFormed(path, value);
    return Buffer.byteLength(value);
  }
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw invalidField(path, `Must be finite, got ${value}`, "METADATA_INVALID");
    return NUMBER_BYTES;
  }
  if (Array.isArray(value)) {
    const elements: readonly MetadataValue[] = value;
    return elements.reduce<number>((sum, element) => sum + ELEMENT_BYTES + sizeOf(path, element, depth + 1), 0);
  }
  return Object.entries(value).reduce((sum, [key, entry]) => {
    assertWellFormed(path, key);
    return sum + ENTRY_BYTES + Buffer.byteLength(key) + sizeOf(path, entry, depth + 1);
  }, OBJECT_BYTES);
}

function assertWellFormed(path: string, text: string): void {
  if (!text.isWellFormed()) throw invalidField(path, "Must be valid Unicode", "METADATA_INVALID");
}

/** `unit`: of what there is too much. */
function tooLarge(field: string, description: string, unit: "keys" | "bytes" | "filterable bytes") {
  return invalidField(field, description, "METADATA_TOO_LARGE", { unit });
}
