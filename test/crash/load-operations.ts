import assert from "node:assert/strict";
import type { JsonObject } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import { DataType } from "../../gen/quiver/v1/resources_pb.ts";
import type { Reason } from "../../src/errors.ts";
import { mergeMetadata } from "../model/model.ts";
import type { Clients } from "../support/protocols.ts";
import type { Random } from "../support/random.ts";
import {
  BUCKET,
  type Expected,
  type ExpectedVector,
  keysOf,
  OWN,
  type PlaceKind,
  placesOf,
  SHARED,
  type State,
} from "./load-state.ts";

const GROUPS = 4;
const VECTORS_MAX = 12;

/** What a write answers; of some only that it was done. */
export interface Answer {
  readonly lsn?: bigint;
}

/** One write of a client. */
export interface Operation {
  readonly name: string;
  /** False: to call it again makes another version, and counts what is there by then. */
  readonly isIdempotent: boolean;
  call(clients: Clients, options: CallOptions): Promise<Answer>;
  /** What the client has stored once it is done; `lsn` is undefined when that of its answer is not known. */
  after(lsn: bigint | undefined): State;
  /** The reason that refuses it when it was done before. */
  readonly doneReason?: Reason;
  /** Throws when the answer, of a first call, is not right. */
  check?(answer: Answer): void;
}

export interface OperationOptions {
  readonly random: Random;
  readonly client: number;
  readonly state: State;
  /** Of this write alone; stands in the data and metadata of all that it writes. */
  readonly batch: number;
}

type Maker = (options: OperationOptions, kind: PlaceKind, vectors: Expected) => Operation;

/** The next write of a client, of any kind that can succeed. */
export function randomOperation(options: OperationOptions): Operation {
  const { random, state } = options;
  const kind = random.pick<PlaceKind>(["keys", "keys", "namespace", "index"]);
  const vectors = state.get(kind);
  if (vectors) return random.pick(kind === "keys" ? WRITES : [...WRITES, ...DROPS])(options, kind, vectors);
  if (kind === "index") return createIndex(options);
  return random.below(2) === 0 ? createNamespace(options) : put(options, kind, new Map());
}

function put(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const { random, client, batch } = options;
  const { dimension } = kind === "index" ? OWN : SHARED;
  const puts = someKeys(options).map((key) => ({
    key,
    data: random.vector(dimension).fill(batch, 0, 1),
    metadata: { client, batch, group: random.below(GROUPS) },
  }));
  const request = {
    ...requestOf(options, kind),
    vectors: puts.map(({ data, ...rest }) => ({ ...rest, data: { float32: [...data] } })),
  };
  return {
    name: "put",
    isIdempotent: request.idempotencyKey !== "",
    call: (clients, call) => clients.vectors.putVectors(request, call),
    after: (version) =>
      changed(options, kind, vectors, (all) => {
        for (const each of puts) all.set(each.key, { ...each, sparse: undefined, version });
      }),
    check: answers({ putCount: puts.length }),
  };
}

function updateKeys(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const keys = someKeys(options);
  const merge = mergeOf(options);
  const request = { ...requestOf(options, kind), updates: keys.map((key) => ({ key, setMetadata: merge })) };
  const matching = keys.filter((key) => vectors.has(key));
  return update({ options, kind, vectors, request, matching, merge });
}

function updateMatching(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const filter = filterOf(options);
  const merge = mergeOf(options);
  const request = { ...requestOf(options, kind), filter, setMetadata: merge };
  return update({ options, kind, vectors, request, matching: matchingKeys(vectors, filter), merge });
}

function update(parts: {
  readonly options: OperationOptions;
  readonly kind: PlaceKind;
  readonly vectors: Expected;
  readonly request: { readonly idempotencyKey: string };
  readonly matching: readonly string[];
  readonly merge: JsonObject;
}): Operation {
  const { options, kind, vectors, request, matching, merge } = parts;
  return {
    name: "filter" in request ? "update by filter" : "update by key",
    isIdempotent: request.idempotencyKey !== "",
    call: (clients, call) => clients.vectors.updateVectors(request, call),
    after: (version) =>
      changed(options, kind, vectors, (all) => {
        for (const key of matching) {
          const vector = all.get(key) as ExpectedVector;
          all.set(key, { ...vector, metadata: mergeMetadata(vector.metadata, merge), version });
        }
      }),
    check: answers({ matchedCount: matching.length, updatedCount: matching.length }),
  };
}

function deleteKeys(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const keys = someKeys(options);
  const gone = keys.filter((key) => vectors.has(key));
  const selection = { keys };
  return remove({ name: "delete by key", options, kind, vectors, selection, gone, absent: keys.length - gone.length });
}

function deleteMatching(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const filter = filterOf(options);
  const gone = matchingKeys(vectors, filter);
  return remove({ name: "delete by filter", options, kind, vectors, selection: { filter }, gone, absent: 0 });
}

function deleteAll(options: OperationOptions, kind: PlaceKind, vectors: Expected): Operation {
  const gone = [...vectors.keys()];
  return remove({ name: "delete all", options, kind, vectors, selection: { all: true }, gone, absent: 0 });
}

function remove(parts: {
  readonly name: string;
  readonly options: OperationOptions;
  readonly kind: PlaceKind;
  readonly vectors: Expected;
  readonly selection: object;
  readonly gone: readonly string[];
  readonly absent: number;
}): Operation {
  const { name, options, kind, vectors, selection, gone, absent } = parts;
  const request = { ...requestOf(options, kind), ...selection };
  return {
    name,
    isIdempotent: request.idempotencyKey !== "",
    call: (clients, call) => clients.vectors.deleteVectors(request, call),
    after: () => changed(options, kind, vectors, (all) => gone.forEach((key) => void all.delete(key))),
    check: answers({ deletedCount: gone.length, notFoundCount: absent }),
  };
}

function createNamespace(options: OperationOptions): Operation {
  const { idempotencyKey: _, ...request } = requestOf(options, "namespace");
  return {
    name: "create namespace",
    isIdempotent: true,
    call: (clients, call) => clients.namespaces.createNamespace(request, call).then(() => ({})),
    after: () => changed(options, "namespace", new Map(), () => {}),
    doneReason: "NAMESPACE_EXISTS",
  };
}

function createIndex(options: OperationOptions): Operation {
  const { vectorBucketName, indexName } = requestOf(options, "index");
  const request = { vectorBucketName, indexName, dataType: DataType.FLOAT32, ...OWN };
  return {
    name: "create index",
    isIdempotent: true,
    call: (clients, call) => clients.indexes.createIndex(request, call).then(() => ({})),
    after: () => changed(options, "index", new Map(), () => {}),
    doneReason: "INDEX_EXISTS",
  };
}

function drop(options: OperationOptions, kind: PlaceKind): Operation {
  const { idempotencyKey: _, namespace, ...ofIndex } = requestOf(options, kind);
  const after = () => new Map([...options.state].filter(([each]) => each !== kind));
  if (kind === "index") {
    return {
      name: "drop index",
      isIdempotent: true,
      call: (clients, call) => clients.indexes.deleteIndex(ofIndex, call).then(() => ({})),
      after,
      doneReason: "INDEX_NOT_FOUND",
    };
  }
  return {
    name: "drop namespace",
    isIdempotent: true,
    call: (clients, call) => clients.namespaces.deleteNamespace({ ...ofIndex, namespace }, call).then(() => ({})),
    after,
    doneReason: "NAMESPACE_NOT_FOUND",
  };
}

/** As often as they stand here. */
const WRITES: readonly Maker[] = [put, put, put, put, updateKeys, updateMatching, deleteKeys, deleteMatching];
const DROPS: readonly Maker[] = [deleteAll, drop];

function requestOf({ random, client, batch }: OperationOptions, kind: PlaceKind) {
  const { index, namespace } = placesOf(client)[kind];
  const idempotencyKey = random.below(2) === 0 ? `${client}-${batch}` : "";
  return { vectorBucketName: BUCKET, indexName: index, namespace, idempotencyKey };
}

function someKeys({ random, client }: OperationOptions): string[] {
  const count = 1 + random.below(VECTORS_MAX);
  return [...new Set(Array.from({ length: count }, () => random.pick(keysOf(client))))];
}

/** Of the client's own vectors only. */
function filterOf({ random, client }: OperationOptions) {
  return { client, group: random.below(GROUPS) };
}

function mergeOf({ random, batch }: OperationOptions): JsonObject {
  return random.below(2) === 0 ? { batch } : { batch, group: random.below(GROUPS) };
}

function matchingKeys(vectors: Expected, { group }: { readonly group: number }): string[] {
  return [...vectors.values()].filter(({ metadata }) => metadata.group === group).map(({ key }) => key);
}

function changed(
  { state }: OperationOptions,
  kind: PlaceKind,
  vectors: Expected,
  change: (vectors: Map<string, ExpectedVector>) => void,
): State {
  const all = new Map(vectors);
  change(all);
  return new Map(state).set(kind, all);
}

function answers(counts: Readonly<Record<string, number>>): (answer: object) => void {
  return (answer) => {
    for (const [name, count] of Object.entries(counts)) {
      assert.equal(Number((answer as Record<string, unknown>)[name]), count, name);
    }
  };
}
