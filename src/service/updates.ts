import type { Index, Metadata, SparseData, Update, UpdateOptions, VectorUpdate } from "../engine/engine.ts";
import { invalidField, QuiverError, quote } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { assertMetadata } from "./metadata.ts";
import { toFilter } from "./query-input.ts";
import { assertSparse } from "./sparse.ts";
import { assertData, assertDistinctKeys, assertIfVersion, assertKey } from "./vector-input.ts";

/** Changes as a request gives them: by key, or one for all that match a filter. */
export interface UpdateInput {
  readonly updates: readonly VectorUpdate[];
  readonly filter: Metadata | undefined;
  readonly setMetadata: Metadata | undefined;
}

/** The update that the input means; throws unless it is one and fits the index. */
export function toUpdate({ updates, filter, setMetadata }: UpdateInput, index: Index): Update {
  if (updates.length > 0) {
    if (filter !== undefined) throw invalidField("filter", EITHER);
    if (setMetadata !== undefined) throw invalidField("set_metadata", EITHER);
    assertUpdates(updates, index);
    return { kind: "keys", updates };
  }
  const parsed = toFilter("filter", filter, index);
  if (parsed === undefined) throw invalidField(setMetadata === undefined ? "updates" : "filter", EITHER);
  if (setMetadata === undefined) throw invalidField("set_metadata", EITHER);
  assertChange("set_metadata", setMetadata, index);
  return { kind: "filter", filter: parsed, setMetadata };
}

/**
 * Refuses metadata that is fine by itself but not once it is merged with what is stored: `tellsSize` with how large it is, for
 * callers who may read what is stored.
 */
export function mergeCheck(update: Update, index: Index, tellsSize: boolean): UpdateOptions["assertMetadata"] {
  const positions = new Map(update.kind === "keys" ? update.updates.map(({ key }, i) => [key, i]) : []);
  return (key, merged) => {
    const position = positions.get(key);
    const field = position === undefined ? "set_metadata" : `updates[${position}].set_metadata`;
    try {
      assertMetadata(field, merged, index.nonFilterableMetadataKeys);
    } catch (error) {
      if (!(error instanceof QuiverError)) throw error;
      const violations = error.violations.map(({ field, description }) => ({
        field,
        description: `${tellsSize ? description : TOO_MUCH}, once merged into vector ${quote(key)}`,
      }));
      const message = violations.map(({ field, description }) => `${field}: ${description}`).join("; ");
      throw new QuiverError(error.reason, message, { violations });
    }
  };
}

const TOO_MUCH = "Must keep within the limits of a vector's metadata";
const EITHER = "Give either updates, or filter with set_metadata";

function assertUpdates(updates: readonly VectorUpdate[], index: Index): void {
  if (updates.length > LIMITS.batchVectorsMax) {
    throw invalidField("updates", `Must be 1 to ${LIMITS.batchVectorsMax} items, got ${updates.length}`);
  }
  for (const [i, { key, data, sparse, setMetadata, ifVersion }] of updates.entries()) {
    const path = `updates[${i}]`;
    assertKey(`${path}.key`, key);
    if (data) assertData(`${path}.data.float32`, data, index);
    if (sparse && !isNone(sparse)) assertSparse(`${path}.sparse`, sparse, index);
    if (setMetadata) assertChange(`${path}.set_metadata`, setMetadata, index);
    assertIfVersion(`${path}.if_version`, ifVersion);
  }
  assertDistinctKeys("updates", updates);
}

/** What is removed may have any name; what is set must be fine by itself, whatever it is merged with. */
function assertChange(field: string, change: Metadata, index: Index): void {
  const set = Object.entries(change).filter(([, value]) => value !== null);
  assertMetadata(field, Object.fromEntries(set), index.nonFilterableMetadataKeys);
}

/** Sparse values that remove those that are stored. */
function isNone({ indices, values }: SparseData): boolean {
  return indices.length === 0 && values.length === 0;
}
