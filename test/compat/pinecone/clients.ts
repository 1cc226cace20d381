import { Pinecone as Pinecone6 } from "pinecone-6";
import { Pinecone as Pinecone7 } from "pinecone-7";
import { type CreateIndexOptions, Pinecone as Pinecone8, type PineconeRecord, type QueryOptions } from "pinecone-8";

type Control = Pick<Pinecone8, "createIndex" | "listIndexes" | "describeIndex" | "deleteIndex" | "listCollections">;
type Index8 = ReturnType<Pinecone8["index"]>;

/** What the clients can do, in the words of the newest. */
export interface Client extends Control {
  configureIndex: Pinecone8["configureIndex"];
  /** Asks for the index's host first. */
  index(name: string, namespace?: string): Vectors;
}

export interface Vectors extends Pick<Index8, "query" | "deleteAll" | "listPaginated" | "describeIndexStats"> {
  upsert(records: PineconeRecord[]): Promise<void>;
  fetch(ids: string[]): ReturnType<Index8["fetch"]>;
  update: Index8["update"];
  deleteOne(id: string): Promise<void>;
  deleteMany(ids: string[]): Promise<void>;
  deleteByFilter(filter: object): Promise<void>;
  listNamespaces(limit?: number, paginationToken?: string): ReturnType<Index8["listNamespaces"]>;
  describeNamespace: Index8["describeNamespace"];
  deleteNamespace: Index8["deleteNamespace"];
  /** Since API version 2025-10. */
  readonly since2025?: Pick<Index8, "fetchByMetadata" | "createNamespace" | "update">;
}

/** Where a client finds the server, and what hears of its requests. */
export interface ClientOptions {
  readonly url: string;
  readonly apiKey?: string;
  onAnswer?(answer: Response): void;
}

export interface ClientVersion {
  readonly version: number;
  readonly apiVersion: string;
  connect(options: ClientOptions): Client;
}

export const CLIENTS: readonly ClientVersion[] = [
  { version: 6, apiVersion: "2025-04", connect: connect6 },
  {
    version: 7,
    apiVersion: "2025-10",
    connect: (options) => modern(new Pinecone7(configuration(options)) as unknown as Pinecone8),
  },
  { version: 8, apiVersion: "2026-04", connect: (options) => modern(new Pinecone8(configuration(options))) },
];

/** For `new Pinecone`. */
export function configuration({ url, apiKey = "any", onAnswer }: ClientOptions) {
  return {
    apiKey,
    controllerHostUrl: `${url}/pinecone`,
    fetchApi: async (...request: Parameters<typeof fetch>) => {
      const answer = await fetch(...request);
      onAnswer?.(answer);
      return answer;
    },
  };
}

export const SERVERLESS: CreateIndexOptions["spec"] = { serverless: { cloud: "aws", region: "us-east-1" } };

/** The matches of a query without the values that were not asked for. */
export async function search(vectors: Vectors, options: QueryOptions) {
  const { matches } = await vectors.query(options);
  return matches.map(({ id, score }) => ({ id, score }));
}

function modern(client: Pinecone8): Client {
  return {
    ...controlOf(client),
    configureIndex: (options) => client.configureIndex(options),
    index(name, namespace) {
      const index = client.index({ name, ...(namespace !== undefined && { namespace }) });
      return {
        ...dataOf(index),
        upsert: (records) => index.upsert({ records }),
        fetch: (ids) => index.fetch({ ids }),
        deleteOne: (id) => index.deleteOne({ id }),
        deleteMany: (ids) => index.deleteMany({ ids }),
        deleteByFilter: (filter) => index.deleteMany({ filter }),
        listNamespaces: (limit, paginationToken) =>
          index.listNamespaces({ ...(limit && { limit }), ...(paginationToken && { paginationToken }) }),
        since2025: {
          fetchByMetadata: (options) => index.fetchByMetadata(options),
          createNamespace: (options) => index.createNamespace(options),
          update: (options) => index.update(options),
        },
      };
    },
  };
}

function connect6(options: ClientOptions): Client {
  const client = new Pinecone6(configuration(options));
  return {
    ...controlOf(client as unknown as Pinecone8),
    configureIndex: ({ name, ...changes }) =>
      client.configureIndex(name, changes as Parameters<Pinecone6["configureIndex"]>[1]) as ReturnType<
        Pinecone8["configureIndex"]
      >,
    index(name, namespace) {
      const all = client.index(name);
      const index = namespace === undefined ? all : all.namespace(namespace);
      return {
        ...dataOf(index as unknown as Index8),
        upsert: (records) => index.upsert(records as Parameters<typeof index.upsert>[0]),
        fetch: (ids) => index.fetch(ids) as ReturnType<Index8["fetch"]>,
        deleteOne: (id) => index.deleteOne(id),
        deleteMany: (ids) => index.deleteMany(ids),
        deleteByFilter: (filter) => index.deleteMany(filter),
        listNamespaces: (limit, token) => index.listNamespaces(limit, token) as ReturnType<Index8["listNamespaces"]>,
      };
    },
  };
}

function controlOf(client: Control): Control {
  return {
    createIndex: (options) => client.createIndex(options),
    listIndexes: () => client.listIndexes(),
    describeIndex: (name) => client.describeIndex(name),
    deleteIndex: (name) => client.deleteIndex(name),
    listCollections: () => client.listCollections(),
  };
}

function dataOf(index: Index8) {
  return {
    query: (options: Parameters<Index8["query"]>[0]) => index.query(options),
    update: (options: Parameters<Index8["update"]>[0]) => index.update(options),
    deleteAll: () => index.deleteAll(),
    listPaginated: (options?: Parameters<Index8["listPaginated"]>[0]) => index.listPaginated(options),
    describeIndexStats: () => index.describeIndexStats(),
    describeNamespace: (namespace: string) => index.describeNamespace(namespace),
    deleteNamespace: (namespace: string) => index.deleteNamespace(namespace),
  };
}
