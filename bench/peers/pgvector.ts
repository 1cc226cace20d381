import { execFileSync } from "node:child_process";
import { chownSync, globSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import type { Row } from "../data.ts";
import type { OpenPeer, Peer, PeerOptions, PeerQuery } from "./peer.ts";
import { ServerProcess } from "./server-process.ts";

const SETTINGS = [
  "listen_addresses=",
  "fsync=on",
  "synchronous_commit=on",
  "shared_buffers=1GB",
  "maintenance_work_mem=1GB",
  "max_parallel_maintenance_workers=1",
  "max_wal_size=4GB",
  "jit=off",
  "hnsw.iterative_scan=strict_order",
];

/** PostgreSQL of Debian with pgvector, in a cluster of its own on a Unix socket; bench/install-peers installs it. */
export const openPgvector: OpenPeer = async (options) => {
  const programs = findPrograms();
  const user = unprivilegedUser();
  if (user) chownSync(options.directory, user.uid, user.gid);
  const data = join(options.directory, "data");
  const initdb = ["-D", data, "--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C"];
  const owner = { ...user, cwd: options.directory };
  execFileSync(join(programs, "initdb"), initdb, { ...owner, stdio: ["ignore", "ignore", "pipe"] });
  const settings = SETTINGS.flatMap((setting) => ["-c", setting]);
  const server = new ServerProcess(
    join(programs, "postgres"),
    ["-D", data, "-k", options.directory, ...settings],
    owner,
  );
  try {
    const writer = await server.untilAnswers(() => connect(options.directory));
    const reader = await connect(options.directory);
    await createTable(writer, options);
    return new Pgvector(await nameOf(writer), options, server, { writer, reader });
  } catch (error) {
    await server.stop();
    throw error;
  }
};

/** Searches and reads do not wait for a write that is under way. */
interface Connections {
  readonly writer: pg.Client;
  readonly reader: pg.Client;
}

class Pgvector implements Peer {
  readonly name: string;
  readonly #options: PeerOptions;
  readonly #server: ServerProcess;
  readonly #connections: Connections;
  #efSearch = 0;

  constructor(name: string, options: PeerOptions, server: ServerProcess, connections: Connections) {
    this.name = name;
    this.#options = options;
    this.#server = server;
    this.#connections = connections;
  }

  async insert(rows: readonly Row[]): Promise<void> {
    await this.#connections.writer.query({
      name: "insert",
      text: `INSERT INTO vectors SELECT * FROM unnest($1::text[], $2::vector[], $3::jsonb[])
        ON CONFLICT (key) DO UPDATE SET embedding = excluded.embedding, metadata = excluded.metadata`,
      values: [
        rows.map(({ key }) => key),
        rows.map(({ data }) => toLiteral(data)),
        rows.map(({ metadata }) => JSON.stringify(metadata)),
      ],
    });
  }

  /** The index has every row since its insert; what autovacuum does sooner or later is still to be done. */
  async complete(): Promise<void> {
    await this.#connections.writer.query("VACUUM (ANALYZE) vectors");
  }

  async query({ vector, topK, efSearch, filter }: PeerQuery): Promise<readonly string[]> {
    const { reader } = this.#connections;
    if (efSearch !== this.#efSearch) {
      this.#efSearch = efSearch;
      await reader.query(`SET hnsw.ef_search = ${efSearch}`);
    }
    const distance = this.#options.metric === "cosine" ? "<=>" : "<->";
    const where = filter ? `WHERE metadata->>'${filter.field}' = $3` : "";
    const { rows } = await reader.query<{ key: string }>({
      name: `nearest ${filter?.field}`,
      text: `SELECT key FROM vectors ${where} ORDER BY embedding ${distance} $1::vector LIMIT $2`,
      values: [toLiteral(vector), topK, ...(filter ? [`${filter.value}`] : [])],
    });
    return rows.map(({ key }) => key);
  }

  async get(keys: readonly string[]): Promise<number> {
    const { rows } = await this.#connections.reader.query<{ embedding: string; metadata: object }>({
      name: "get",
      text: "SELECT key, embedding, metadata FROM vectors WHERE key = ANY($1)",
      values: [keys],
    });
    return rows.filter(({ embedding, metadata }) => metadata && this.#isVector(JSON.parse(embedding))).length;
  }

  async list(after: string, count: number): Promise<readonly string[]> {
    const { rows } = await this.#connections.reader.query<{ key: string }>({
      name: "list",
      text: "SELECT key FROM vectors WHERE key > $1 ORDER BY key LIMIT $2",
      values: [after, count],
    });
    return rows.map(({ key }) => key);
  }

  processorSeconds(): number {
    return this.#server.processorSeconds();
  }

  /** Of the table with its indexes, without the write-ahead log. */
  async diskBytes(): Promise<number> {
    const text = "SELECT pg_total_relation_size('vectors')::float8 AS bytes";
    const { rows } = await this.#connections.reader.query<{ bytes: number }>(text);
    return rows[0]?.bytes ?? 0;
  }

  async close(): Promise<void> {
    await Promise.all([this.#connections.writer.end(), this.#connections.reader.end()]);
    await this.#server.stop();
  }

  #isVector(values: number[]): boolean {
    return values.length === this.#options.dimension;
  }
}

/** Of the newest server; a version may also be there with programs for clients only. */
function findPrograms(): string {
  const versions = globSync("/usr/lib/postgresql/*/bin/initdb").map((path) => Number(path.split("/")[4]));
  if (versions.length === 0) throw new Error("PostgreSQL is not installed: run bench/install-peers");
  return `/usr/lib/postgresql/${Math.max(...versions)}/bin`;
}

/** PostgreSQL refuses to run as root: the user that Debian makes for it. */
function unprivilegedUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const idOf = (option: string) => Number(execFileSync("id", [option, "postgres"], { encoding: "utf8" }));
  return { uid: idOf("-u"), gid: idOf("-g") };
}

async function connect(directory: string): Promise<pg.Client> {
  const client = new pg.Client({ host: directory, user: "bench", database: "postgres" });
  // When the server ends, queries reject with that; without a listener the event would end this process before them.
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function createTable(client: pg.Client, { dimension, metric }: PeerOptions): Promise<void> {
  try {
    await client.query("CREATE EXTENSION vector");
  } catch (error) {
    throw new Error("PostgreSQL has no pgvector: run bench/install-peers", { cause: error });
  }
  const operators = metric === "cosine" ? "vector_cosine_ops" : "vector_l2_ops";
  await client.query(`
    CREATE TABLE vectors (key text PRIMARY KEY, embedding vector(${dimension}), metadata jsonb);
    CREATE INDEX ON vectors USING hnsw (embedding ${operators}) WITH (m = 16, ef_construction = 200);
    CREATE INDEX ON vectors ((metadata->>'bucket'));
    CREATE INDEX ON vectors ((metadata->>'half'));
    CREATE INDEX ON vectors ((metadata->>'tag'));
  `);
}

async function nameOf(client: pg.Client): Promise<string> {
  const text =
    "SELECT extversion, current_setting('server_version') AS server FROM pg_extension WHERE extname = 'vector'";
  const { rows } = await client.query<{ extversion: string; server: string }>(text);
  return `pgvector ${rows[0]?.extversion} (PostgreSQL ${rows[0]?.server.split(" ")[0]})`;
}

/** As pgvector's own package for Node writes it. */
function toLiteral(data: Float32Array): string {
  return JSON.stringify(Array.from(data));
}
