import assert from "node:assert/strict";
import { fromBinary, type JsonObject } from "@bufbuild/protobuf";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { DistanceMetric } from "../../gen/quiver/v1/resources_pb.ts";
import { type QueryPlan, type QueryResult, QueryStrategy } from "../../gen/quiver/v1/vector_service_pb.ts";
import { assertAnswer, candidatesOf, type ModelQuery } from "./compare.ts";
import { matches } from "./filter.ts";
import type { IndexModel, PartitionModel, Place, SparseValues, StoredVector } from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { pickPlace, placeFields } from "./places.ts";
import { randomProjection } from "./read-operations.ts";
import { chance, INVALID_FILTERS, listOf, randomData, randomFilter, randomSparse } from "./values.ts";

/** One query, as QueryVectors and BatchQueryVectors carry it, and what the model says of it. */
interface RandomQuery {
  readonly fields: QueryFields;
  /** What is wrong with it on this index; undefined for nothing. */
  fault(index: IndexModel): string | undefined;
  /** What it asks for that is not there. */
  missing(partition: PartitionModel): string | undefined;
  accept(results: readonly QueryResult[], plan: QueryPlan | undefined): void;
}

interface QueryFields {
  readonly queryVector?: { float32: number[] };
  readonly queryKey?: string;
  readonly querySparse?: { indices: number[]; values: number[] };
  readonly denseWeight?: number;
  readonly topK: number;
  readonly filter?: JsonObject;
  readonly returnData: boolean;
  readonly returnMetadata: boolean;
  readonly returnDistance: boolean;
  readonly search?: { mode: { case: "exact"; value: boolean } | { case: "efSearch" | "recallTarget"; value: number } };
}

export function queryVectors(context: Context): Operation {
  const { model } = context;
  const place = pickPlace(context, { exists: true });
  const query = randomQuery(context, place);
  const request = { ...placeFields(context, place), ...query.fields };
  return createOperation({
    method: "VectorService/QueryVectors",
    request,
    place,
    effect: "read",
    call: (clients) => clients.vectors.queryVectors(request),
    refusal: () => refusalAt(context, place, query),
    accept: ({ vectors, plan, lsn, distanceMetric, nextToken }) => {
      query.accept(vectors, plan);
      assert.equal(nextToken, "");
      assert.equal(distanceMetric, model.findIndex(place)?.metric);
      assert.ok(lsn >= context.floor, `lsn ${lsn} after ${context.floor}`);
    },
  });
}

function refusalAt({ model }: Context, place: Place, query: RandomQuery): string | undefined {
  const index = model.findIndex(place);
  if (!index) return model.missingIndex(place);
  const partition = model.findPartition(place);
  return query.fault(index) ?? (partition ? query.missing(partition) : "NAMESPACE_NOT_FOUND");
}

export function batchQueryVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const queries = listOf(random, [1, 5], () => randomQuery(context, place));
  const request = { ...placeFields(context, place), queries: queries.map(({ fields }) => fields) };
  return createOperation({
    method: "VectorService/BatchQueryVectors",
    request,
    place,
    effect: "read",
    call: (clients) => clients.vectors.batchQueryVectors(request),
    refusal: () => model.missingPartition(place),
    accept: ({ results, lsn }) => {
      assert.equal(results.length, queries.length);
      assert.ok(lsn >= context.floor, `lsn ${lsn} after ${context.floor}`);
      for (const [i, query] of queries.entries()) {
        const result = results[i];
        const expected = refusalAt(context, place, query) ?? "no error";
        const info = result?.error?.details.find(({ typeUrl }) => typeUrl.endsWith(ErrorInfoSchema.typeName));
        const reason = result?.error ? reasonIn(info?.value) : "no error";
        assert.equal(reason, expected, `query ${i}: ${result?.error?.message}`);
        if (result && expected === "no error") query.accept(result.vectors, result.plan);
      }
    },
  });
}

function reasonIn(value: Uint8Array | undefined): string {
  return value ? fromBinary(ErrorInfoSchema, value).reason : "no ErrorInfo";
}

function randomQuery(context: Context, place: Place): RandomQuery {
  const { random, model } = context;
  const isInvalid = chance(random, 0.03);
  const target = randomTarget(context, model.findIndex(place), !isInvalid && chance(random, 0.02));
  const filter = isInvalid ? random.pick(INVALID_FILTERS) : chance(random, 0.5) ? randomFilter(random) : undefined;
  const projection = randomProjection(context);
  const search = randomSearch(context);
  const fields = {
    ...target,
    topK: chance(random, 0.1) ? 1_000 : 1 + random.below(12),
    ...(filter && { filter }),
    ...projection,
    returnDistance: chance(random, 0.7),
    ...(search && { search }),
  };
  const { queryKey, queryVector } = fields;
  return {
    fields,
    fault: ({ dimension }) => {
      if (isInvalid) return "FILTER_INVALID";
      return queryVector && queryVector.float32.length !== dimension ? "DIMENSION_MISMATCH" : undefined;
    },
    missing: ({ vectors }) => (queryKey !== undefined && !vectors.has(queryKey) ? "VECTOR_NOT_FOUND" : undefined),
    accept: (results, plan) => {
      const index = model.findIndex(place) as IndexModel;
      const { vectors } = model.findPartition(place) as PartitionModel;
      const wanted = [...vectors.values()].filter(
        ({ key, metadata }) => key !== queryKey && (!filter || matches(filter, metadata)),
      );
      const candidates = candidatesOf(modelQuery(fields, index, vectors), wanted);
      assertPlan(plan, { mustBeExact: search?.mode.case === "exact" && search.mode.value === true });
      assertAnswer(results, { ...fields, candidates, exact: plan?.exact === true });
    },
  };
}

function assertPlan(plan: QueryPlan | undefined, { mustBeExact }: { readonly mustBeExact: boolean }): void {
  assert.ok(plan, "an answer says how it was found");
  if (plan.strategy === QueryStrategy.EXACT) assert.ok(plan.exact);
  if (mustBeExact) assert.deepEqual([plan.strategy, plan.exact], [QueryStrategy.EXACT, true]);
}

/** By key is by the data of that vector, or by its sparse values when it has no data. */
function modelQuery(
  { queryKey, queryVector, querySparse, denseWeight }: QueryFields,
  { metric }: IndexModel,
  vectors: ReadonlyMap<string, StoredVector>,
): ModelQuery {
  if (queryKey !== undefined) {
    const { data, sparse } = vectors.get(queryKey) as StoredVector;
    return data ? { metric, data } : { metric, sparse };
  }
  return {
    metric,
    data: queryVector && Float32Array.from(queryVector.float32),
    sparse: querySparse && inFloat32(querySparse),
    denseWeight,
  };
}

function inFloat32({ indices, values }: SparseValues): SparseValues {
  return { indices, values: values.map(Math.fround) };
}

function randomTarget({ random }: Context, index: IndexModel | undefined, isWrong: boolean) {
  const queryVector = { float32: randomData(random, index?.dimension ?? 2) };
  if (!isWrong && chance(random, 0.2)) return { queryKey: random.pick(index?.keys ?? ["k0"]) };
  if (isWrong) return { queryVector: { float32: [...queryVector.float32, 1] } };
  const isDot = index?.metric === DistanceMetric.DOT_PRODUCT;
  if (!isDot || chance(random, 0.4)) return { queryVector };
  const { indices, values } = randomSparse(random);
  const querySparse = { indices: [...indices], values: [...values] };
  if (chance(random, 0.5)) return { querySparse };
  return {
    queryVector,
    querySparse,
    ...(chance(random, 0.7) && { denseWeight: random.pick([0, 0.25, 0.5, 1, random.next()]) }),
  };
}

function randomSearch({ random }: Context): QueryFields["search"] {
  const kind = random.below(10);
  if (kind < 6) return { mode: { case: "exact", value: true } };
  if (kind < 7) return { mode: { case: "efSearch", value: 1 + random.below(100) } };
  if (kind < 8) return { mode: { case: "recallTarget", value: 0.5 + random.next() / 2 } };
  return undefined;
}
