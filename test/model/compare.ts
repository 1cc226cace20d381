import assert from "node:assert/strict";
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { DistanceMetric, type Vector } from "../../gen/quiver/v1/resources_pb.ts";
import type { QueryResult } from "../../gen/quiver/v1/vector_service_pb.ts";
import { compareKeys, type SparseValues, type StoredVector } from "./model.ts";

/** Where answers are held against the model; everything throws an AssertionError that says what differs. */

/** Which parts of a vector an answer carries. */
export interface Projection {
  readonly returnData: boolean;
  readonly returnMetadata: boolean;
}

type Answered = Pick<Vector, "key" | "version" | "data" | "sparse" | "metadata">;

/** The same vectors in the same order, bit for bit. */
export function assertVectors(
  found: readonly Answered[],
  expected: readonly StoredVector[],
  projection: Projection,
): void {
  assert.deepEqual(
    found.map(({ key, version }) => [key, version]),
    expected.map(({ key, version }) => [key, version]),
  );
  for (const [i, vector] of expected.entries()) assertVector(found[i] as Answered, vector, projection);
}

export function assertVector(found: Answered, expected: StoredVector, projection: Projection): void {
  const { key } = expected;
  assert.equal(found.key, key);
  assert.equal(found.version, expected.version, `version of ${JSON.stringify(key)}`);
  const { returnData, returnMetadata } = projection;
  const data = returnData && expected.data ? [...expected.data] : undefined;
  assert.deepEqual(found.data?.float32, data, `data of ${JSON.stringify(key)}`);
  const sparse = returnData ? expected.sparse : undefined;
  assert.deepEqual(sparseOf(found), sparse, `sparse values of ${JSON.stringify(key)}`);
  const metadata = returnMetadata ? canonical(expected.metadata) : undefined;
  const foundMetadata = found.metadata ?? (returnMetadata ? {} : undefined);
  assert.equal(foundMetadata && canonical(foundMetadata), metadata, `metadata of ${JSON.stringify(key)}`);
}

function sparseOf({ sparse }: Answered): SparseValues | undefined {
  return sparse && { indices: [...sparse.indices], values: [...sparse.values] };
}

/** One text for all orders of keys. */
export function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value as JsonObject).sort(([a], [b]) => compareKeys(a, b));
  return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry as JsonValue)}`).join()}}`;
}

/** A query in the model's terms. */
export interface ModelQuery {
  readonly metric: DistanceMetric;
  readonly data?: Float32Array | undefined;
  readonly sparse?: SparseValues | undefined;
  /** Of a query with both; undefined is the plain sum. */
  readonly denseWeight?: number | undefined;
}

export interface Candidate {
  readonly vector: StoredVector;
  readonly distance: number;
}

/** Every vector that can be compared with the query, with its distance in float64. */
export function candidatesOf(query: ModelQuery, vectors: Iterable<StoredVector>): Candidate[] {
  const candidates: Candidate[] = [];
  for (const vector of vectors) {
    const dense = query.data && vector.data && denseDistance(query.metric, query.data, vector.data);
    const sparse = query.sparse && vector.sparse && -sparseProduct(query.sparse, vector.sparse);
    if (dense === undefined && sparse === undefined) continue;
    const isHybrid = query.data !== undefined && query.sparse !== undefined;
    const weight = isHybrid ? query.denseWeight : undefined;
    const distance = (weight ?? 1) * (dense ?? 0) + (weight === undefined ? 1 : 1 - weight) * (sparse ?? 0);
    candidates.push({ vector, distance });
  }
  return candidates;
}

function denseDistance(metric: DistanceMetric, a: Float32Array, b: Float32Array): number {
  const sum = (of: (x: number, y: number) => number) => a.reduce((total, x, i) => total + of(x, b[i] as number), 0);
  switch (metric) {
    case DistanceMetric.COSINE:
      return 1 - sum((x, y) => x * y) / Math.sqrt(sum((x) => x * x) * sum((_, y) => y * y));
    case DistanceMetric.EUCLIDEAN:
      return Math.sqrt(sum((x, y) => (x - y) ** 2));
    case DistanceMetric.DOT_PRODUCT:
      return -sum((x, y) => x * y);
    default:
      throw new Error(`No metric ${metric}`);
  }
}

function sparseProduct(a: SparseValues, b: SparseValues): number {
  const values = new Map(b.indices.map((index, i) => [index, b.values[i] as number]));
  return a.indices.reduce((sum, index, i) => sum + (a.values[i] as number) * (values.get(index) ?? 0), 0);
}

export interface ExpectedAnswer extends Projection {
  readonly returnDistance: boolean;
  readonly candidates: readonly Candidate[];
  readonly topK: number;
  /** False: any candidates will do, nearest first. */
  readonly exact: boolean;
}

/**
 * As many as there are, of those that match, with the distances of the definition, nearest first and equal ones by key;
 * and of an exact answer, none left out that is nearer. Distances that float32 cannot tell apart may stand in any order
 * unless the server says that they are equal.
 */
export function assertAnswer(results: readonly QueryResult[], expected: ExpectedAnswer): void {
  const { candidates, topK, exact } = expected;
  assert.equal(results.length, Math.min(topK, candidates.length), "the number of results");
  const byKey = new Map(candidates.map((candidate) => [candidate.vector.key, candidate]));
  let previous: { key: string; distance: number } | undefined;
  for (const result of results) {
    const { key } = result;
    const candidate = byKey.get(key);
    assert.ok(candidate, `${JSON.stringify(key)} is no candidate, or stands twice`);
    byKey.delete(key);
    assertVector(result, candidate.vector, expected);
    assert.equal(result.distance !== undefined, expected.returnDistance, "whether the distance is answered");
    const distance = result.distance ?? candidate.distance;
    assertNear(distance, candidate.distance, key);
    if (previous) {
      const inOrder = expected.returnDistance
        ? previous.distance < distance || (previous.distance === distance && compareKeys(previous.key, key) < 0)
        : previous.distance <= distance + tolerance(distance);
      assert.ok(inOrder, `${JSON.stringify(previous)} stands before ${JSON.stringify({ key, distance })}`);
    }
    previous = { key, distance };
  }
  if (!exact || !previous) return;
  const last = candidates.find(({ vector }) => vector.key === previous.key) as Candidate;
  for (const left of byKey.values()) assertFarther(left, last);
}

function assertFarther(left: Candidate, last: Candidate): void {
  const what = `${JSON.stringify(left.vector.key)} at ${left.distance} is left out, the last one is`;
  const than = `${JSON.stringify(last.vector.key)} at ${last.distance}`;
  assert.ok(left.distance >= last.distance - tolerance(last.distance), `${what} ${than}`);
  if (!sameValues(left.vector, last.vector)) return;
  assert.ok(compareKeys(left.vector.key, last.vector.key) > 0, `${what} equal with a higher key, ${than}`);
}

function sameValues(a: StoredVector, b: StoredVector): boolean {
  return (
    canonical([...(a.data ?? [])]) === canonical([...(b.data ?? [])]) &&
    canonical((a.sparse ?? null) as JsonValue) === canonical((b.sparse ?? null) as JsonValue)
  );
}

function assertNear(found: number, expected: number, key: string): void {
  const message = `The distance of ${JSON.stringify(key)} is ${found}, by definition ${expected}`;
  assert.ok(Math.abs(found - expected) <= tolerance(expected), message);
}

/** What computing in float32 may cost. */
function tolerance(distance: number): number {
  return 1e-5 * Math.max(1, Math.abs(distance));
}
