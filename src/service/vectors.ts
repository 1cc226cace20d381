import type { Engine, Index, Metadata, Projection, Selection, Vector, VectorInput } from "../engine/engine.ts";
import { invalidField, QuiverError } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import type { ServiceContext } from "./context.ts";
import { idempotencyOf } from "./idempotency.ts";
import { LIMITS } from "./limits.ts";
import { listPageAfter, type PageRequest, type PageResult } from "./listing.ts";
import { type PartitionReference, resolvePartition, shows } from "./partitions.ts";
import { assertAnswerSize } from "./queries.ts";
import { toFilter } from "./query-input.ts";
import { mergeCheck, toUpdate, type UpdateInput } from "./updates.ts";
import { assertDuplicatesAllowed, assertKey, assertVector, type OnDuplicateKey } from "./vector-input.ts";

export interface PutRequest extends PartitionReference {
  readonly vectors: readonly VectorInput[];
  readonly onDuplicate: OnDuplicateKey;
  /** "": none. */
  readonly idempotencyKey: string;
  /** Throws for what the protocol refuses besides, now that the index is known. */
  readonly assertMore?: (index: Index) => void;
}

export interface UpdateRequest extends PartitionReference, UpdateInput {
  readonly dryRun: boolean;
  readonly idempotencyKey: string;
}

export interface GetRequest extends PartitionReference {
  readonly keys: readonly string[];
  readonly projection: Projection;
}

/** By keys, by filter, or all. */
export interface DeleteRequest extends PartitionReference {
  readonly keys: readonly string[];
  readonly filter: Metadata | undefined;
  readonly all: boolean;
  readonly idempotencyKey: string;
}

export interface ListRequest extends PartitionReference, PageRequest {
  readonly filter: Metadata | undefined;
  /** 0: the list is not parted. */
  readonly segmentCount: number;
  readonly segmentIndex: number;
  readonly projection: Projection;
}

/** The vectors of an index: put, update, get, delete, list. */
export class Vectors {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async put(caller: Caller, request: PutRequest): Promise<{ lsn: number; putCount: number }> {
    const { vectors, onDuplicate } = request;
    const asked = { caller, action: "PutVectors" } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    assertBatchSize("vectors", vectors.length);
    for (const [i, vector] of vectors.entries()) assertVector(`vectors[${i}]`, vector, index);
    assertDuplicatesAllowed(vectors, onDuplicate);
    request.assertMore?.(index);
    const distinct = new Map(vectors.map((vector) => [vector.key, vector]));
    const what = ["put", partition, index.createdAt, vectors, onDuplicate];
    const idempotency = idempotencyOf(caller, request.idempotencyKey, what);
    this.#context.rates.admitVectors(partition, vectors.length);
    const { lsn } = await this.#engine.putVectors(partition, [...distinct.values()], { idempotency });
    return { lsn, putCount: distinct.size };
  }

  async update(
    caller: Caller,
    request: UpdateRequest,
  ): Promise<{ lsn: number; matchedCount: number; updatedCount: number }> {
    const { dryRun, idempotencyKey } = request;
    const asked = { caller, action: "UpdateVectors", reads: request.filter !== undefined } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    const update = toUpdate(request, index);
    const idempotency = idempotencyOf(caller, idempotencyKey, ["update", partition, index.createdAt, update]);
    const tellsSize = await this.#context.authorizer.may(caller, "GetVectors", partition);
    if (!dryRun) this.#context.rates.admitVectors(partition, request.updates.length);
    return this.#engine.updateVectors(partition, update, {
      dryRun,
      assertMetadata: mergeCheck(update, index, tellsSize),
      // A dry run writes nothing that a repetition could repeat.
      idempotency: dryRun ? undefined : idempotency,
    });
  }

  async get(caller: Caller, request: GetRequest): Promise<{ vectors: readonly Vector[]; lsn: number }> {
    const { keys, projection } = request;
    const { partition, index } = await resolvePartition(this.#context, { caller, action: "GetVectors" }, request);
    assertKeys(keys);
    if (projection.data) assertAnswerSize("keys", keys.length, index);
    return this.#engine.getVectors(partition, [...new Set(keys)], projection);
  }

  async delete(
    caller: Caller,
    request: DeleteRequest,
  ): Promise<{ lsn: number; deletedCount: number; notFoundCount: number }> {
    const { keys, filter, all, idempotencyKey } = request;
    const asked = { caller, action: "DeleteVectors", reads: filter !== undefined } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    assertOneSelection({ keys: keys.length > 0, filter: filter !== undefined, all });
    const selection = toSelection();
    const idempotency = idempotencyOf(caller, idempotencyKey, ["delete", partition, index.createdAt, selection]);
    this.#context.rates.admitVectors(partition, keys.length);
    return this.#engine.deleteVectors(partition, selection, { idempotency });

    function toSelection(): Selection {
      if (all) return { kind: "all" };
      const parsed = toFilter("filter", filter, index);
      if (parsed) return { kind: "filter", filter: parsed };
      assertKeys(keys);
      return { kind: "keys", keys: [...new Set(keys)] };
    }
  }

  async list(caller: Caller, request: ListRequest): Promise<PageResult<Vector> & { lsn: number }> {
    const reads = request.filter !== undefined || shows(request.projection);
    const asked = { caller, action: "ListVectors", reads } as const;
    const { partition, index } = await resolvePartition(this.#context, asked, request);
    const { projection, prefix } = request;
    const segment = toSegment(request);
    if (Buffer.byteLength(prefix) > LIMITS.keyBytesMax || !prefix.isWellFormed()) {
      throw invalidField("prefix", `Must be at most ${LIMITS.keyBytesMax} bytes of valid UTF-8`);
    }
    const filter = toFilter("filter", request.filter, index);
    // An index that is deleted and created again does not go on with an old list.
    const what = ["vectors", partition, index.createdAt, segment, filter, projection];
    return listPageAfter(what, request, (page) =>
      this.#engine.listVectors(partition, { ...page, filter, segment, projection, maxBytes: LIMITS.listPageBytesMax }),
    );
  }
}

function assertBatchSize(field: string, count: number): void {
  if (count < 1 || count > LIMITS.batchVectorsMax) {
    throw invalidField(field, `Must be 1 to ${LIMITS.batchVectorsMax} items, got ${count}`);
  }
}

function assertKeys(keys: readonly string[]): void {
  assertBatchSize("keys", keys.length);
  for (const [i, key] of keys.entries()) assertKey(`keys[${i}]`, key);
}

function assertOneSelection(isGiven: Readonly<Record<"keys" | "filter" | "all", boolean>>): void {
  const given = Object.entries(isGiven).flatMap(([field, is]) => (is ? [field] : []));
  if (given.length === 1) return;
  const description = "Give exactly one of keys, filter and all";
  const violations = (given.length > 0 ? given : ["keys"]).map((field) => ({ field, description }));
  const message = `${violations.map(({ field }) => field).join(", ")}: ${description}`;
  throw new QuiverError("INVALID_FIELD", message, { violations });
}

function toSegment({ segmentCount: count, segmentIndex: index }: ListRequest) {
  if (count > LIMITS.segmentsMax) {
    throw invalidField("segment_count", `Must be 1 to ${LIMITS.segmentsMax}, got ${count}`);
  }
  if (index >= Math.max(count, 1)) {
    throw invalidField("segment_index", `Must be below segment_count ${count}, got ${index}`);
  }
  return count === 0 ? undefined : { index, count };
}
