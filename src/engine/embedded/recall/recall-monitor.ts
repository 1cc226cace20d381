import { hasBit, ordinalsOf } from "../../../filter/bitmap.ts";
import { OneAtATime } from "../../../one-at-a-time.ts";
import type { Recall } from "../../engine.ts";
import {
  mean,
  measureRecall,
  recallOf,
  type SearchAgain,
  type SearchableGraph,
  sampleQueries,
  standardError,
} from "./recall.ts";
import { RecallModel } from "./recall-model.ts";
import { MODEL_QUERIES } from "./recall-table.ts";

/** What of a set of vectors is measured. */
export interface MeasuredSet {
  readonly graph: Pick<SearchableGraph, "search" | "stats" | "get">;
  readonly metric: SearchableGraph["metric"];
  /** Bitmaps of ordinals. */
  readonly live: Uint32Array;
  readonly withData: Uint32Array;
}

export interface RecallMonitorOptions {
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
  /** One of so many queries is repeated exactly. Default 1,000. */
  readonly sampleEvery?: number;
}

/** A query that the graph has answered without a filter. */
export interface AnsweredQuery {
  readonly data: Float32Array;
  readonly topK: number;
  readonly efSearch: number;
  readonly recallTarget: number;
  readonly again?: SearchAgain;
}

interface Sample extends Omit<AnsweredQuery, "again"> {
  readonly recall: number;
}

const SAMPLE_EVERY = 1_000;
/** Queries that are repeated whenever nothing else is, so that what users ask is known soon. */
const FIRST_SAMPLES = 128;
const SAMPLES_MAX = 200;
const SAMPLE_BYTES_MAX = 4 * 1024 * 1024;
/** Fewer say nothing about a recall. */
const SAMPLES_MIN = 30;
/** 95 % quantile of the normal distribution. */
const Z_95_ONE_SIDED = 1.645;

/**
 * Keeps the recall model of one set's graph true: measures it in the background when the graph stands or has changed
 * much, repeats some of the users' queries exactly, and measures with those when they fall short of their target.
 */
export class RecallMonitor {
  readonly model = new RecallModel();
  readonly #graph: SearchableGraph;
  /** In [0, 1). */
  readonly random: () => number;
  readonly #sampleEvery: number;
  readonly #closed = new AbortController();
  #samples: Sample[] = [];
  /** How many of the samples have been searched by the present model. */
  #judged = 0;
  #sampled = 0;
  #sampledAt = 0;
  #running: Promise<void> | undefined;

  constructor(set: MeasuredSet, { random = Math.random, sampleEvery = SAMPLE_EVERY }: RecallMonitorOptions = {}) {
    this.random = random;
    this.#sampleEvery = sampleEvery;
    this.#graph = {
      metric: set.metric,
      search: (queries, options) => set.graph.search(queries, options),
      stats: () => set.graph.stats(),
      get: (ordinal) => set.graph.get(ordinal),
      sample: (count, next) => sampleOf(set, count, next),
    };
  }

  get graph(): SearchableGraph {
    return this.#graph;
  }

  /** Recall as it was measured last, of users' queries when there are enough; undefined: nothing was measured. */
  get latest(): (Recall & { readonly measuredAt: number }) | undefined {
    const topK = this.#samples.at(-1)?.topK;
    const alike = this.#samples.filter((sample) => sample.topK === topK);
    if (topK === undefined || alike.length < SAMPLES_MIN) return this.model.latest;
    const efSearches = alike.map((sample) => sample.efSearch).sort((a, b) => a - b);
    const efSearch = efSearches[Math.floor(efSearches.length / 2)] ?? topK;
    return { ...recallOf(alike.map(({ recall }) => recall)), topK, efSearch, measuredAt: this.#sampledAt };
  }

  /** Looks whether the graph, which has changed, is to be measured. Does not wait. */
  notice(): void {
    if (this.#closed.signal.aborted) return;
    const stats = this.#graph.stats();
    this.model.indexed = stats.indexed;
    if (!this.#running && this.model.isDue(stats)) this.#start(() => this.#measureStored());
  }

  /** Repeats the query exactly if it is its turn and nothing else is being measured. Does not wait. */
  noticeQuery(query: AnsweredQuery): void {
    if (this.#running || this.#closed.signal.aborted) return;
    const isFirst = this.#sampled < FIRST_SAMPLES;
    if (!isFirst && this.random() * this.#sampleEvery >= 1) return;
    this.#start(() => this.#repeat(query));
  }

  get isMeasuring(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when nothing is being measured any more. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /** Stops measuring for good. */
  close(): void {
    this.#closed.abort();
  }

  #start(measure: () => Promise<void>): void {
    this.#running = turns
      .run(async () => {
        if (!this.#closed.signal.aborted) await measure();
      })
      // The graph is gone, or memory is short: what is known stays, and later occasions come.
      .catch(() => {})
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #measureStored(): Promise<void> {
    const queries = sampleQueries(this.#graph, MODEL_QUERIES, this.random);
    if (queries.data.length > 0) await this.model.measure(this.#graph, queries, { signal: this.#closed.signal });
  }

  async #repeat({ data, topK, efSearch, recallTarget, again }: AnsweredQuery): Promise<void> {
    this.#sampled++;
    const { recall } = await measureRecall(this.#graph, { data: [data] }, { topK, efSearch, again });
    const most = Math.min(SAMPLES_MAX, Math.max(SAMPLES_MIN, Math.floor(SAMPLE_BYTES_MAX / data.byteLength)));
    this.#samples.push({ data: data.slice(), topK, efSearch, recallTarget, recall });
    this.#samples.splice(0, this.#samples.length - most);
    this.#judged = Math.min(this.#judged + 1, this.#samples.length);
    this.#sampledAt = Date.now();
    if (this.#judged < SAMPLES_MIN || !fallsShort(this.#samples.slice(-this.#judged))) return;
    const asked = { data: this.#samples.map((sample) => sample.data) };
    await this.model.measure(this.#graph, asked, { asked: true, signal: this.#closed.signal });
    this.#judged = 0;
  }
}

/** True when recall is below its target by more than chance. */
function fallsShort(samples: readonly Sample[]): boolean {
  const differences = samples.map(({ recall, recallTarget }) => recall - recallTarget);
  return mean(differences) + Z_95_ONE_SIDED * standardError(differences) < 0;
}

/** Measurements of all graphs take turns, so that they take little from searches. */
const turns = new OneAtATime();

/** Draws before the rest is listed: where few are live, most draws miss. */
const DRAWS_PER_SAMPLE = 16;

function sampleOf({ live, withData }: MeasuredSet, count: number, random: () => number): number[] {
  const sample = new Set<number>();
  const isWanted = (ordinal: number) => hasBit(live, ordinal) && hasBit(withData, ordinal);
  for (let draws = count * DRAWS_PER_SAMPLE; draws > 0 && sample.size < count; draws--) {
    const ordinal = Math.floor(random() * live.length * 32);
    if (isWanted(ordinal)) sample.add(ordinal);
  }
  if (sample.size === count) return [...sample];
  const all = ordinalsOf(live).filter(isWanted);
  for (let i = 0; i < Math.min(count, all.length); i++) {
    const other = i + Math.floor(random() * (all.length - i));
    [all[i], all[other]] = [all[other] as number, all[i] as number];
  }
  return [...all.subarray(0, count)];
}
