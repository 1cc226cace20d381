import type { Index, SparseData } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import { LIMITS } from "./limits.ts";

/**
 * Throws SPARSE_INVALID, or NON_FINITE_VALUE, unless the index can compare the sparse values: at least 1 of them, at most
 * 2,048. `field` is where they stand in the request: `vectors[3].sparse`.
 */
export function assertSparse(field: string, { indices, values }: SparseData, index: Index): void {
  if (index.distanceMetric !== "dot_product") {
    const name = `index "${index.bucket}/${index.index}"`;
    throw invalid(field, `Allowed on dot_product only: ${name} measures the ${index.distanceMetric} distance`);
  }
  if (indices.length !== values.length) {
    throw invalid(field, `Must have as many indices as values, got ${indices.length} and ${values.length}`);
  }
  if (indices.length === 0) throw invalid(field, "Must have at least 1 value");
  if (indices.length > LIMITS.sparseValuesMax) {
    throw invalid(field, `Must have at most ${LIMITS.sparseValuesMax} values, got ${indices.length}`);
  }
  const unordered = indices.findIndex((position, i) => i > 0 && position <= (indices[i - 1] as number));
  if (unordered > 0) {
    const [before, position] = indices.subarray(unordered - 1, unordered + 1);
    throw invalid(`${field}.indices[${unordered}]`, `Must be above the one before it, ${before}, got ${position}`);
  }
  const infinite = values.findIndex((value) => !Number.isFinite(value));
  if (infinite >= 0) {
    const path = `${field}.values[${infinite}]`;
    throw invalidField(path, `Must be finite as float32, got ${values[infinite]}`, "NON_FINITE_VALUE");
  }
}

function invalid(field: string, description: string) {
  return invalidField(field, description, "SPARSE_INVALID");
}
