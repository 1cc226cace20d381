import { setImmediate } from "node:timers/promises";
import type { Snapshot } from "../../../../native/rocksdb.ts";
import { QuiverError } from "../../../errors.ts";
import type { BatchAnswer, Projection, Query, QueryAnswer, QueryPlan, QueryRest, ScoredVector } from "../../engine.ts";
import { bytesOfSparse } from "../layout.ts";
import type { Partition } from "../partition.ts";
import type { Records } from "../records.ts";
import type { Found, VectorSet } from "../set/vector-set.ts";
import { readFailed, type Store } from "../storage/store.ts";
import { type SearchRequest, searchDenseForMany, type Target } from "./dense-search.ts";
import { searchSet } from "./search.ts";

/** Searches that may be disturbed by writes before writes are held back for one. */
const UNDISTURBED_TRIES = 3;

/** How long the filters of a batch are evaluated before other work has its turn. */
const TURN_MS = 10;

/** Bytes of bitmaps of what matches the filters of a batch, after which the queries so far are searched. */
const BITMAP_BYTES_MAX = 64 * 1024 * 1024;

/** A write came in between: what was found is no state that ever was. */
const DISTURBED = Symbol("disturbed");

export interface QueriesOptions {
  readonly store: Store;
  readonly records: Records;
}

/** The queries of one index: each answers from one state, its vectors' parts included. */
export class Queries {
  readonly #store: Store;
  readonly #records: Records;

  constructor({ store, records }: QueriesOptions) {
    this.#store = store;
    this.#records = records;
  }

  one(partition: Partition, query: Query, pageSize: number): Promise<QueryAnswer> {
    return undisturbed(partition, async () => {
      const { set } = partition;
      const { removals } = set;
      const { lsn } = this.#store;
      const request = await this.#prepare(partition.namespace, set, query, new Map());
      if (request === DISTURBED) return DISTURBED;
      const { found, plan } = await searchSet(set, request);
      if (partition.set !== set || set.removals !== removals) return DISTURBED;
      const answer = await this.#read(partition.namespace, { found, projection: query.projection, pageSize });
      return answer === DISTURBED ? DISTURBED : { ...answer, plan, lsn: Math.max(lsn, ...found.map(versionOf)) };
    });
  }

  many(
    partition: Partition,
    queries: readonly Query[],
    maxBytes: number,
  ): Promise<{ results: readonly BatchAnswer[]; lsn: number }> {
    return undisturbed(partition, async () => {
      const { set } = partition;
      const { changes } = set;
      const { lsn } = this.#store;
      const filters = new Map<string, Uint32Array>();
      const requests: (SearchRequest | QuiverError)[] = [];
      const answers: Awaited<ReturnType<typeof searchAll>> = [];
      let turnAt = performance.now();
      for (const [i, query] of queries.entries()) {
        if (performance.now() - turnAt >= TURN_MS) {
          await setImmediate();
          turnAt = performance.now();
        }
        const request = await this.#prepare(partition.namespace, set, query, filters).catch(asRefusal);
        if (request === DISTURBED) return DISTURBED;
        requests.push(request);
        if (i < queries.length - 1 && filters.size * set.live.byteLength < BITMAP_BYTES_MAX) continue;
        answers.push(...(await searchAll(set, requests.splice(0))));
        filters.clear();
        if (partition.set !== set || set.changes !== changes) return DISTURBED;
      }
      const results = await this.#readAll(partition.namespace, answers, { queries, maxBytes });
      return results === DISTURBED ? DISTURBED : { results, lsn };
    });
  }

  /** Fills in what a stored vector says, and which vectors match. */
  async #prepare(
    namespace: string,
    set: VectorSet,
    { target, topK, search, filter }: Query,
    filters: Map<string, Uint32Array>,
  ): Promise<SearchRequest | typeof DISTURBED> {
    const resolved = await this.#resolve(namespace, set, target);
    if (resolved === DISTURBED) return DISTURBED;
    const id = filter && JSON.stringify(filter);
    const allowed = filter && id !== undefined ? (filters.get(id) ?? set.select(filter)) : undefined;
    if (id !== undefined && allowed) filters.set(id, allowed);
    return { target: resolved, topK, search, allowed };
  }

  async #resolve(namespace: string, set: VectorSet, target: Query["target"]): Promise<Target | typeof DISTURBED> {
    const none = { data: undefined, sparse: undefined, denseWeight: undefined, except: undefined };
    switch (target.kind) {
      case "vector":
        return { ...none, data: target.data };
      case "sparse":
        return { ...none, sparse: target.sparse };
      case "hybrid":
        return { ...none, data: target.data, sparse: target.sparse, denseWeight: target.denseWeight };
      case "key": {
        const ordinal = set.ordinalOf(target.key);
        if (ordinal === undefined) throw vectorNotFound(namespace, target.key);
        const data = set.dataOf(ordinal);
        if (data) return { ...none, data, except: target.key };
        const projection = { data: true, metadata: false };
        const [stored] = await this.#records.get(namespace, [target.key], { projection });
        if (stored?.version !== set.versionOf(target.key) || !stored.sparse) return DISTURBED;
        return { ...none, sparse: stored.sparse, except: target.key };
      }
    }
  }

  /** The first page of what was found, with the parts that are asked for, and the way to the others. */
  async #read(
    namespace: string,
    { found, projection, pageSize }: { found: readonly Found[]; projection: Projection; pageSize: number },
  ): Promise<Pick<QueryAnswer, "vectors" | "rest"> | typeof DISTURBED> {
    if (found.length <= pageSize) {
      const vectors = await this.#complete(namespace, found, { projection });
      return vectors === DISTURBED ? DISTURBED : { vectors };
    }
    const snapshot = this.#store.database.snapshot();
    const read = async (from: number, count: number) => {
      const vectors = await this.#complete(namespace, found.slice(from, from + count), { projection, snapshot });
      if (vectors === DISTURBED) throw new QuiverError("CORRUPTION", "Stored vectors changed under a read snapshot");
      return vectors;
    };
    const rest: QueryRest = { size: found.length, read, close: () => snapshot.release() };
    try {
      const nothing = { data: false, metadata: false };
      const all = await this.#complete(namespace, found, { projection: nothing, snapshot, verify: true });
      if (all !== DISTURBED) return { vectors: await read(0, pageSize), rest };
    } catch (error) {
      snapshot.release();
      throw error;
    }
    snapshot.release();
    return DISTURBED;
  }

  /** What was found with its parts; `verify` looks at the store also when none is asked for. */
  async #complete(
    namespace: string,
    found: readonly Found[],
    { projection, ...options }: { projection: Projection; snapshot?: Snapshot; verify?: boolean },
  ): Promise<ScoredVector[] | typeof DISTURBED> {
    if (!projection.data && !projection.metadata && !options.verify) return [...found];
    const keys = found.map(({ key }) => key);
    const records = await this.#records.get(namespace, keys, { projection, ...options }).catch((error: unknown) => {
      throw readFailed(error);
    });
    const vectors: ScoredVector[] = [];
    for (const [i, { version, distance }] of found.entries()) {
      const record = records[i];
      if (record?.version !== version) return DISTURBED;
      vectors.push({ ...record, distance });
    }
    return vectors;
  }

  async #readAll(
    namespace: string,
    answers: readonly ({ found: readonly Found[]; plan: QueryPlan } | QuiverError)[],
    { queries, maxBytes }: { readonly queries: readonly Query[]; readonly maxBytes: number },
  ): Promise<BatchAnswer[] | typeof DISTURBED> {
    const results: BatchAnswer[] = [];
    let bytes = 0;
    const snapshot = this.#store.database.snapshot();
    try {
      for (const [i, answer] of answers.entries()) {
        if (answer instanceof QuiverError) {
          results.push(answer);
          continue;
        }
        if (bytes >= maxBytes) {
          results.push(answersTooLarge(maxBytes));
          continue;
        }
        const { projection } = queries[i] as Query;
        const vectors = await this.#complete(namespace, answer.found, { projection, snapshot });
        if (vectors === DISTURBED) return DISTURBED;
        bytes += vectors.reduce((sum, vector) => sum + bytesOf(vector), 0);
        results.push({ vectors, plan: answer.plan });
      }
      return results;
    } finally {
      snapshot.release();
    }
  }
}

function answersTooLarge(maxBytes: number): QuiverError {
  const message = `The answers to the queries before this one carry ${maxBytes} bytes already; send it in another batch`;
  return new QuiverError("REQUEST_TOO_LARGE", message, { metadata: { max: `${maxBytes}` } });
}

function bytesOf({ key, data, sparse, metadata }: ScoredVector): number {
  const parts = (data?.byteLength ?? 0) + (sparse ? bytesOfSparse(sparse) : 0);
  return key.length + parts + (metadata ? JSON.stringify(metadata).length : 0);
}

/** Runs a read until no write disturbs it; at last with writes held back. */
async function undisturbed<T>(partition: Partition, read: () => Promise<T | typeof DISTURBED>): Promise<T> {
  const tryOnce = async () => {
    const { set } = partition;
    try {
      return await read();
    } catch (error) {
      // The set was built anew and the old one disposed of.
      if (partition.set !== set && !(error instanceof QuiverError)) return DISTURBED;
      throw error;
    }
  };
  for (let tries = 0; tries < UNDISTURBED_TRIES; tries++) {
    const answer = await tryOnce();
    if (answer !== DISTURBED) return answer;
  }
  const answer = await partition.exclusively(tryOnce);
  if (answer !== DISTURBED) return answer;
  // Without writes only the change to a set that was built anew comes in between.
  const again = await partition.exclusively(tryOnce);
  if (again !== DISTURBED) return again;
  throw new QuiverError("CORRUPTION", "Vectors in memory and in the store differ; restart the server");
}

/** Dense targets together, the others one by one. */
async function searchAll(set: VectorSet, requests: readonly (SearchRequest | QuiverError)[]) {
  const isDense = (request: SearchRequest | QuiverError): request is SearchRequest =>
    !(request instanceof QuiverError) && request.target.data !== undefined && request.target.sparse === undefined;
  const dense = requests.filter(isDense);
  const found = await searchDenseForMany(set, dense);
  const answerOf = new Map(dense.map((request, i) => [request, found[i]]));
  const answers = [];
  for (const request of requests) {
    if (request instanceof QuiverError) answers.push(request);
    else answers.push(answerOf.get(request) ?? (await searchSet(set, request)));
  }
  return answers;
}

function asRefusal(error: unknown): QuiverError {
  if (error instanceof QuiverError) return error;
  throw error;
}

function versionOf({ version }: Found): number {
  return version;
}

function vectorNotFound(namespace: string, key: string): QuiverError {
  return new QuiverError(
    "VECTOR_NOT_FOUND",
    `Namespace "${namespace}" has no vector with the key ${JSON.stringify(key)}`,
    {
      resource: { type: "vector", name: key },
    },
  );
}
