import { type Connection, connect, Index, type Table } from "@lancedb/lancedb";
import {
  Table as ArrowTable,
  Field,
  FixedSizeList,
  Float32,
  Int32,
  makeData,
  makeVector,
  Schema,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import type { Row } from "../data.ts";
import packageJson from "../package.json" with { type: "json" };
import { directoryBytes } from "./directory-bytes.ts";
import type { OpenPeer, Peer, PeerOptions, PeerQuery } from "./peer.ts";
import { toCondition } from "./to-condition.ts";

/**
 * LanceDB inside this process. Its HNSW index has 8 bits of each value; the best rows are compared again in full. What it
 * has written is not synced to the disk.
 */
export const openLancedb: OpenPeer = async (options) => {
  // Otherwise it warns whenever it is asked about an index.
  process.env.LANCE_INCLUDE_VECTOR_CENTROIDS ??= "false";
  const connection = await connect(options.directory);
  const schema = new Schema([
    new Field("key", new Utf8()),
    new Field("embedding", embeddingType(options.dimension)),
    new Field("bucket", new Int32()),
    new Field("half", new Int32()),
    new Field("tag", new Utf8()),
    new Field("len", new Int32()),
  ]);
  return new Lancedb(options, connection, await connection.createEmptyTable("vectors", schema));
};

/** Of `topK`: the vectors that it compares again in full. */
const REFINE_FACTOR = 2;

class Lancedb implements Peer {
  readonly name = `LanceDB ${packageJson.dependencies["@lancedb/lancedb"]} (IVF_HNSW_SQ)`;
  readonly #options: PeerOptions;
  readonly #connection: Connection;
  readonly #table: Table;
  readonly #distanceType: "cosine" | "l2";

  constructor(options: PeerOptions, connection: Connection, table: Table) {
    this.#options = options;
    this.#connection = connection;
    this.#table = table;
    this.#distanceType = options.metric === "cosine" ? "cosine" : "l2";
  }

  /** Appends, which costs less than to replace rows of the same keys. */
  async insert(rows: readonly Row[]): Promise<void> {
    await this.#table.add(toArrow(rows, this.#options.dimension));
  }

  /** Until the first time there are no indexes, and queries compare with every row. */
  async complete(): Promise<void> {
    await this.#table.optimize();
    if ((await this.#table.listIndices()).length === 0) await this.#createIndexes();
    await this.#table.optimize({ cleanupOlderThan: new Date() });
    const { numUnindexedRows } = (await this.#table.indexStats("embedding_idx")) ?? {};
    if (numUnindexedRows !== 0) throw new Error(`LanceDB has not indexed ${numUnindexedRows} rows`);
  }

  async query({ vector, topK, efSearch, filter }: PeerQuery): Promise<readonly string[]> {
    const query = this.#table
      .vectorSearch(vector)
      .distanceType(this.#distanceType)
      .ef(Math.max(efSearch, REFINE_FACTOR * topK))
      .refineFactor(REFINE_FACTOR)
      .select(["key", "_distance"])
      .limit(topK);
    return keysOf(await (filter ? query.where(toCondition(filter)) : query).toArrow());
  }

  async get(keys: readonly string[]): Promise<number> {
    const literals = keys.map((key) => `'${key.replaceAll("'", "''")}'`);
    const found = await this.#table.query().where(`key IN (${literals.join()})`).toArray();
    return found.filter(({ embedding, tag }) => tag && embedding.length === this.#options.dimension).length;
  }

  async list(after: string, count: number): Promise<readonly string[]> {
    const query = this.#table
      .query()
      .where(`key > '${after.replaceAll("'", "''")}'`)
      .select(["key"]);
    return keysOf(await query.orderBy({ columnName: "key" }).limit(count).toArrow());
  }

  processorSeconds(): number {
    return 0;
  }

  diskBytes(): Promise<number> {
    return directoryBytes(this.#options.directory);
  }

  async close(): Promise<void> {
    this.#table.close();
    this.#connection.close();
  }

  async #createIndexes(): Promise<void> {
    const hnsw = { distanceType: this.#distanceType, numPartitions: 1, m: 16, efConstruction: 200 } as const;
    await this.#table.createIndex("embedding", { config: Index.hnswSq(hnsw) });
    await this.#table.createIndex("key", { config: Index.btree() });
    await this.#table.createIndex("bucket", { config: Index.btree() });
    await this.#table.createIndex("half", { config: Index.bitmap() });
    await this.#table.createIndex("tag", { config: Index.bitmap() });
  }
}

function embeddingType(dimension: number): FixedSizeList<Float32> {
  return new FixedSizeList(dimension, new Field("item", new Float32(), true));
}

/** In columns: much less work for both sides than objects. */
function toArrow(rows: readonly Row[], dimension: number): ArrowTable {
  const values = new Float32Array(rows.length * dimension);
  for (const [i, { data }] of rows.entries()) values.set(data, i * dimension);
  const child = makeData({ type: new Float32(), data: values });
  const embedding = makeData({ type: embeddingType(dimension), length: rows.length, child });
  const numbers = (field: "bucket" | "half" | "len") => Int32Array.from(rows, ({ metadata }) => metadata[field]);
  return new ArrowTable({
    key: vectorFromArray(
      rows.map(({ key }) => key),
      new Utf8(),
    ),
    embedding: makeVector(embedding),
    bucket: makeVector(numbers("bucket")),
    half: makeVector(numbers("half")),
    tag: vectorFromArray(
      rows.map(({ metadata }) => metadata.tag),
      new Utf8(),
    ),
    len: makeVector(numbers("len")),
  });
}

function keysOf(table: ArrowTable): string[] {
  return [...(table.getChild("key") ?? [])];
}
