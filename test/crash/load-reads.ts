import assert from "node:assert/strict";
import type { Index, Vector } from "../../gen/quiver/v1/resources_pb.ts";
import { assertAnswer, assertVectors, candidatesOf } from "../model/compare.ts";
import type { StoredVector } from "../model/model.ts";
import { emptyObject } from "../model/values.ts";
import type { Clients } from "../support/protocols.ts";
import { BUCKET, nameOf, type Place } from "./load-state.ts";

const PAGE = 1_000;
const ALL = { returnData: true, returnMetadata: true } as const;

export interface Reading {
  /** Those that answers named. */
  readonly lsns: readonly bigint[];
  /** The vectors of every place, by its name. */
  readonly places: ReadonlyMap<string, ReadonlyMap<string, StoredVector>>;
}

/**
 * Everything that a server holds, as lists show it; rejects when get, queries, filters and counts show anything else. The
 * load must not run.
 */
export async function readAll(clients: Clients): Promise<Reading> {
  const { indexes } = await clients.indexes.listIndexes({ vectorBucketName: BUCKET, maxResults: PAGE });
  const read = (await Promise.all(indexes.map((index) => readIndex(clients, index)))).flat();
  return {
    lsns: read.map(({ lsn }) => lsn),
    places: new Map(read.map(({ place, vectors }) => [nameOf(place), vectors])),
  };
}

async function readIndex(clients: Clients, index: Index) {
  const request = { vectorBucketName: BUCKET, indexName: index.indexName };
  const { namespaces } = await clients.namespaces.listNamespaces({ ...request, maxResults: PAGE });
  // The default one is there from the start, but listed only once it was written to.
  const names = new Set(["", ...namespaces.map(({ namespace }) => namespace)]);
  return Promise.all(
    [...names].map(async (namespace) => {
      const place = { index: index.indexName, namespace };
      const { vectors, lsn } = await readPlace(clients, index, place);
      const count = namespaces.find((each) => each.namespace === namespace)?.vectorCount ?? 0n;
      assert.equal(Number(count), vectors.size, `the count of ${nameOf(place)}`);
      return { place, vectors, lsn };
    }),
  );
}

async function readPlace(clients: Clients, index: Index, { namespace }: Place) {
  const request = { vectorBucketName: BUCKET, indexName: index.indexName, namespace };
  const first = await clients.vectors.listVectors({ ...request, ...ALL, maxResults: PAGE });
  const listed = [...first.vectors];
  for (let token = first.nextToken; token !== ""; ) {
    const page = await clients.vectors.listVectors({ ...request, ...ALL, maxResults: PAGE, nextToken: token });
    listed.push(...page.vectors);
    token = page.nextToken;
  }
  const stored = listed.map(storedOf);
  const vectors = new Map(stored.map((vector) => [vector.key, vector]));
  assert.equal(vectors.size, listed.length, "a key is listed twice");
  await assertGet(clients, request, stored);
  await assertFilters(clients, request, stored);
  await assertQueries(clients, request, index, stored);
  return { vectors, lsn: first.lsn };
}

type PlaceRequest = { readonly vectorBucketName: string; readonly indexName: string; readonly namespace: string };

async function assertGet(clients: Clients, request: PlaceRequest, stored: readonly StoredVector[]): Promise<void> {
  for (let from = 0; from < stored.length; from += PAGE) {
    const part = stored.slice(from, from + PAGE);
    const { vectors } = await clients.vectors.getVectors({ ...request, ...ALL, keys: part.map(({ key }) => key) });
    assertVectors(vectors, part, ALL);
  }
}

async function assertFilters(clients: Clients, request: PlaceRequest, stored: readonly StoredVector[]): Promise<void> {
  for (const group of new Set(stored.map(({ metadata }) => metadata.group as number))) {
    const matching = stored.filter(({ metadata }) => metadata.group === group);
    const filtered = { ...request, ...ALL, filter: { group }, maxResults: PAGE };
    const { vectors } = await clients.vectors.listVectors(filtered);
    assertVectors(vectors, matching, ALL);
  }
}

async function assertQueries(
  clients: Clients,
  request: PlaceRequest,
  { dimension, distanceMetric: metric }: Index,
  stored: readonly StoredVector[],
): Promise<void> {
  const data = Float32Array.from({ length: dimension }, (_, i) => i + 1);
  const candidates = candidatesOf({ metric, data }, stored);
  const expected = { ...ALL, returnDistance: true, candidates };
  const query = { ...request, ...ALL, returnDistance: true, queryVector: { float32: [...data] } };
  for (const exact of [true, false]) {
    const topK = exact ? stored.length + 1 : 10;
    const search = exact ? { mode: { case: "exact", value: true } as const } : {};
    const { vectors } = await clients.vectors.queryVectors({ ...query, topK, search });
    assertAnswer(vectors, { ...expected, topK, exact });
  }
}

function storedOf({ key, data, metadata, version }: Vector): StoredVector {
  return {
    key,
    data: data && Float32Array.from(data.float32),
    sparse: undefined,
    metadata: metadata ?? emptyObject(),
    version,
  };
}
