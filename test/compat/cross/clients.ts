import { GetVectorsCommand, PutVectorsCommand, QueryVectorsCommand, S3VectorsClient } from "@aws-sdk/client-s3vectors";
import { Pinecone } from "pinecone-8";
import { Quiver } from "../../../clients/typescript/index.ts";
import { runPython } from "../support/python.ts";

/** A vector with metadata that every system can hold. */
export interface CrossVector {
  readonly key: string;
  readonly values: readonly number[];
  readonly metadata: Readonly<Record<string, string | readonly string[]>>;
}

/** What a client shows of a vector; no values where its API never returns any. */
export interface Shown {
  readonly values: readonly number[] | null;
  readonly metadata: unknown;
}

/** One system's own client, on one index of cosine. */
export interface CrossClient {
  readonly name: string;
  write(vectors: readonly CrossVector[]): Promise<unknown>;
  /** Those of the vectors that are there, by key. */
  read(vectors: readonly CrossVector[]): Promise<Readonly<Record<string, Shown>>>;
  /** The nearest keys with what the client says of them. */
  search(values: readonly number[], k: number): Promise<readonly (readonly [string, number])[]>;
  /** What it says of a cosine distance. */
  said(distance: number): number;
  /** How far that may be off. */
  readonly tolerance: number;
}

const FLOAT32 = 1e-6;

export function crossClients(url: string, index: string): readonly CrossClient[] {
  return [
    native(url, index),
    s3vectors(url, index),
    pinecone(url, index),
    python("boto3", "s3vectors", url, index, { said: (distance) => distance, tolerance: FLOAT32 }),
    python("alibabacloud-oss-v2", "oss", url, index, { said: (distance) => distance, tolerance: FLOAT32 }),
    python("moorcheh-client", "moorcheh", url, index, { said: similarity, tolerance: 1e-6 }),
    python("moorcheh-sdk", "moorcheh-cloud", url, index, { said: similarity, tolerance: 1e-6 }),
  ];
}

function similarity(distance: number): number {
  return Math.max(0, Math.min(1, 1 - distance));
}

function native(url: string, name: string): CrossClient {
  const index = new Quiver({ url }).bucket("default").index(name);
  return {
    name: "quiver",
    tolerance: FLOAT32,
    said: (distance) => distance,
    write: (vectors) =>
      index.put(vectors.map(({ key, values, metadata }) => ({ key, data: values, metadata: json(metadata) }))),
    async read(vectors) {
      const keys = vectors.map(({ key }) => key);
      const found = await index.get(keys, { data: true });
      return Object.fromEntries(found.map(({ key, data, metadata }) => [key, { values: [...(data ?? [])], metadata }]));
    },
    async search(values, k) {
      const { vectors } = await index.query(values, { topK: k });
      return vectors.map(({ key, distance }) => [key, distance]);
    },
  };
}

/** Clients ask for lists that may be changed, and change none. */
function json(metadata: CrossVector["metadata"]): Record<string, string | string[]> {
  return metadata as Record<string, string | string[]>;
}

function s3vectors(url: string, index: string): CrossClient {
  const credentials = { accessKeyId: "k", secretAccessKey: "s" };
  const client = new S3VectorsClient({ region: "us-east-1", endpoint: url, credentials });
  const place = { vectorBucketName: "default", indexName: index };
  return {
    name: "@aws-sdk/client-s3vectors",
    tolerance: FLOAT32,
    said: (distance) => distance,
    write: (vectors) =>
      client.send(
        new PutVectorsCommand({
          ...place,
          vectors: vectors.map(({ key, values, metadata }) => ({
            key,
            data: { float32: [...values] },
            metadata: json(metadata),
          })),
        }),
      ),
    async read(vectors) {
      const keys = vectors.map(({ key }) => key);
      const answer = await client.send(
        new GetVectorsCommand({ ...place, keys, returnData: true, returnMetadata: true }),
      );
      return Object.fromEntries(
        (answer.vectors ?? []).map(({ key, data, metadata }) => [
          key,
          { values: data?.float32 ?? null, metadata: metadata ?? {} },
        ]),
      );
    },
    async search(values, k) {
      const answer = await client.send(
        new QueryVectorsCommand({ ...place, topK: k, queryVector: { float32: [...values] }, returnDistance: true }),
      );
      return (answer.vectors ?? []).map(({ key = "", distance = Number.NaN }) => [key, distance]);
    },
  };
}

function pinecone(url: string, name: string): CrossClient {
  const client = new Pinecone({ apiKey: "k", controllerHostUrl: `${url}/pinecone` });
  const index = client.index({ name });
  return {
    name: "@pinecone-database/pinecone",
    tolerance: FLOAT32,
    said: (distance) => 1 - distance,
    write: (vectors) =>
      index.upsert({
        records: vectors.map(({ key, values, metadata }) => ({
          id: key,
          values: [...values],
          metadata: json(metadata),
        })),
      }),
    async read(vectors) {
      const { records } = await index.fetch({ ids: vectors.map(({ key }) => key) });
      return Object.fromEntries(
        Object.values(records).map(({ id, values, metadata }) => [
          id,
          { values: values ?? null, metadata: metadata ?? {} },
        ]),
      );
    },
    async search(values, k) {
      const { matches } = await index.query({ vector: [...values], topK: k });
      return matches.map(({ id, score = Number.NaN }) => [id, score]);
    },
  };
}

function python(
  name: string,
  vendor: string,
  url: string,
  index: string,
  scores: Pick<CrossClient, "said" | "tolerance">,
): CrossClient {
  const run = (command: object) => runPython("cross.py", [vendor, url, index, JSON.stringify(command)]);
  return {
    name,
    ...scores,
    write: (vectors) => run({ task: "write", vectors }),
    async read(vectors) {
      const keys = vectors.map(({ key }) => key);
      const known = Object.fromEntries(vectors.map(({ key, values }) => [key, values]));
      return (await run({ task: "read", keys, known })) as Record<string, Shown>;
    },
    async search(values, k) {
      return (await run({ task: "search", values, k })) as [string, number][];
    },
  };
}
