import type {
  DistanceMetric,
  Engine,
  Index,
  PartitionRef,
  Projection,
  QueryPlan,
  ScoredVector,
  Search,
  Vector,
  VectorInput,
} from "../engine/engine.ts";
import { invalidField, QuiverError } from "../errors.ts";
import { LIMITS } from "./limits.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { type ArnScope, type IndexReference, quote, resolveIndex, resolveNamespace } from "./names.ts";
import { assertData, assertKey, assertVector } from "./vector-input.ts";

export interface PartitionReference extends IndexReference {
  readonly namespace: string;
}

export interface PutRequest extends PartitionReference {
  readonly vectors: readonly VectorInput[];
  /** A key that stands twice: refuse the request, or let the later one win. */
  readonly onDuplicate: "error" | "last_wins";
}

export interface ListRequest extends PartitionReference, PageRequest {
  /** 0: the list is not parted. */
  readonly segmentCount: number;
  readonly segmentIndex: number;
  readonly projection: Projection;
}

export interface QueryRequest extends PartitionReference {
  readonly data: Float32Array;
  readonly topK: number;
  readonly search: Search;
  readonly projection: Projection;
}

/** The vectors of an index: put, get, delete, list, query. */
export class Vectors {
  readonly #engine: Engine;
  readonly #scope: ArnScope;

  constructor(engine: Engine, scope: ArnScope) {
    this.#engine = engine;
    this.#scope = scope;
  }

  async put(request: PutRequest): Promise<{ lsn: number; putCount: number }> {
    const { partition, index } = await this.#resolve(request);
    assertBatchSize("vectors", request.vectors.length);
    for (const [i, vector] of request.vectors.entries()) assertVector(`vectors[${i}]`, vector, index);
    const distinct = new Map(request.vectors.map((vector) => [vector.key, vector]));
    if (distinct.size < request.vectors.length && request.onDuplicate === "error") {
      throw duplicateKeys(request.vectors.map(({ key }) => key));
    }
    const { lsn } = await this.#engine.putVectors(partition, [...distinct.values()]);
    return { lsn, putCount: distinct.size };
  }

  async get(request: PartitionReference & { keys: readonly string[]; projection: Projection }) {
    const { partition, index } = await this.#resolve(request);
    assertBatchSize("keys", request.keys.length);
    for (const [i, key] of request.keys.entries()) assertKey(`keys[${i}]`, key);
    if (request.projection.data) assertAnswerSize("keys", request.keys.length, index);
    return this.#engine.getVectors(partition, [...new Set(request.keys)], request.projection);
  }

  async delete(request: PartitionReference & { keys: readonly string[] }) {
    const { partition } = await this.#resolve(request);
    assertBatchSize("keys", request.keys.length);
    for (const [i, key] of request.keys.entries()) assertKey(`keys[${i}]`, key);
    return this.#engine.deleteVectors(partition, { kind: "keys", keys: [...new Set(request.keys)] });
  }

  async list(request: ListRequest): Promise<PageResult<Vector> & { lsn: number }> {
    const { partition, index } = await this.#resolve(request);
    const { segmentCount: count, segmentIndex, projection } = request;
    if (count > LIMITS.segmentsMax)
      throw invalidField("segment_count", `Must be 1 to ${LIMITS.segmentsMax}, got ${count}`);
    if (segmentIndex >= Math.max(count, 1)) {
      throw invalidField("segment_index", `Must be below segment_count ${count}, got ${segmentIndex}`);
    }
    if (Buffer.byteLength(request.prefix) > LIMITS.keyBytesMax || !request.prefix.isWellFormed()) {
      throw invalidField("prefix", `Must be at most ${LIMITS.keyBytesMax} bytes of valid UTF-8`);
    }
    const segment = count === 0 ? undefined : { index: segmentIndex, count };
    // An index that is deleted and created again does not go on with an old list.
    const what = ["vectors", partition, index.createdAt, count, segmentIndex];
    return listPage<Vector, Awaited<ReturnType<Engine["listVectors"]>>>(
      what,
      request,
      (page) =>
        this.#engine.listVectors(partition, { ...page, maxBytes: LIMITS.listPageBytesMax, segment, projection }),
      ({ key }) => key,
    );
  }

  async query(request: QueryRequest): Promise<{
    vectors: readonly ScoredVector[];
    plan: QueryPlan;
    lsn: number;
    distanceMetric: DistanceMetric;
  }> {
    const { partition, index } = await this.#resolve(request);
    const { data, topK, search, projection } = request;
    if (topK < 1 || topK > LIMITS.topKMax) throw invalidField("top_k", `Must be 1 to ${LIMITS.topKMax}, got ${topK}`);
    if (projection.data) assertAnswerSize("top_k", topK, index);
    assertSearch(search);
    assertData("query_vector.float32", data, index);
    const answer = await this.#engine.queryVectors(partition, {
      target: { kind: "vector", data },
      topK,
      search,
      projection,
    });
    return { ...answer, distanceMetric: index.distanceMetric };
  }

  async #resolve(request: PartitionReference): Promise<{ partition: PartitionRef; index: Index }> {
    const ref = resolveIndex(this.#scope, request);
    const namespace = resolveNamespace(request.namespace);
    return { partition: { ...ref, namespace }, index: await this.#engine.getIndex(ref) };
  }
}

function assertBatchSize(field: string, count: number): void {
  if (count < 1 || count > LIMITS.batchVectorsMax) {
    throw invalidField(field, `Must be 1 to ${LIMITS.batchVectorsMax} items, got ${count}`);
  }
}

function assertAnswerSize(field: string, count: number, { dimension }: Index): void {
  const most = Math.floor(LIMITS.answerDataBytesMax / (dimension * Float32Array.BYTES_PER_ELEMENT));
  if (count <= most) return;
  throw invalidField(field, `Must be at most ${most} with return_data at dimension ${dimension}, got ${count}`);
}

function assertSearch(search: Search): void {
  if (search.kind === "ef_search" && (search.efSearch < 1 || search.efSearch > LIMITS.efSearchMax)) {
    throw invalidField("search.ef_search", `Must be 1 to ${LIMITS.efSearchMax}, got ${search.efSearch}`);
  }
  if (search.kind === "recall_target" && !(search.recallTarget > 0 && search.recallTarget <= 1)) {
    throw invalidField("search.recall_target", `Must be above 0 and at most 1, got ${search.recallTarget}`);
  }
}

/** DUPLICATE_KEY, naming the first keys that are repeated. */
export function duplicateKeys(keys: readonly string[]): QuiverError {
  const first = new Map<string, number>();
  const violations = [];
  for (const [i, key] of keys.entries()) {
    const before = first.get(key);
    if (before === undefined) first.set(key, i);
    else {
      const description = `Key ${quote(key)} stands in vectors[${before}] already; set on_duplicate to LAST_WINS to allow it`;
      violations.push({ field: `vectors[${i}].key`, description });
    }
  }
  const shown = violations.slice(0, VIOLATIONS_SHOWN_MAX);
  return new QuiverError(
    "DUPLICATE_KEY",
    `Keys must be distinct, ${violations.length} of ${keys.length} are repeated`,
    {
      violations: shown,
    },
  );
}

const VIOLATIONS_SHOWN_MAX = 20;
