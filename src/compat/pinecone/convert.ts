import type { Metadata, MetadataValue, SparseData, Vector, VectorInput } from "../../engine/engine.ts";
import { invalidField, quote } from "../../errors.ts";
import type { PartitionReference } from "../../service/partitions.ts";
import type { JsonFields } from "../json-fields.ts";
import type { DataPlaneCall, DataPlaneOptions } from "./data-plane-call.ts";
import { PINECONE_LIMITS } from "./limits.ts";

/** The namespace that a request means, in the index that it was sent to. */
export function toPartition(
  { defaultBucket }: DataPlaneOptions,
  { index }: DataPlaneCall,
  namespace = "",
): PartitionReference {
  return { vectorBucketName: defaultBucket, indexName: index, indexArn: "", namespace };
}

/** The default namespace has a name in lists. */
export function fromNamespace(name: string): string {
  return name === "" ? "__default__" : name;
}

/** Throws unless the id is there and has at most 512 characters. */
export function toId(field: string, id: string | undefined): string {
  if (id !== undefined && id.length >= 1 && id.length <= PINECONE_LIMITS.idLengthMax) return id;
  throw invalidField(field, `Must be 1 to ${PINECONE_LIMITS.idLengthMax} characters, got ${id?.length ?? "nothing"}`);
}

/** Undefined: there are none. */
export function toIds(fields: JsonFields): readonly string[] | undefined {
  const ids = fields.strings("ids");
  if (ids === undefined || ids.length === 0) return undefined;
  if (ids.length > PINECONE_LIMITS.idsMax) {
    throw invalidField("ids", `Must be at most ${PINECONE_LIMITS.idsMax} ids, got ${ids.length}`);
  }
  return ids.map((id, i) => toId(`ids[${i}]`, id));
}

/** How many to answer: from 1 on. */
export function toLimit(fields: JsonFields, max: number): number {
  const limit = fields.integer("limit") ?? PINECONE_LIMITS.listDefault;
  if (limit >= 1 && limit <= max) return limit;
  throw invalidField("limit", `Must be 1 to ${max}, got ${limit}`);
}

export function toVectorInput(record: JsonFields): VectorInput {
  const id = toId(record.pathOf("id"), record.string("id"));
  return {
    key: id,
    data: toValues(record, id),
    sparse: toSparse(record, "sparseValues"),
    metadata: toMetadata(record, "metadata") ?? {},
  };
}

/** Undefined: there are none, which is also what an empty list says. */
export function toValues(record: JsonFields, id: string): Float32Array | undefined {
  const values = record.floats("values");
  if (values === undefined || values.length === 0) return undefined;
  if (values.some((value) => value !== 0)) return values;
  throw invalidField(
    record.pathOf("values"),
    `Dense vectors must contain at least one non-zero value. Vector ID ${id} contains only zeros.`,
  );
}

/** In the order of their indices, whatever order they came in. */
export function toSparse(record: JsonFields, name: string): SparseData | undefined {
  const fields = record.fields(name);
  const indices = fields?.ordinals("indices") ?? new Uint32Array(0);
  const values = fields?.floats("values") ?? new Float32Array(0);
  if (indices.length === 0 && values.length === 0) return undefined;
  if (indices.length !== values.length) {
    const description = `Must have as many indices as values, got ${indices.length} and ${values.length}`;
    throw invalidField(record.pathOf(name), description, "SPARSE_INVALID");
  }
  const order = Array.from(indices.keys()).sort((a, b) => (indices[a] as number) - (indices[b] as number));
  return {
    indices: Uint32Array.from(order, (at) => indices[at] as number),
    values: Float32Array.from(order, (at) => values[at] as number),
  };
}

/** Strings, numbers, booleans and lists of strings. */
export function toMetadata(record: JsonFields, name: string): Metadata | undefined {
  const metadata = record.object(name);
  for (const [key, value] of Object.entries(metadata ?? {})) {
    const path = `${record.pathOf(name)}[${quote(key)}]`;
    if (key.startsWith("$")) throw invalidField(path, 'A key must not start with "$"', "METADATA_INVALID");
    if (isMetadataValue(value)) continue;
    const description = `Metadata value must be a string, number, boolean or list of strings, got '${nameOf(value)}' for field '${key}'`;
    throw invalidField(path, description, "METADATA_INVALID");
  }
  return metadata as Metadata | undefined;
}

/** All records: `{}`, as well as none. */
export function toFilter(fields: JsonFields): Metadata | undefined {
  const filter = fields.object("filter");
  return filter && Object.keys(filter).length > 0 ? (filter as Metadata) : undefined;
}

/** A record as it is stored; parts that it has not, or that were not asked for, are left out. */
export function fromVector({ key, data, sparse, metadata }: Vector) {
  return {
    id: key,
    ...(data && { values: Array.from(data) }),
    ...(sparse && { sparseValues: { indices: Array.from(sparse.indices), values: Array.from(sparse.values) } }),
    ...(metadata && Object.keys(metadata).length > 0 && { metadata }),
  };
}

/** Nobody is billed: an answer always counts as one. */
export const USAGE = Object.freeze({ readUnits: 1 });

function isMetadataValue(value: unknown): value is MetadataValue {
  if (Array.isArray(value)) return value.every((element) => typeof element === "string");
  return ["string", "number", "boolean"].includes(typeof value);
}

function nameOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "list of other values" : "object";
}
