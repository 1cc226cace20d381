import type { Index, VectorInput } from "../engine/engine.ts";
import { type FieldViolation, invalidField, QuiverError, quote } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { assertMetadata } from "./metadata.ts";
import { assertSparse } from "./sparse.ts";

/** What becomes of a key that stands twice in one request: the request is refused, or the later vector wins. */
export type OnDuplicateKey = "error" | "last_wins";

/**
 * Throws unless the vector may be stored in the index; `path` is where it stands in the request: `vectors[3]`. It needs
 * data, sparse values, or both.
 */
export function assertVector(path: string, vector: VectorInput, index: Index): void {
  const { key, data, sparse, metadata, ifVersion } = vector;
  assertKey(`${path}.key`, key);
  if (data !== undefined || sparse === undefined) assertData(`${path}.data.float32`, data ?? NO_DATA, index);
  if (sparse) assertSparse(`${path}.sparse`, sparse, index);
  assertMetadata(`${path}.metadata`, metadata, index.nonFilterableMetadataKeys);
  assertIfVersion(`${path}.if_version`, ifVersion);
}

const NO_DATA = new Float32Array(0);

/** Throws INVALID_FIELD unless the key is 1 to 1,024 bytes of valid UTF-8. */
export function assertKey(field: string, key: string): void {
  const bytes = Buffer.byteLength(key);
  if (bytes < 1 || bytes > LIMITS.keyBytesMax) {
    throw invalidField(field, `Must be 1 to ${LIMITS.keyBytesMax} bytes of UTF-8, got ${bytes}`);
  }
  if (!key.isWellFormed()) throw invalidField(field, `Must be valid UTF-8, got ${quote(key)}`);
}

/** Throws DIMENSION_MISMATCH, NON_FINITE_VALUE, or ZERO_NORM on a cosine index. */
export function assertData(field: string, data: Float32Array, index: Index): void {
  const name = `index "${index.bucket}/${index.index}"`;
  if (data.length !== index.dimension) {
    throw invalidField(
      field,
      `Must have ${index.dimension} values, the dimension of ${name}, got ${data.length}`,
      "DIMENSION_MISMATCH",
      { dimension: `${index.dimension}`, given: `${data.length}` },
    );
  }
  let squares = 0;
  for (let i = 0; i < data.length; i++) {
    const value = data[i] as number;
    squares += value * value;
  }
  // A sum of squares of float32 in float64 is finite exactly when every value is.
  if (!Number.isFinite(squares)) {
    const at = data.findIndex((value) => !Number.isFinite(value));
    throw invalidField(`${field}[${at}]`, `Must be finite as float32, got ${data[at]}`, "NON_FINITE_VALUE");
  }
  if (squares === 0 && index.distanceMetric === "cosine") {
    throw invalidField(field, `Must not be all zeros: ${name} measures the cosine distance`, "ZERO_NORM");
  }
}

/** A version that no write has is allowed: it matches nothing. */
export function assertIfVersion(field: string, ifVersion: number | undefined): void {
  if (ifVersion === undefined || (Number.isInteger(ifVersion) && ifVersion >= 0)) return;
  throw invalidField(field, `Must be a version, or 0 for a key that is absent, got ${ifVersion}`);
}

/** Throws DUPLICATE_KEY unless the keys are distinct, or the later vector is to win. */
export function assertDuplicatesAllowed(vectors: readonly VectorInput[], onDuplicate: OnDuplicateKey): void {
  if (onDuplicate === "error")
    assertDistinctKeys("vectors", vectors, "; set on_duplicate to ON_DUPLICATE_LAST_WINS to allow it");
}

/** Throws DUPLICATE_KEY, naming the first keys of `field` that stand there before; `hint` ends each description. */
export function assertDistinctKeys(field: string, items: readonly { readonly key: string }[], hint = ""): void {
  const first = new Map<string, number>();
  const violations: FieldViolation[] = [];
  for (const [i, { key }] of items.entries()) {
    const before = first.get(key);
    if (before === undefined) first.set(key, i);
    else {
      const description = `Key ${quote(key)} stands in ${field}[${before}] already${hint}`;
      violations.push({ field: `${field}[${i}].key`, description });
    }
  }
  if (violations.length === 0) return;
  const message = `Keys must be distinct, ${violations.length} of ${items.length} are repeated`;
  throw new QuiverError("DUPLICATE_KEY", message, { violations: violations.slice(0, VIOLATIONS_SHOWN_MAX) });
}

const VIOLATIONS_SHOWN_MAX = 20;
