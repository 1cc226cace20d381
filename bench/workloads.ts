import { type DataSet, type Metadata, nearestKeys } from "./data.ts";
import type { Equals, Peer, PeerQuery } from "./peers/peer.ts";
import { batches, each, measure, measureMany, settle, type Took } from "./processor.ts";

const TOP_K = 10;
/** Of a batch that is put. */
export const PUT_ROWS = 500;
export const CALLS_AT_ONCE = 4;
const RECALL_MIN = 0.95;
const EF_SEARCHES = [10, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1_000];
const KEYS_PER_GET = 100;
const KEYS_PER_PAGE = 500;

export const FILTERS: Readonly<Record<string, Equals>> = {
  "50 %": { field: "half", value: 1 },
  "10 %": { field: "tag", value: "tag-3" },
  "0.1 %": { field: "bucket", value: 7 },
};

/** What queries of one kind cost, with the least candidates that find enough. */
export interface QueryFigures {
  readonly efSearch: number;
  readonly recall: number;
  /** Of client and server. */
  readonly processorMs: number;
  /** Of its own processes alone. */
  readonly serverMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface PeerFigures {
  readonly name: string;
  /** Until the last batch of 500 was acknowledged. */
  readonly insertsPerSecond: number;
  /** Processor seconds until every vector was in the index, per 100,000 vectors. */
  readonly buildSeconds: number;
  readonly query: QueryFigures;
  /** By the names of FILTERS. */
  readonly filtered: Readonly<Record<string, QueryFigures>>;
  readonly getsPerSecond: number;
  readonly listedPerSecond: number;
  readonly diskBytesPerVector: number;
}

/** The exact answers to the queries of a data set, of all rows and by filter. */
export class Truth {
  readonly #data: DataSet;
  readonly #known = new Map<string, readonly ReadonlySet<string>[]>();

  constructor(data: DataSet) {
    this.#data = data;
  }

  of(filter: Equals | undefined): readonly ReadonlySet<string>[] {
    const id = JSON.stringify(filter ?? null);
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const isEligible = (metadata: Metadata) => filter === undefined || metadata[filter.field] === filter.value;
    const nearest = this.#data.queries.map((query) => nearestKeys(this.#data, query, TOP_K, isEligible));
    this.#known.set(id, nearest);
    return nearest;
  }
}

/** Fills an empty peer and asks it everything. */
export async function runPeer(peer: Peer, data: DataSet, truth: Truth): Promise<PeerFigures> {
  const start = performance.now();
  const begin = (what: string) =>
    console.log(`  ${((performance.now() - start) / 1_000).toFixed(1)} s: ${peer.name}, ${what}`);
  begin("insert");
  const inserted = await insertAll(peer, data);
  begin("complete");
  const completed = await measure(
    () => peer.processorSeconds(),
    () => peer.complete(),
  );
  begin("settle");
  await settle(() => peer.processorSeconds());
  begin("query");
  const query = await runQueries(peer, data, truth);
  const filtered: Record<string, QueryFigures> = {};
  for (const [name, filter] of Object.entries(FILTERS)) {
    begin(`filter of ${name}`);
    filtered[name] = await runQueries(peer, data, truth, filter);
  }
  begin("get and list");
  return {
    name: peer.name,
    insertsPerSecond: data.rows.length / inserted.seconds,
    buildSeconds: ((inserted.processorSeconds + completed.processorSeconds) / data.rows.length) * 100_000,
    query,
    filtered,
    getsPerSecond: await runGets(peer, data),
    listedPerSecond: await runList(peer, data),
    diskBytesPerVector: (await peer.diskBytes()) / data.rows.length,
  };
}

export function insertAll(peer: Peer, { rows }: DataSet): Promise<Took> {
  return measure(
    () => peer.processorSeconds(),
    () => each(batches(rows, PUT_ROWS), CALLS_AT_ONCE, (batch) => peer.insert(batch)),
  );
}

export async function runQueries(peer: Peer, data: DataSet, truth: Truth, filter?: Equals): Promise<QueryFigures> {
  const ask = (query: PeerQuery) => peer.query(query);
  const { efSearch, recall } = await calibrate(peer, ask, data, truth, filter);
  return { efSearch, recall, ...(await runSingle(peer, ask, data, efSearch, filter)) };
}

/**
 * The least candidates with which enough of the nearest are found, the most that there are when none is enough; halves the
 * choice with each question, as recall grows with the candidates.
 */
async function calibrate(
  { efSearchAlways }: Peer,
  ask: (query: PeerQuery) => Promise<readonly string[]>,
  { queries }: DataSet,
  truth: Truth,
  filter?: Equals,
): Promise<{ efSearch: number; recall: number }> {
  const expected = truth.of(filter);
  const recallWith = async (efSearch: number) => {
    let found = 0;
    let wanted = 0;
    for (const [i, vector] of queries.entries()) {
      const keys = await ask({ vector, topK: TOP_K, efSearch, filter });
      found += keys.filter((key) => expected[i]?.has(key)).length;
      wanted += expected[i]?.size ?? 0;
    }
    return found / wanted;
  };
  const choices = efSearchAlways === undefined ? EF_SEARCHES : [efSearchAlways];
  let best = { efSearch: 0, recall: 0 };
  for (let low = 0, high = choices.length; low < high; ) {
    const middle = Math.floor((low + high) / 2);
    const efSearch = choices[middle] as number;
    const recall = await recallWith(efSearch);
    const isEnough = recall >= RECALL_MIN;
    if (isEnough || best.recall < RECALL_MIN) best = { efSearch, recall };
    if (isEnough) high = middle;
    else low = middle + 1;
  }
  return best;
}

/** One query after the other. */
export async function runSingle(
  peer: Peer,
  ask: (query: PeerQuery) => Promise<unknown>,
  { queries }: DataSet,
  efSearch: number,
  filter?: Equals,
): Promise<Omit<QueryFigures, "efSearch" | "recall">> {
  const milliseconds: number[] = [];
  const { processorSeconds, otherSeconds, count } = await measureMany(
    () => peer.processorSeconds(),
    async (i) => {
      const vector = queries[i % queries.length] as Float32Array;
      const before = performance.now();
      await ask({ vector, topK: TOP_K, efSearch, filter });
      milliseconds.push(performance.now() - before);
    },
  );
  milliseconds.sort((a, b) => a - b);
  const percentile = (p: number) => milliseconds[Math.floor(p * milliseconds.length)] ?? Number.NaN;
  return {
    processorMs: (processorSeconds / count) * 1_000,
    serverMs: (otherSeconds / count) * 1_000,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
  };
}

async function runGets(peer: Peer, { rows }: DataSet): Promise<number> {
  const keys = rows.slice(0, 20_000).map(({ key }) => key);
  const calls = batches(keys, KEYS_PER_GET);
  let got = 0;
  const { seconds } = await measure(
    () => 0,
    () =>
      each(calls, CALLS_AT_ONCE, async (batch) => {
        const count = await peer.get(batch);
        got += count;
      }),
  );
  if (got !== keys.length) throw new Error(`${peer.name} has ${got} of ${keys.length} keys`);
  return keys.length / seconds;
}

async function runList(peer: Peer, { rows }: DataSet): Promise<number> {
  let listed = 0;
  const { seconds } = await measure(
    () => 0,
    async () => {
      let after = "";
      do {
        const keys = await peer.list(after, KEYS_PER_PAGE);
        listed += keys.length;
        after = keys.length < KEYS_PER_PAGE ? "" : (keys.at(-1) ?? "");
      } while (after !== "");
    },
  );
  if (listed !== rows.length) throw new Error(`${peer.name} lists ${listed} of ${rows.length} keys`);
  return listed / seconds;
}
