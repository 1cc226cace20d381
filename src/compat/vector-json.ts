import type { ScoredVector, Vector } from "../engine/engine.ts";

/** A vector as S3 Vectors and OSS write it; without data when it was not asked for, or the vector has sparse values alone. */
export function toVector({ key, data, metadata }: Vector) {
  return { key, ...(data && { data: { float32: Array.from(data) } }), ...(metadata && { metadata }) };
}

/** The same of the answer to a query, which has no data. */
export function toResult({ key, distance, metadata }: ScoredVector, returnDistance: boolean) {
  return { key, ...(returnDistance && { distance }), ...(metadata && { metadata }) };
}
