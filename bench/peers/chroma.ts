import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { ChromaClient, type Collection } from "chromadb";
import type { Row } from "../data.ts";
import { directoryBytes } from "./directory-bytes.ts";
import type { OpenPeer, Peer, PeerOptions, PeerQuery } from "./peer.ts";
import { ServerProcess } from "./server-process.ts";

/** Where bench/install-peers puts the package for Python: the one for Node asks for a glibc that Debian 12 has not. */
const PACKAGES = join(import.meta.dirname, "../node_modules/.python");
const HOST = "127.0.0.1";

/**
 * Chroma's server, with a client over HTTP and JSON. A collection keeps the ef_search of its creation as long as the server
 * runs.
 */
export const openChroma: OpenPeer = async (options) => {
  const version = installedVersion();
  const port = await freePort();
  const run = ["chroma", "run", "--host", HOST, "--port", `${port}`, "--path", join(options.directory, "data")];
  const program = `import chromadb_rust_bindings as c; c.cli(${JSON.stringify(run)})`;
  const env = { ...process.env, PYTHONPATH: PACKAGES };
  const server = new ServerProcess("python3", ["-c", program], { cwd: options.directory, env });
  try {
    const client = new ChromaClient({ host: HOST, port });
    await server.untilAnswers(() => client.heartbeat());
    return new Chroma(`Chroma ${version}`, options, server, await createCollection(client, options));
  } catch (error) {
    await server.stop();
    throw error;
  }
};

const EF_SEARCH = 100;

class Chroma implements Peer {
  readonly name: string;
  readonly efSearchAlways = EF_SEARCH;
  readonly #options: PeerOptions;
  readonly #server: ServerProcess;
  readonly #collection: Collection;
  /** Where the last page has ended, so that the next one goes on there. */
  #listing = { last: "", offset: 0 };

  constructor(name: string, options: PeerOptions, server: ServerProcess, collection: Collection) {
    this.name = name;
    this.#options = options;
    this.#server = server;
    this.#collection = collection;
  }

  async insert(rows: readonly Row[]): Promise<void> {
    await this.#collection.upsert({
      ids: rows.map(({ key }) => key),
      embeddings: rows.map(({ data }) => Array.from(data)),
      metadatas: rows.map(({ metadata }) => ({ ...metadata })),
    });
  }

  /** A query takes over into the index what has been written before it. */
  async complete(): Promise<void> {
    await this.query({ vector: new Float32Array(this.#options.dimension).fill(1), topK: 1, efSearch: EF_SEARCH });
  }

  async query({ vector, topK, filter }: PeerQuery): Promise<readonly string[]> {
    const { ids } = await this.#collection.query({
      queryEmbeddings: [Array.from(vector)],
      nResults: topK,
      include: [],
      ...(filter && { where: { [filter.field]: filter.value } }),
    });
    return ids[0] ?? [];
  }

  async get(keys: readonly string[]): Promise<number> {
    const { embeddings, metadatas } = await this.#collection.get({
      ids: [...keys],
      include: ["embeddings", "metadatas"],
    });
    const { dimension } = this.#options;
    return embeddings.filter((embedding, i) => embedding.length === dimension && metadatas[i]?.tag).length;
  }

  /** In the order of the inserts, by offset: it knows no other. */
  async list(after: string, count: number): Promise<readonly string[]> {
    const offset = await this.#offsetAfter(after);
    const { ids } = await this.#collection.get({ limit: count, offset, include: [] });
    this.#listing = { last: ids.at(-1) ?? after, offset: offset + ids.length };
    return ids;
  }

  processorSeconds(): number {
    return this.#server.processorSeconds();
  }

  diskBytes(): Promise<number> {
    return directoryBytes(this.#options.directory);
  }

  close(): Promise<void> {
    return this.#server.stop();
  }

  async #offsetAfter(key: string): Promise<number> {
    if (key === "") return 0;
    if (key === this.#listing.last) return this.#listing.offset;
    const { ids } = await this.#collection.get({ include: [] });
    return ids.indexOf(key) + 1 || ids.length;
  }
}

function installedVersion(): string {
  try {
    const versions = readdirSync(PACKAGES).map((name) => /^chromadb-(.+)\.dist-info$/.exec(name)?.[1]);
    const version = versions.find((found) => found !== undefined);
    if (version) return version;
  } catch {}
  throw new Error("Chroma is not installed: run bench/install-peers");
}

/** It says nowhere which port it has taken when it may choose one. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("There is no free port");
  return address.port;
}

function createCollection(client: ChromaClient, { metric }: PeerOptions): Promise<Collection> {
  const space = metric === "cosine" ? "cosine" : "l2";
  const hnsw = { space, max_neighbors: 16, ef_construction: 200, ef_search: EF_SEARCH } as const;
  return client.createCollection({ name: "vectors", embeddingFunction: null, configuration: { hnsw } });
}
