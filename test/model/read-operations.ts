import assert from "node:assert/strict";
import type { Vector } from "../../gen/quiver/v1/resources_pb.ts";
import { assertVectors, type Projection } from "./compare.ts";
import { matches } from "./filter.ts";
import type { PartitionModel, StoredVector } from "./model.ts";
import { compareKeys } from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { indexFields, pickPlace, placeFields } from "./places.ts";
import { chance, PREFIXES, randomFilter, randomKeys } from "./values.ts";

export function getVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const projection = randomProjection(context);
  const keys = randomKeys(random, model.findIndex(place)?.keys ?? ["k0"], [1, 8]);
  const request = { ...placeFields(context, place), ...projection, keys };
  const floor = () => context.floor;
  return createOperation({
    method: "VectorService/GetVectors",
    request,
    place,
    effect: "read",
    call: (clients) => clients.vectors.getVectors(request),
    refusal: () => model.missingPartition(place),
    accept: ({ vectors, lsn }) => {
      const stored = (model.findPartition(place) as PartitionModel).vectors;
      const expected = [...new Set(keys)].flatMap((key) => stored.get(key) ?? []);
      assertVectors(vectors, expected, projection);
      assert.ok(lsn >= floor(), `lsn ${lsn} after ${floor()}`);
    },
  });
}

export function randomProjection({ random }: Context): Projection {
  return { returnData: chance(random, 0.6), returnMetadata: chance(random, 0.6) };
}

/** All pages, or all segments with all of their pages. */
export function listVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const projection = randomProjection(context);
  const filter = chance(random, 0.4) ? randomFilter(random) : undefined;
  const prefix = random.pick(PREFIXES);
  const segmentCount = chance(random, 0.3) ? 1 + random.below(16) : 0;
  const many = place.bucket === "big";
  const sizes = Array.from({ length: 8 }, () => (many ? 200 + random.below(800) : 1 + random.below(12)));
  const request = {
    ...placeFields(context, place),
    ...projection,
    prefix,
    segmentCount,
    ...(filter && { filter }),
  };
  return createOperation({
    method: "VectorService/ListVectors",
    request: { ...request, sizes },
    place,
    effect: "read",
    call: async (clients) => {
      const segments: Vector[][] = [];
      let lsn = 0n;
      for (let segmentIndex = 0; segmentIndex < Math.max(1, segmentCount); segmentIndex++) {
        const vectors: Vector[] = [];
        let nextToken = "";
        for (let page = 0; page === 0 || nextToken !== ""; page++) {
          const maxResults = sizes[page % sizes.length] as number;
          const answer = await clients.vectors.listVectors({ ...request, segmentIndex, nextToken, maxResults });
          assert.ok(answer.vectors.length <= maxResults, `${answer.vectors.length} of ${maxResults}`);
          vectors.push(...answer.vectors);
          nextToken = answer.nextToken;
          lsn = answer.lsn;
        }
        segments.push(vectors);
      }
      return { segments, lsn };
    },
    refusal: () => model.missingPartition(place),
    accept: ({ segments, lsn }) => {
      const expected = (model.findPartition(place) as PartitionModel)
        .sorted()
        .filter(({ key, metadata }) => key.startsWith(prefix) && (!filter || matches(filter, metadata)));
      for (const segment of segments) {
        const keys = segment.map(({ key }) => key);
        assert.deepEqual(keys, keys.toSorted(compareKeys), "the order in a segment");
      }
      const all = segments.flat().sort((a, b) => compareKeys(a.key, b.key));
      assertVectors(all, expected, projection);
      assert.ok(lsn >= context.floor, `lsn ${lsn} after ${context.floor}`);
    },
  });
}

export function exportVectors(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const projection = randomProjection(context);
  const filter = chance(random, 0.4) ? randomFilter(random) : undefined;
  const prefix = chance(random, 0.5) ? random.pick(PREFIXES) : "";
  const afterKey = chance(random, 0.4) ? random.pick(model.findIndex(place)?.keys ?? ["k0"]) : "";
  const request = { ...placeFields(context, place), ...projection, prefix, afterKey, ...(filter && { filter }) };
  return createOperation({
    method: "VectorService/ExportVectors",
    request,
    place,
    effect: "read",
    call: async (clients) => {
      const vectors: Vector[] = [];
      const lsns = new Set<bigint>();
      for await (const part of clients.vectors.exportVectors(request)) {
        vectors.push(...part.vectors);
        lsns.add(part.lsn);
      }
      return { vectors, lsns };
    },
    refusal: () => model.missingPartition(place),
    accept: ({ vectors, lsns }) => {
      const isWanted = ({ key, metadata }: StoredVector) =>
        key.startsWith(prefix) &&
        (afterKey === "" || compareKeys(key, afterKey) > 0) &&
        (!filter || matches(filter, metadata));
      assertVectors(vectors, (model.findPartition(place) as PartitionModel).sorted().filter(isWanted), projection);
      assert.ok(lsns.size <= 1, "one lsn for all parts");
      for (const lsn of lsns) assert.ok(lsn >= context.floor, `lsn ${lsn} after ${context.floor}`);
    },
  });
}

export function getIndexStats(context: Context): Operation {
  const { model } = context;
  const place = pickPlace(context);
  const request = indexFields(context, place);
  return createOperation({
    method: "IndexService/GetIndexStats",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.getIndexStats(request),
    refusal: () => model.missingIndex(place),
    accept: ({ vectorCount, unindexedVectors }) => {
      const partitions = [...(model.findIndex(place)?.partitions.values() ?? [])];
      const count = partitions.reduce((sum, { vectors }) => sum + vectors.size, 0);
      assert.equal(Number(vectorCount), count);
      assert.ok(unindexedVectors <= vectorCount);
    },
  });
}
