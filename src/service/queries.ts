import type { BatchAnswer, DistanceMetric, Engine, Index, Query } from "../engine/engine.ts";
import { invalidField, QuiverError } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { LIMITS } from "./limits.ts";
import { type PartitionReference, resolvePartition, shows } from "./partitions.ts";
import { type QueryInput, toQuery } from "./query-input.ts";
import { type QueryPage, QueryPages } from "./query-pages.ts";

export interface QueryRequest extends PartitionReference, QueryInput {
  /** Whether the caller is sent distances; the service answers them always. */
  readonly returnDistance: boolean;
  /** "": the first page. */
  readonly nextToken: string;
  /** Results in one answer, at most. Default 1,000. */
  readonly pageMax?: number;
}

export interface BatchQueryRequest extends PartitionReference {
  readonly queries: readonly QueryInput[];
}

/** The nearest vectors: one query page by page, or many at once. */
export class Queries {
  readonly #engine: Engine;
  readonly #context: ServiceContext;
  readonly #pages = new QueryPages({
    answersMax: LIMITS.openAnswersMax,
    idleMs: LIMITS.openAnswerIdleMs,
    readMs: LIMITS.openAnswerReadMs,
    lifeMs: LIMITS.openAnswerLifeMs,
  });

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async query(caller: Caller, request: QueryRequest): Promise<QueryPage & { distanceMetric: DistanceMetric }> {
    const asked = { caller, action: "QueryVectors", reads: reads(request) } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    const { distanceMetric } = index;
    const query = toQuery(request, index, { path: "", topKMax: LIMITS.topKMax });
    // An index that is deleted and created again does not go on with an old answer.
    const bound = ["query", caller.keyId, partition, index.createdAt, query, request.returnDistance];
    const { pageMax = LIMITS.queryPageMax } = request;
    const pageSize = query.projection.data ? Math.min(pageMax, dataMax(index)) : pageMax;
    if (request.nextToken !== "") {
      return { ...(await this.#pages.read(bound, request.nextToken, pageSize)), distanceMetric };
    }
    const { vectors, plan, lsn, rest } = await this.#engine.queryVectors(partition, query, { pageSize });
    const nextToken = rest ? this.#pages.keep(bound, { plan, lsn, rest }, vectors.length) : "";
    return { vectors, plan, lsn, nextToken, distanceMetric };
  }

  /** An answer or an error for each query, in their order. */
  async batchQuery(
    caller: Caller,
    request: BatchQueryRequest,
  ): Promise<{ results: readonly BatchAnswer[]; lsn: number; distanceMetric: DistanceMetric }> {
    const asked = { caller, action: "QueryVectors", reads: request.queries.some(reads) } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    assertBatch(request.queries, index);
    const queries = request.queries.map((query, i) => tryQuery(query, index, `queries[${i}].`));
    const good = queries.filter((query): query is Query => !(query instanceof QuiverError));
    const { results, lsn } = await this.#engine.batchQueryVectors(partition, good, {
      maxBytes: LIMITS.batchAnswerBytesMax,
    });
    const answers = results.values();
    return {
      results: queries.map((query) => (query instanceof QuiverError ? query : (answers.next().value as BatchAnswer))),
      lsn,
      distanceMetric: index.distanceMetric,
    };
  }

  /** Frees the answers that are still open. Call it before the engine is closed. */
  close(): void {
    this.#pages.close();
  }
}

/** Whether a query shows more than keys and distances. */
function reads({ filter, projection }: QueryInput): boolean {
  return filter !== undefined || shows(projection);
}

function tryQuery(input: QueryInput, index: Index, path: string): Query | QuiverError {
  try {
    return toQuery(input, index, { path, topKMax: LIMITS.batchTopKMax });
  } catch (error) {
    if (error instanceof QuiverError) return error;
    throw error;
  }
}

/** Throws unless the answers to all queries together are small enough. */
function assertBatch(queries: readonly QueryInput[], index: Index): void {
  if (queries.length < 1 || queries.length > LIMITS.batchQueriesMax) {
    throw invalidField("queries", `Must be 1 to ${LIMITS.batchQueriesMax} items, got ${queries.length}`);
  }
  const topK = queries.reduce((sum, query) => sum + query.topK, 0);
  if (topK > LIMITS.topKMax) {
    throw invalidField("queries", `Their top_k must be at most ${LIMITS.topKMax} in all, got ${topK}`);
  }
  const withData = queries.reduce((sum, query) => sum + (query.projection.data ? query.topK : 0), 0);
  assertAnswerSize("queries", withData, index);
}

/** Throws unless an answer may carry the data of so many vectors of the index. */
export function assertAnswerSize(field: string, count: number, index: Index): void {
  const most = dataMax(index);
  if (count <= most) return;
  throw invalidField(
    field,
    `Must be at most ${most} vectors with return_data at dimension ${index.dimension}, got ${count}`,
  );
}

/** Of how many vectors one answer may carry the data; at least 1. */
function dataMax({ dimension }: Index): number {
  return Math.floor(LIMITS.answerDataBytesMax / (dimension * Float32Array.BYTES_PER_ELEMENT));
}
