import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import type { JsonObject } from "@bufbuild/protobuf";
import { DistanceMetric, OnDuplicate } from "../../gen/quiver/v1/resources_pb.ts";
import type { Random } from "../support/random.ts";
import { matches } from "./filter.ts";
import {
  type IndexModel,
  mergeMetadata,
  type PartitionModel,
  type Place,
  type SparseValues,
  type StoredVector,
} from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { pickPlace, placeFields } from "./places.ts";
import {
  chance,
  INVALID_FILTERS,
  listOf,
  randomData,
  randomFilter,
  randomKeys,
  randomMerge,
  randomSparse,
} from "./values.ts";
import { faultyVector, randomVector, refusalOfVectors, store, type VectorRequest } from "./vector-requests.ts";

export function putVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const index = model.findIndex(place);
  const vectors = randomVectors(context, place, index);
  const fault = index && chance(random, 0.04) ? faultyVector(random, index) : undefined;
  const distinct = new Set(vectors.map(({ key }) => key)).size === vectors.length;
  if (fault && distinct) vectors.push(fault.vector);
  const onDuplicate = chance(random, 0.7) ? OnDuplicate.LAST_WINS : OnDuplicate.ERROR;
  const request = {
    ...placeFields(context, place),
    vectors,
    onDuplicate,
    ...idempotency(context),
  };
  return createOperation({
    method: "VectorService/PutVectors",
    request,
    place,
    effect: "write",
    call: (clients) => clients.vectors.putVectors(request),
    refusal: () => {
      if (model.missingIndex(place)) return model.missingIndex(place);
      if (fault && distinct) return fault.reason;
      if (!distinct && onDuplicate === OnDuplicate.ERROR) return "DUPLICATE_KEY";
      return refusalOfVectors(vectors, model.findPartition(place));
    },
    accept: ({ lsn, putCount }) => {
      assert.ok(lsn > context.floor, `lsn ${lsn} after ${context.floor}`);
      const partition = model.openPartition(place);
      for (const vector of vectors) store(partition, vector, lsn);
      assert.equal(Number(putCount), new Set(vectors.map(({ key }) => key)).size);
      model.wrote(partition, lsn);
      remember(context, { place, method: "putVectors", request, answer: { lsn, putCount } });
    },
  });
}

function randomVectors(context: Context, place: Place, index: IndexModel | undefined): VectorRequest[] {
  const { random, model } = context;
  const partition = model.findPartition(place);
  const vectors = listOf(random, [1, 6], () => randomVector(random, index));
  const distinct = new Set(vectors.map(({ key }) => key)).size === vectors.length;
  if (!distinct || !chance(random, 0.2)) return vectors;
  return vectors.map((vector) => ({ ...vector, ifVersion: randomVersion(context, partition, vector.key) }));
}

/** Mostly the one that it has; 0 where it has none. */
function randomVersion({ random }: Context, partition: PartitionModel | undefined, key: string): bigint {
  if (chance(random, 0.05)) return BigInt(random.below(50));
  return partition?.vectors.get(key)?.version ?? 0n;
}

export function updateVectors(context: Context): Operation {
  return chance(context.random, 0.6) ? updateByKeys(context) : updateByFilter(context);
}

function updateByKeys(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const index = model.findIndex(place);
  const keys = [...new Set(randomKeys(random, index?.keys ?? ["k0"], [1, 5]))];
  const isDot = index?.metric === DistanceMetric.DOT_PRODUCT;
  const updates = keys.map((key) => {
    const parts = random.below(8);
    return {
      key,
      ...(parts % 2 === 1 && { data: { float32: randomData(random, index?.dimension ?? 2) } }),
      ...(isDot && parts % 4 > 1 && { sparse: randomSparseChange(random) }),
      ...((parts > 3 || parts === 0 || !isDot) && { setMetadata: randomMerge(random) }),
      ...(chance(random, 0.1) && { ifVersion: randomVersion(context, model.findPartition(place), key) }),
    };
  });
  const dryRun = chance(random, 0.15);
  const request = {
    ...placeFields(context, place),
    updates,
    dryRun,
    ...(!dryRun && idempotency(context)),
  };
  const partition = () => model.findPartition(place) as PartitionModel;
  const removesAll = (update: (typeof updates)[number]) => {
    const vector = partition().vectors.get(update.key);
    const removes = update.sparse !== undefined && update.sparse.indices.length === 0;
    return vector !== undefined && removes && !vector.data && !update.data;
  };
  return createOperation({
    method: "VectorService/UpdateVectors",
    request,
    place,
    effect: "write",
    call: (clients) => clients.vectors.updateVectors(request),
    refusal: () => {
      if (model.missingPartition(place)) return model.missingPartition(place);
      const { vectors } = partition();
      const conflicts = updates.some(
        ({ key, ifVersion }) => ifVersion !== undefined && vectors.get(key)?.version !== ifVersion,
      );
      if (conflicts) return "VERSION_MISMATCH";
      return updates.some(removesAll) ? "INVALID_FIELD" : undefined;
    },
    accept: ({ lsn, matchedCount, updatedCount }) => {
      const matched = updates.filter(({ key }) => partition().vectors.has(key));
      assertCounts(context, { lsn, matchedCount, updatedCount }, { matched: matched.length, dryRun });
      if (dryRun) return;
      for (const { key, data, sparse, setMetadata } of matched) {
        const vector = partition().vectors.get(key) as StoredVector;
        partition().vectors.set(key, {
          key,
          data: data ? Float32Array.from(data.float32) : vector.data,
          sparse: sparse ? changedSparse(sparse) : vector.sparse,
          metadata: setMetadata ? mergeMetadata(vector.metadata, setMetadata) : vector.metadata,
          version: lsn,
        });
      }
      if (matched.length > 0) model.wrote(partition(), lsn);
      const answer = { lsn, matchedCount, updatedCount };
      remember(context, { place, method: "updateVectors", request, answer });
    },
  });
}

/** New sparse values, or none, which removes those that are there. */
function randomSparseChange(random: Random): { indices: number[]; values: number[] } {
  if (chance(random, 0.3)) return { indices: [], values: [] };
  const { indices, values } = randomSparse(random);
  return { indices: [...indices], values: [...values] };
}

function changedSparse({ indices, values }: SparseValues): SparseValues | undefined {
  return indices.length === 0 ? undefined : { indices, values: values.map(Math.fround) };
}

function updateByFilter(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const isInvalid = chance(random, 0.05);
  const filter = isInvalid ? random.pick(INVALID_FILTERS) : randomFilter(random);
  const dryRun = chance(random, 0.4);
  const setMetadata = randomMerge(random);
  const request = { ...placeFields(context, place), filter, setMetadata, dryRun };
  return createOperation({
    method: "VectorService/UpdateVectors",
    request,
    place,
    effect: "write",
    call: (clients) => clients.vectors.updateVectors(request),
    refusal: () => refusalOfFilter(context, place, isInvalid),
    accept: ({ lsn, matchedCount, updatedCount }) => {
      const partition = model.findPartition(place) as PartitionModel;
      const matched = [...partition.vectors.values()].filter(({ metadata }) => matches(filter, metadata));
      assertCounts(context, { lsn, matchedCount, updatedCount }, { matched: matched.length, dryRun });
      if (dryRun || matched.length === 0) return;
      for (const vector of matched) {
        const metadata = mergeMetadata(vector.metadata, setMetadata);
        partition.vectors.set(vector.key, { ...vector, metadata, version: lsn });
      }
      model.wrote(partition, lsn);
    },
  });
}

function assertCounts(
  { floor }: Context,
  { lsn, matchedCount, updatedCount }: { lsn: bigint; matchedCount: bigint; updatedCount: bigint },
  { matched, dryRun }: { matched: number; dryRun: boolean },
): void {
  assert.deepEqual([Number(matchedCount), Number(updatedCount)], [matched, dryRun ? 0 : matched]);
  const writes = !dryRun && matched > 0;
  assert.ok(writes ? lsn > floor : lsn >= floor, `lsn ${lsn} after ${floor}`);
}

export function deleteVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const index = model.findIndex(place);
  const kind = random.below(20);
  const byFilter = kind < 5;
  const all = !byFilter && kind === 5 && index?.bucket !== "big";
  const isInvalid = byFilter && chance(random, 0.1);
  const filter: JsonObject = isInvalid ? random.pick(INVALID_FILTERS) : randomFilter(random);
  const keys = randomKeys(random, index?.keys ?? ["k0"], [1, 4]);
  const selection = byFilter ? { filter } : all ? { all } : { keys };
  const request = {
    ...placeFields(context, place),
    ...selection,
    ...idempotency(context),
  };
  return createOperation({
    method: "VectorService/DeleteVectors",
    request,
    place,
    effect: "write",
    call: (clients) => clients.vectors.deleteVectors(request),
    refusal: () => refusalOfFilter(context, place, isInvalid),
    accept: ({ lsn, deletedCount, notFoundCount }) => {
      const partition = model.findPartition(place) as PartitionModel;
      const { vectors } = partition;
      const distinct = new Set(keys);
      const chosen = [...vectors.values()].filter((vector) =>
        byFilter ? matches(filter, vector.metadata) : all || distinct.has(vector.key),
      );
      const notFound = byFilter || all ? 0 : distinct.size - chosen.length;
      assert.deepEqual([Number(deletedCount), Number(notFoundCount)], [chosen.length, notFound]);
      assert.ok(chosen.length > 0 ? lsn > context.floor : lsn >= context.floor, `lsn ${lsn} after ${context.floor}`);
      for (const { key } of chosen) vectors.delete(key);
      if (chosen.length > 0) model.wrote(partition, lsn);
      const answer = { lsn, deletedCount, notFoundCount };
      remember(context, { place, method: "deleteVectors", request, answer });
    },
  });
}

function refusalOfFilter({ model }: Context, place: Place, isInvalid: boolean): string | undefined {
  if (model.missingIndex(place)) return model.missingIndex(place);
  if (isInvalid) return "FILTER_INVALID";
  return model.missingPartition(place);
}

function idempotency({ random }: Context): { idempotencyKey?: string } {
  if (chance(random, 0.7)) return {};
  return { idempotencyKey: `${random.below(2 ** 31)}-${random.below(2 ** 31)}` };
}

type RepeatableMethod = "putVectors" | "updateVectors" | "deleteVectors";

function remember(
  { model }: Context,
  write: { place: Place; method: RepeatableMethod; request: { idempotencyKey?: string }; answer: object },
): void {
  if (write.request.idempotencyKey !== undefined) model.repeatables = [...model.repeatables.slice(-40), write];
}

/** The same write again answers the same and writes nothing; another one with its key is refused. */
export function repeatWrite(context: Context): Operation | undefined {
  const { random, model } = context;
  if (model.repeatables.length === 0) return undefined;
  const { place, method, request, answer } = random.pick(model.repeatables);
  const isOther = chance(random, 0.3);
  const other = method === "deleteVectors" ? { keys: ["other"], filter: undefined, all: false } : { keys: undefined };
  const changed =
    method === "putVectors"
      ? { vectors: [randomVector(random, model.findIndex(place))] }
      : method === "updateVectors"
        ? { updates: [{ key: "other", setMetadata: { other: random.below(1000) } }] }
        : other;
  const repeated = isOther ? { ...request, ...changed } : request;
  return createOperation({
    method: `VectorService/${method.charAt(0).toUpperCase()}${method.slice(1)}`,
    request: repeated,
    place,
    effect: "write",
    call: (clients) => clients.vectors[method as RepeatableMethod](repeated) as Promise<object>,
    refusal: () => (isOther ? "IDEMPOTENCY_KEY_REUSED" : undefined),
    accept: (repeatedAnswer) => {
      for (const [field, value] of Object.entries(answer)) {
        const again = (repeatedAnswer as Record<string, unknown>)[field];
        assert.ok(isDeepStrictEqual(again, value), `${field} of a repetition is ${again}, it was ${value}`);
      }
    },
  });
}
