import { setImmediate } from "node:timers/promises";
import type { DistanceMetric, Index, Metadata, VectorInput } from "../../engine/engine.ts";
import { invalidField, QuiverError } from "../../errors.ts";
import { JsonFields } from "../json-fields.ts";

/** An item of an upload: what it stores, and its id as it was sent. */
export interface UploadItem {
  readonly id: unknown;
  readonly vector: VectorInput;
}

/** Items that are read in one turn of the event loop. */
const ITEMS_PER_TURN = 500;

/** The list `vectors` of a body. Throws what refuses the whole upload; what refuses one item comes later. */
export async function toItems(body: JsonFields, namespace: string, index: Index): Promise<UploadItem[]> {
  const list = body.list("vectors") ?? [];
  if (list.length === 0) throw new QuiverError("INVALID_FIELD", "vectors must be a non-empty array");
  const items: UploadItem[] = [];
  for (const [i, item] of list.entries()) {
    if (i % ITEMS_PER_TURN === ITEMS_PER_TURN - 1) await setImmediate();
    items.push(toItem(item, `vectors[${i}]`, namespace, index));
  }
  return items;
}

function toItem(item: unknown, path: string, namespace: string, index: Index): UploadItem {
  const data = new JsonFields(item, path).floats("vector");
  if (data === undefined) throw invalidField(`${path}.vector`, "Is missing");
  if (data.length !== index.dimension) {
    const expected = `${index.dimension} numbers, the vector_dimension of namespace '${namespace}'`;
    throw invalidField(`${path}.vector`, `Must have ${expected}, got ${data.length}`, "DIMENSION_MISMATCH");
  }
  const at = data.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw invalidField(`${path}.vector[${at}]`, "Must be finite as float32", "NON_FINITE_VALUE");
  const { id, vector: _, metadata, ...flat } = item as Readonly<Record<string, unknown>>;
  return { id, vector: { key: toKey(id, `${path}.id`), data, metadata: toMetadata(metadata, flat) } };
}

/** The list `ids` of a body as distinct keys, at least one. */
export function toKeys(body: JsonFields, max: number): string[] {
  const ids = body.list("ids") ?? [];
  if (ids.length < 1 || ids.length > max) throw invalidField("ids", `Must be 1 to ${max} ids, got ${ids.length}`);
  return [...new Set(ids.map((id, i) => toKey(id, `ids[${i}]`)))];
}

/** An id is a string, or a number, which stands for the string that writes it. */
function toKey(id: unknown, path: string): string {
  if (typeof id === "string" && id !== "") return id;
  if (typeof id === "number" && Number.isSafeInteger(id)) return `${id}`;
  throw invalidField(path, "Must be a string that is not empty, or a whole number");
}

/** All that an item has beyond id and vector, and what stands in its `metadata`. */
function toMetadata(metadata: unknown, flat: Readonly<Record<string, unknown>>): Metadata {
  const isNested = typeof metadata === "object" && !Array.isArray(metadata);
  // "__proto__" is a key like any other.
  const all: Record<string, unknown> = Object.create(null);
  if (isNested) Object.assign(all, metadata);
  else if (metadata !== undefined) all.metadata = metadata;
  return Object.assign(all, flat) as Metadata;
}

/** Ours: from 0 to 1, nearer is greater. */
export function toScore(distance: number, metric: DistanceMetric): number {
  switch (metric) {
    case "cosine":
      return clamp(1 - distance);
    case "euclidean":
      return clamp(1 / (1 + distance));
    case "dot_product":
      return clamp(-distance);
  }
}

/** With six decimals, as it is sent. */
export function rounded(score: number): number {
  return Math.round(score * 1e6) / 1e6;
}

const LABELS = [
  [0.894, "Close Match"],
  [0.632, "Very High Relevance"],
  [0.447, "High Relevance"],
  [0.316, "Good Relevance"],
  [0.224, "Low Relevance"],
  [0.1, "Very Low Relevance"],
] as const;

export function labelOf(score: number): string {
  return LABELS.find(([least]) => score >= least)?.[1] ?? "Irrelevant";
}

function clamp(score: number): number {
  return Math.min(1, Math.max(0, score));
}
