import { join } from "node:path";
import {
  type ZVecCollection,
  ZVecCollectionSchema,
  ZVecCreateAndOpen,
  ZVecDataType,
  type ZVecDocIterator,
  ZVecIndexType,
  ZVecMetricType,
} from "@zvec/zvec";
import type { Row } from "../data.ts";
import packageJson from "../package.json" with { type: "json" };
import { directoryBytes } from "./directory-bytes.ts";
import type { OpenPeer, Peer, PeerOptions, PeerQuery } from "./peer.ts";
import { toCondition } from "./to-condition.ts";

/** Alibaba's store inside this process. It writes every insert to its log, but does not sync the log to the disk. */
export const openZvec: OpenPeer = async (options) => new Zvec(options);

/** Rows that it takes at once. */
const BATCH_MAX = 1_024;

class Zvec implements Peer {
  readonly name = `zvec ${packageJson.dependencies["@zvec/zvec"]}`;
  readonly #options: PeerOptions;
  readonly #collection: ZVecCollection;
  /** Where the last page has ended, so that the next one goes on there. */
  #listing: { readonly documents: ZVecDocIterator; last: string } | undefined;

  constructor(options: PeerOptions) {
    this.#options = options;
    const indexParams = { indexType: ZVecIndexType.INVERT } as const;
    const schema = new ZVecCollectionSchema({
      name: "vectors",
      vectors: {
        name: "embedding",
        dataType: ZVecDataType.VECTOR_FP32,
        dimension: options.dimension,
        indexParams: {
          indexType: ZVecIndexType.HNSW,
          metricType: options.metric === "cosine" ? ZVecMetricType.COSINE : ZVecMetricType.L2,
          m: 16,
          efConstruction: 200,
        },
      },
      fields: [
        { name: "bucket", dataType: ZVecDataType.INT32, indexParams },
        { name: "half", dataType: ZVecDataType.INT32, indexParams },
        { name: "tag", dataType: ZVecDataType.STRING, indexParams },
        { name: "len", dataType: ZVecDataType.INT32 },
      ],
    });
    this.#collection = ZVecCreateAndOpen(join(options.directory, "vectors"), schema);
  }

  async insert(rows: readonly Row[]): Promise<void> {
    for (let i = 0; i < rows.length; i += BATCH_MAX) {
      const documents = rows.slice(i, i + BATCH_MAX).map(({ key, data, metadata }) => {
        return { id: toId(key), vectors: { embedding: data }, fields: metadata };
      });
      const failed = this.#collection.upsertSync(documents).find(({ ok }) => !ok);
      if (failed) throw new Error(`zvec did not store a row: ${failed.code} ${failed.message}`);
    }
  }

  /** Before this, new rows are in no graph: queries compare with each of them. */
  async complete(): Promise<void> {
    this.#endListing();
    await this.#collection.optimize();
    const { embedding } = this.#collection.stats.indexCompleteness;
    if (embedding !== 1) throw new Error(`zvec has indexed ${embedding} of its rows`);
  }

  async query({ vector, topK, efSearch, filter }: PeerQuery): Promise<readonly string[]> {
    const documents = await this.#collection.query({
      fieldName: "embedding",
      vector,
      topk: topK,
      outputFields: [],
      params: { indexType: ZVecIndexType.HNSW, ef: efSearch },
      ...(filter && { filter: toCondition(filter) }),
    });
    return documents.map(({ id }) => toKey(id));
  }

  async get(keys: readonly string[]): Promise<number> {
    const documents = Object.values(this.#collection.fetchSync(keys.map(toId)));
    const isWhole = ({ embedding }: (typeof documents)[number]["vectors"]) =>
      Array.isArray(embedding) && embedding.length === this.#options.dimension;
    return documents.filter(({ vectors, fields }) => fields.tag && isWhole(vectors)).length;
  }

  /** In an order of its own: all that it can do is to pass over a snapshot of all documents. */
  async list(after: string, count: number): Promise<readonly string[]> {
    const goesOn = after !== "" && this.#listing?.last === after;
    const listing = (goesOn && this.#listing) || this.#startListing(after);
    const keys: string[] = [];
    while (keys.length < count) {
      const { done, value } = listing.documents.next();
      if (done) break;
      keys.push(toKey(value.id));
    }
    listing.last = keys.at(-1) ?? "";
    return keys;
  }

  processorSeconds(): number {
    return 0;
  }

  diskBytes(): Promise<number> {
    return directoryBytes(this.#options.directory);
  }

  async close(): Promise<void> {
    this.#endListing();
    this.#collection.closeSync();
  }

  #startListing(after: string): { documents: ZVecDocIterator; last: string } {
    this.#endListing();
    const documents = this.#collection.iterDocsSync({ outputFields: [], includeVector: false });
    for (let last = ""; last !== after; ) {
      const { done, value } = documents.next();
      if (done) break;
      last = toKey(value.id);
    }
    this.#listing = { documents, last: after };
    return this.#listing;
  }

  #endListing(): void {
    this.#listing?.documents.closeSync();
    this.#listing = undefined;
  }
}

/** Its identifiers are letters, digits and few other characters. */
function toId(key: string): string {
  return encodeURIComponent(key).replace(/[!'()*~]/g, (other) => `%${other.charCodeAt(0).toString(16)}`);
}

function toKey(id: string): string {
  return decodeURIComponent(id);
}
