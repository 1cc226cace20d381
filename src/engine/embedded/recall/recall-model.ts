import type { GraphStats } from "../../../../native/hnsw.ts";
import type { Recall } from "../../engine.ts";
import { timesAt } from "./reach.ts";
import type { RecallQueries, SearchableGraph } from "./recall.ts";
import { measureTable, type Step, type Table } from "./recall-table.ts";

/** What a plan is made from. */
export interface SearchCosts {
  /**
   * The ef_search that reaches the recall; infinite when no walk that is worth it does. `again`: of the first walk, where
   * queries that reach far walk once more.
   */
  efFor(recallTarget: number, topK: number, options?: { readonly again: boolean }): number;
  /** How many times that ef_search a query needs whose answer lies so far away; at least 1. */
  timesFor(reach: number): number;
  /** Distances that a walk without a filter computes. */
  comparedBy(efSearch: number): number;
}

/** What was measured is continued up to so many times the last ef_search. */
const EF_CONTINUED_MAX = 4;
/** A graph is measured anew when it has grown, or its dead have, by these. */
const GROWTH_MAX = 2;
const DEAD_GROWTH_MAX = 0.2;
/** How ef_search grows with the graph where recall is to stay: 1.9-fold from 20,000 to 100,000 word vectors. */
const EF_GROWTH_EXPONENT = 0.4;

/** What was measured of a graph, to be kept beside it when it is saved. */
export interface MeasuredRecall {
  readonly stored: Table;
  readonly asked: Table | null;
}

/**
 * Which ef_search reaches which recall on one graph, and what it costs: measured with stored vectors as queries, each
 * hidden from its own walk, and once users' queries have turned out to be harder, with those as well.
 */
export class RecallModel implements SearchCosts {
  #stored: Table | undefined;
  /** Of what is stored, those that `comparedBy` goes by, with growing ef_search. */
  #steps: readonly Step[] = [];
  #asked: Table | undefined;
  #isInherited = false;
  #indexed = 0;

  /** Goes on with what is known of the graph that this one's takes the place of, until this one's is measured. */
  inherit(previous: RecallModel): void {
    this.#keep(previous.#stored);
    this.#asked = previous.#asked;
    this.#isInherited = true;
  }

  /** Undefined: this graph was not measured yet. */
  get measured(): MeasuredRecall | undefined {
    if (!this.#stored || this.#isInherited) return undefined;
    return { stored: this.#stored, asked: this.#asked ?? null };
  }

  /** Goes on with what was measured of this very graph before it was saved. */
  resume({ stored, asked }: MeasuredRecall): void {
    this.#keep(stored);
    this.#asked = asked ?? undefined;
    this.#indexed = stored.indexed;
  }

  /** True when it is time to measure with stored vectors. */
  isDue({ indexed, unindexed, deleted }: GraphStats): boolean {
    if (indexed === 0 || unindexed * 10 > indexed) return false;
    const known = this.#stored;
    if (!known || this.#isInherited) return true;
    return indexed > known.indexed * GROWTH_MAX || deleted - known.deleted > indexed * DEAD_GROWTH_MAX;
  }

  /** Measures anew. `asked`: the queries are users', which only add to what stored vectors have shown. */
  async measure(
    graph: SearchableGraph,
    queries: RecallQueries,
    { asked = false, signal }: { asked?: boolean; signal?: AbortSignal } = {},
  ): Promise<void> {
    const table = await measureTable(graph, queries, { reach: asked ? this.#stored?.reach : undefined, signal });
    if (asked) {
      this.#asked = table;
      return;
    }
    this.#keep(table);
    if (this.#isInherited) this.#asked = undefined;
    this.#isInherited = false;
    this.#indexed = table.indexed;
  }

  /** How many vectors the graph holds now. */
  set indexed(indexed: number) {
    this.#indexed = indexed;
  }

  efFor(recallTarget: number, topK: number, { again } = { again: false }): number {
    if (!this.#stored) return guessEf(recallTarget, topK, this.#indexed);
    const tables = [this.#stored, this.#asked].filter((table) => table !== undefined);
    return Math.ceil(Math.max(topK, ...tables.map((table) => this.#efOf(table, { recallTarget, topK, again }))));
  }

  timesFor(reach: number): number {
    return timesAt(this.#stored?.reach, reach);
  }

  comparedBy(efSearch: number): number {
    const steps = this.#steps;
    const after = steps.findIndex((step) => step.efSearch >= efSearch);
    const [low, high] =
      after < 0 ? steps.slice(-2) : after === 0 ? [undefined, undefined] : steps.slice(after - 1, after + 1);
    if (!low || !high || low.efSearch === high.efSearch) return guessCompared(efSearch, steps.at(after < 0 ? -1 : 0));
    const slope = Math.log(high.compared / low.compared) / Math.log(high.efSearch / low.efSearch);
    const exponent = after < 0 ? Math.max(slope, COMPARED_EXPONENT) : slope;
    return low.compared * (efSearch / low.efSearch) ** exponent;
  }

  /** What was measured for queries by default, of stored vectors. */
  get latest(): (Recall & { readonly measuredAt: number }) | undefined {
    const table = this.#stored;
    const curve = table?.curvesAgain[0];
    if (!table || !curve || this.#isInherited) return undefined;
    const efSearch = efOn(curve, 0.95);
    const step = curve.find((each) => each.efSearch >= efSearch) ?? curve.at(-1);
    if (!step) return undefined;
    const { low, compared, ...recall } = step;
    return { ...recall, measuredAt: table.measuredAt };
  }

  #keep(stored: Table | undefined): void {
    this.#stored = stored;
    const steps = stored?.curves.slice(1).flat() ?? [];
    this.#steps = steps.sort((a, b) => a.efSearch - b.efSearch);
  }

  #efOf({ indexed, ...table }: Table, { recallTarget, topK, again }: EfOptions): number {
    const curves = again ? table.curvesAgain : table.curves;
    const growth = Math.max(1, this.#indexed / Math.max(1, indexed)) ** EF_GROWTH_EXPONENT;
    const above = curves.findIndex((curve) => topOf(curve) >= topK);
    const curve = curves[above < 0 ? curves.length - 1 : above];
    if (!curve) return Number.POSITIVE_INFINITY;
    const efSearch = efOn(curve, recallTarget);
    if (above <= 0) return growth * efSearch * Math.max(1, topK / topOf(curve));
    // Between two that were measured: a power of topK, or from the lower one alone, in proportion, which is more.
    const lower = curves[above - 1] ?? curve;
    const lowerEf = efOn(lower, recallTarget);
    const proportional = (lowerEf * topK) / topOf(lower);
    if (!Number.isFinite(lowerEf) || !Number.isFinite(efSearch)) return growth * Math.min(proportional, efSearch);
    const part = Math.log(topK / topOf(lower)) / Math.log(topOf(curve) / topOf(lower));
    return growth * Math.min(proportional, lowerEf ** (1 - part) * efSearch ** part);
  }
}

interface EfOptions {
  readonly recallTarget: number;
  readonly topK: number;
  readonly again: boolean;
}

function topOf(curve: readonly Step[]): number {
  return curve[0]?.topK ?? 1;
}

/** Of what may be missed, the share that is aimed at: queries are not those that were measured with. */
const MISSES_AIMED_AT = 2 / 3;

/** Where the curve reaches the recall with some reserve, between two steps by powers of ef_search and of the share that is missed. */
function efOn(curve: readonly Step[], wanted: number): number {
  const recallTarget = 1 - MISSES_AIMED_AT * (1 - wanted);
  const at = curve.findIndex(({ low }) => low >= recallTarget);
  const [before, step] = at < 0 ? curve.slice(-2) : at === 0 ? [undefined, curve[0]] : [curve[at - 1], curve[at]];
  if (!step) return Number.POSITIVE_INFINITY;
  if (!before) return step.low >= recallTarget ? step.efSearch : Number.POSITIVE_INFINITY;
  const part = Math.log(missed(before) / (1 - recallTarget)) / Math.log(missed(before) / missed(step));
  const efSearch = before.efSearch * (step.efSearch / before.efSearch) ** part;
  return efSearch <= step.efSearch * EF_CONTINUED_MAX ? efSearch : Number.POSITIVE_INFINITY;
}

function missed({ low }: Step): number {
  return 1 - low;
}

/** Distances grow with this power of ef_search, on data of many kinds. */
const COMPARED_EXPONENT = 0.75;

/** From the nearest that was measured; before anything is, as on word vectors. */
function guessCompared(efSearch: number, nearest: Step | undefined): number {
  const { compared, efSearch: at } = nearest ?? { compared: 75, efSearch: 1 };
  return compared * (efSearch / at) ** COMPARED_EXPONENT;
}

/**
 * What reaches the recall on hard data (word vectors, Gaussian vectors of 100 dimensions): it grows with the logarithm of
 * the number of vectors, with the inverse of the share that may be missed, and with the root of topK.
 */
function guessEf(recallTarget: number, topK: number, indexed: number): number {
  const doublings = Math.log2(Math.max(2, indexed));
  return Math.ceil(Math.max(topK, (doublings / (1 - recallTarget)) * Math.sqrt(Math.max(1, topK / 10))));
}
