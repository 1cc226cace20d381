import assert from "node:assert/strict";
import type { JsonObject } from "@bufbuild/protobuf";
import { DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { canonical } from "../model/compare.ts";
import type { StoredVector } from "../model/model.ts";

/** The vector bucket of a load, and the index that all its clients share. */
export const BUCKET = "load";
export const SHARED_INDEX = "shared";

/** Of what kind an index of a load is. Both metrics need vectors that are not all 0. */
export const SHARED = { dimension: 8, distanceMetric: DistanceMetric.EUCLIDEAN } as const;
export const OWN = { dimension: 4, distanceMetric: DistanceMetric.COSINE } as const;

/** A namespace of an index. */
export interface Place {
  readonly index: string;
  readonly namespace: string;
}

/** The three places that a client writes to: its keys among those of others, a namespace and an index of its own. */
export const placesOf = (client: number) =>
  ({
    keys: { index: SHARED_INDEX, namespace: "" },
    namespace: { index: SHARED_INDEX, namespace: `n${client}` },
    index: { index: `own-${client}`, namespace: "" },
  }) as const satisfies Record<string, Place>;

export type PlaceKind = keyof ReturnType<typeof placesOf>;

/** Every key that a client puts, in whichever place. */
export const keysOf = (client: number) => Array.from({ length: 40 }, (_, i) => `c${client}-${i}`);

/** A vector; its version is undefined when the answer of its last write was not seen. */
export interface ExpectedVector extends Omit<StoredVector, "version" | "data"> {
  readonly data: Float32Array;
  readonly version: bigint | undefined;
}

export type Expected = ReadonlyMap<string, ExpectedVector>;

/** What one client has stored; a place that is not there is absent. Never changed: a write makes another one. */
export type State = ReadonlyMap<PlaceKind, Expected>;

/** What a server holds of one client. */
export type Found = ReadonlyMap<PlaceKind, ReadonlyMap<string, StoredVector>>;

/**
 * Why the server holds something else than expected; empty when it does not. Vectors of unknown version have one version,
 * that of the write that was not answered.
 */
export function differences(found: Found, expected: State): string[] {
  const all: string[] = [];
  const unknown = new Set<bigint>();
  for (const kind of new Set([...found.keys(), ...expected.keys()])) {
    const there = found.get(kind);
    const wanted = expected.get(kind);
    if (!there || !wanted) {
      all.push(wanted ? `lost: its ${kind} place` : `phantom: its ${kind} place`);
      continue;
    }
    for (const key of new Set([...there.keys(), ...wanted.keys()])) {
      const difference = differenceOf(there.get(key), wanted.get(key));
      if (difference) all.push(`${difference}: "${key}" in its ${kind} place`);
    }
    for (const [key, { version }] of wanted) {
      const stored = there.get(key);
      if (version === undefined && stored) unknown.add(stored.version);
    }
  }
  if (unknown.size > 1) all.push(`partial batch: versions ${[...unknown]}`);
  return all;
}

function differenceOf(found: StoredVector | undefined, expected: ExpectedVector | undefined): string | undefined {
  if (!found || !expected) return found ? "phantom" : "lost";
  const { version = found.version } = expected;
  const same =
    found.version === version &&
    canonical(found.metadata) === canonical(expected.metadata) &&
    sameBits(found.data, expected.data);
  return same ? undefined : `not as it was written last (${textOf(found)} for ${textOf(expected)})`;
}

function sameBits(a: Float32Array | undefined, b: Float32Array): boolean {
  if (a?.length !== b.length) return false;
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
}

function textOf({
  data,
  metadata,
  version,
}: {
  data: Float32Array | undefined;
  metadata: JsonObject;
  version?: unknown;
}) {
  return `version ${version}, data [${data}], metadata ${canonical(metadata)}`;
}

/** Sorts what a server holds in all by who wrote it; what no client can have written fails the comparison. */
export function foundOf(client: number, all: ReadonlyMap<string, ReadonlyMap<string, StoredVector>>): Found {
  const found = new Map<PlaceKind, ReadonlyMap<string, StoredVector>>();
  for (const [kind, place] of Object.entries(placesOf(client)) as [PlaceKind, Place][]) {
    const vectors = all.get(nameOf(place));
    if (vectors) found.set(kind, new Map([...vectors].filter(([key]) => ownerOf(key) === client)));
  }
  return found;
}

export function assertNothingElse(clients: number, all: ReadonlyMap<string, ReadonlyMap<string, StoredVector>>): void {
  const known = new Map<string, number | undefined>([[nameOf({ index: SHARED_INDEX, namespace: "" }), undefined]]);
  for (let client = 0; client < clients; client++) {
    const { namespace, index } = placesOf(client);
    for (const place of [namespace, index]) known.set(nameOf(place), client);
  }
  for (const [name, vectors] of all) {
    assert.ok(known.has(name), `phantom: place ${name}`);
    const owner = known.get(name);
    for (const key of vectors.keys()) {
      const is = ownerOf(key);
      assert.ok(is !== undefined && is < clients && (owner ?? is) === is, `phantom: "${key}" in ${name}`);
    }
  }
}

export function nameOf({ index, namespace }: Place): string {
  return `${index}/${namespace}`;
}

function ownerOf(key: string): number | undefined {
  const [, client] = /^c(\d+)-\d+$/.exec(key) ?? [];
  return client === undefined ? undefined : Number(client);
}
