import type { Engine, Metadata, RecallMeasurement, Search } from "../engine/engine.ts";
import { invalidField } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { DEFAULTS, LIMITS } from "./limits.ts";
import { type PartitionReference, resolvePartition } from "./partitions.ts";
import { assertSearch, toFilter } from "./query-input.ts";
import { assertData } from "./vector-input.ts";

export interface MeasureRecallRequest extends PartitionReference {
  readonly topK: number;
  /** 0: the default, unless there are queries. */
  readonly sampleSize: number;
  readonly queries: readonly Float32Array[];
  readonly filter: Metadata | undefined;
  readonly search: Search;
  /** Ends the measurement. */
  readonly signal: AbortSignal;
}

/** How many of the exact results queries by graph find. */
export class RecallMeasurements {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async measure(caller: Caller, request: MeasureRecallRequest): Promise<RecallMeasurement> {
    const asked = { caller, action: "MeasureRecall", reads: request.filter !== undefined } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    const { topK, sampleSize, queries, search, signal } = request;
    if (topK < 1 || topK > LIMITS.topKMax) throw invalidField("top_k", `Must be 1 to ${LIMITS.topKMax}, got ${topK}`);
    if (sampleSize > LIMITS.recallQueriesMax) {
      throw invalidField("sample_size", `Must be 1 to ${LIMITS.recallQueriesMax}, got ${sampleSize}`);
    }
    if (queries.length > LIMITS.recallQueriesMax) {
      throw invalidField("queries", `Must be at most ${LIMITS.recallQueriesMax} items, got ${queries.length}`);
    }
    if (queries.length > 0 && sampleSize > 0) {
      throw invalidField("sample_size", `Must be absent beside queries, got ${sampleSize}`);
    }
    for (const [i, data] of queries.entries()) assertData(`queries[${i}].float32`, data, index);
    if (search.kind === "exact") throw invalidField("search.exact", "Must be absent: exact searches find everything");
    assertSearch("search", search);
    return this.#engine.measureRecall(partition, {
      topK,
      queries: queries.length > 0 ? queries : { sampleSize: sampleSize || DEFAULTS.recallSampleSize },
      filter: toFilter("filter", request.filter, index),
      search,
      signal,
    });
  }
}
