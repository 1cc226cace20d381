import assert from "node:assert/strict";
import { DataType, DistanceMetric, type Index } from "../../gen/quiver/v1/resources_pb.ts";
import { type BucketModel, compareKeys, type IndexModel, PartitionModel } from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { BUCKETS, bucketArn, bucketFields, INDEXES, indexArn, indexFields, pickPlace } from "./places.ts";
import { chance, KEYS, NON_FILTERABLE_KEY } from "./values.ts";

const METRICS = [
  DistanceMetric.COSINE,
  DistanceMetric.EUCLIDEAN,
  DistanceMetric.DOT_PRODUCT,
  DistanceMetric.DOT_PRODUCT,
];

export function createVectorBucket(context: Context): Operation {
  const { random, model } = context;
  const name = random.pick(BUCKETS);
  const tags: { [key: string]: string } = chance(random, 0.5) ? { team: "a", ü: "" } : {};
  const request = { vectorBucketName: name, tags };
  return createOperation({
    method: "BucketService/CreateVectorBucket",
    request,
    effect: "alone",
    call: (clients) => clients.buckets.createVectorBucket(request),
    refusal: () => (model.buckets.has(name) ? "BUCKET_EXISTS" : undefined),
    accept: ({ vectorBucketArn }) => {
      assert.equal(vectorBucketArn, bucketArn(name));
      model.buckets.set(name, { name, tags: new Map(Object.entries(tags)), indexes: new Map() });
    },
  });
}

export function deleteVectorBucket(context: Context): Operation {
  const { random, model } = context;
  const name = random.pick(BUCKETS);
  const request = bucketFields(context, name);
  return createOperation({
    method: "BucketService/DeleteVectorBucket",
    request,
    effect: "alone",
    call: (clients) => clients.buckets.deleteVectorBucket(request),
    refusal: () => {
      const bucket = model.buckets.get(name);
      if (!bucket) return "BUCKET_NOT_FOUND";
      return bucket.indexes.size > 0 ? "BUCKET_NOT_EMPTY" : undefined;
    },
    accept: () => void model.buckets.delete(name),
  });
}

export function getVectorBucket(context: Context): Operation {
  const { random, model } = context;
  const name = random.pick(BUCKETS);
  const request = bucketFields(context, name);
  return createOperation({
    method: "BucketService/GetVectorBucket",
    request,
    effect: "alone",
    call: (clients) => clients.buckets.getVectorBucket(request),
    refusal: () => (model.buckets.has(name) ? undefined : "BUCKET_NOT_FOUND"),
    accept: ({ vectorBucket }) => {
      assert.deepEqual([vectorBucket?.vectorBucketName, vectorBucket?.vectorBucketArn], [name, bucketArn(name)]);
      assert.deepEqual(vectorBucket?.tags, Object.fromEntries(model.buckets.get(name)?.tags ?? []));
    },
  });
}

export function listVectorBuckets(context: Context): Operation {
  const { random, model } = context;
  const prefix = random.pick(["", "", "B", "none"]);
  const maxResults = random.below(3);
  return createOperation({
    method: "BucketService/ListVectorBuckets",
    request: { prefix, maxResults },
    effect: "alone",
    call: async (clients) => ({
      names: await allPages(async (nextToken) => {
        const page = await clients.buckets.listVectorBuckets({ prefix, maxResults, nextToken });
        return { names: page.vectorBuckets.map(({ vectorBucketName }) => vectorBucketName), nextToken: page.nextToken };
      }),
    }),
    refusal: () => undefined,
    accept: ({ names }) => assert.deepEqual(names, sortedNames(model.buckets.keys(), prefix)),
  });
}

export async function allPages(
  read: (nextToken: string) => Promise<{ names: string[]; nextToken: string }>,
): Promise<string[]> {
  const names: string[] = [];
  for (let page = await read(""); ; page = await read(page.nextToken)) {
    names.push(...page.names);
    if (page.nextToken === "") return names;
  }
}

export function sortedNames(names: Iterable<string>, prefix: string): string[] {
  return [...names].filter((name) => name.startsWith(prefix)).sort(compareKeys);
}

export function createIndex(context: Context): Operation {
  const { random, model, watchers } = context;
  const bucket = random.pick(BUCKETS);
  const name = random.pick(INDEXES);
  const dimension = 1 + random.below(6);
  const distanceMetric = random.pick(METRICS);
  const deletionProtection = chance(random, 0.2);
  const hnsw = chance(random, 0.5) ? { m: 2 + random.below(30), efConstruction: 8 + random.below(100) } : {};
  const request = {
    ...bucketFields(context, bucket),
    indexName: name,
    dataType: DataType.FLOAT32,
    dimension,
    distanceMetric,
    deletionProtection,
    hnsw,
    metadataConfiguration: { nonFilterableMetadataKeys: [NON_FILTERABLE_KEY] },
    tags: { a: "1" },
  };
  return createOperation({
    method: "IndexService/CreateIndex",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.createIndex(request),
    refusal: () => {
      const { buckets } = model;
      if (!buckets.has(bucket)) return "BUCKET_NOT_FOUND";
      return model.findIndex({ bucket, index: name }) ? "INDEX_EXISTS" : undefined;
    },
    accept: async (answer, clients) => {
      assert.equal(answer.indexArn, indexArn(bucket, name));
      (model.buckets.get(bucket) as BucketModel).indexes.set(name, {
        bucket,
        name,
        dimension,
        metric: distanceMetric,
        nonFilterableKeys: [NON_FILTERABLE_KEY],
        keys: KEYS,
        tags: new Map([["a", "1"]]),
        partitions: new Map([["", new PartitionModel()]]),
        m: hnsw.m ?? 16,
        efConstruction: hnsw.efConstruction ?? 200,
        deletionProtection,
      });
      await watchers.open({ bucket, index: name, namespace: "" }, clients);
    },
  });
}

function assertIndex(found: Index | undefined, expected: IndexModel): void {
  const { bucket, name, dimension, metric, m, efConstruction, deletionProtection, nonFilterableKeys, tags } = expected;
  assert.ok(found);
  assert.deepEqual(
    {
      bucket: found.vectorBucketName,
      name: found.indexName,
      arn: found.indexArn,
      type: found.dataType,
      dimension: found.dimension,
      metric: found.distanceMetric,
      hnsw: [found.hnsw?.m, found.hnsw?.efConstruction],
      deletionProtection: found.deletionProtection,
      nonFilterable: found.metadataConfiguration?.nonFilterableMetadataKeys,
      tags: found.tags,
    },
    {
      bucket,
      name,
      arn: indexArn(bucket, name),
      type: DataType.FLOAT32,
      dimension,
      metric,
      hnsw: [m, efConstruction],
      deletionProtection,
      nonFilterable: [...nonFilterableKeys],
      tags: Object.fromEntries(tags),
    },
  );
}

export function getIndex(context: Context): Operation {
  const { model } = context;
  const place = pickPlace(context);
  const request = indexFields(context, place);
  return createOperation({
    method: "IndexService/GetIndex",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.getIndex(request),
    refusal: () => model.missingIndex(place),
    accept: ({ index }) => assertIndex(index, model.findIndex(place) as IndexModel),
  });
}

export function listIndexes(context: Context): Operation {
  const { random, model } = context;
  const bucket = random.pick(BUCKETS);
  const prefix = random.pick(["", "", "i", "K_"]);
  const request = { ...bucketFields(context, bucket), prefix, maxResults: random.below(3) };
  return createOperation({
    method: "IndexService/ListIndexes",
    request,
    effect: "alone",
    call: async (clients) => ({
      names: await allPages(async (nextToken) => {
        const page = await clients.indexes.listIndexes({ ...request, nextToken });
        return { names: page.indexes.map(({ indexName }) => indexName), nextToken: page.nextToken };
      }),
    }),
    refusal: () => (model.buckets.has(bucket) ? undefined : "BUCKET_NOT_FOUND"),
    accept: ({ names }) => {
      assert.deepEqual(names, sortedNames(model.buckets.get(bucket)?.indexes.keys() ?? [], prefix));
    },
  });
}

export function updateIndex(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const hnsw = chance(random, 0.4)
    ? { m: chance(random, 0.5) ? 2 + random.below(30) : 0, efConstruction: 50 }
    : undefined;
  const deletionProtection = chance(random, 0.7) ? chance(random, 0.3) : undefined;
  const request = {
    ...indexFields(context, place),
    ...(hnsw && { hnsw }),
    ...(deletionProtection !== undefined && { deletionProtection }),
  };
  return createOperation({
    method: "IndexService/UpdateIndex",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.updateIndex(request),
    refusal: () => model.missingIndex(place),
    accept: ({ index: found }) => {
      const index = model.findIndex(place) as IndexModel;
      index.m = hnsw?.m || index.m;
      index.efConstruction = hnsw?.efConstruction || index.efConstruction;
      index.deletionProtection = deletionProtection ?? index.deletionProtection;
      assertIndex(found, index);
    },
  });
}

export function deleteIndex(context: Context): Operation | undefined {
  const { model, watchers } = context;
  const place = pickPlace(context);
  if (place.bucket === "big") return undefined;
  const request = indexFields(context, place);
  return createOperation({
    method: "IndexService/DeleteIndex",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.deleteIndex(request),
    refusal: () =>
      model.missingIndex(place) ?? (model.findIndex(place)?.deletionProtection ? "DELETION_PROTECTED" : undefined),
    accept: () => {
      model.buckets.get(place.bucket)?.indexes.delete(place.index);
      model.forget({ bucket: place.bucket, index: place.index });
      watchers.close({ bucket: place.bucket, index: place.index });
    },
  });
}

export function measureRecall(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context, { exists: true });
  const sampleSize = 1 + random.below(5);
  const topK = 1 + random.below(5);
  const request = { ...indexFields(context, place), namespace: place.namespace, sampleSize, topK };
  return createOperation({
    method: "IndexService/MeasureRecall",
    request,
    effect: "alone",
    call: (clients) => clients.indexes.measureRecall(request),
    refusal: () => model.missingPartition(place),
    accept: (answer) => {
      const partition = model.findPartition(place) as PartitionModel;
      const dense = [...partition.vectors.values()].filter(({ data }) => data).length;
      const { recall, confidenceLow, confidenceHigh, queryCount } = answer;
      assert.equal(Number(queryCount), Math.min(sampleSize, dense));
      assert.ok(recall >= 0 && recall <= 1 && confidenceLow <= recall && recall <= confidenceHigh, `${recall}`);
      assert.equal(answer.topK, topK);
      if (queryCount === 0n) assert.equal(recall, 1);
    },
  });
}

export function tagResource(context: Context): Operation {
  const { random, model } = context;
  const { bucket, index } = pickPlace(context);
  const ofIndex = chance(random, 0.5);
  const resourceArn = ofIndex ? indexArn(bucket, index) : bucketArn(bucket);
  const kind = random.pick(["TagResource", "UntagResource", "ListTagsForResource"] as const);
  const tagKeys = ["a", "b", "ü"].filter(() => chance(random, 0.5));
  if (tagKeys.length === 0) tagKeys.push("c");
  const tags: { [key: string]: string } = Object.fromEntries(tagKeys.map((key) => [key, `${random.below(100)}`]));
  const stored = () => (ofIndex ? model.findIndex({ bucket, index }) : model.buckets.get(bucket))?.tags;
  const requests = {
    TagResource: { resourceArn, tags },
    UntagResource: { resourceArn, tagKeys },
    ListTagsForResource: { resourceArn },
  };
  return createOperation<object>({
    method: `TagService/${kind}`,
    request: requests[kind],
    effect: "alone",
    call: (clients) => {
      if (kind === "TagResource") return clients.tags.tagResource(requests[kind]);
      return kind === "UntagResource"
        ? clients.tags.untagResource(requests[kind])
        : clients.tags.listTagsForResource(requests[kind]);
    },
    refusal: () => {
      if (!model.buckets.has(bucket)) return "BUCKET_NOT_FOUND";
      return ofIndex ? model.missingIndex({ bucket, index }) : undefined;
    },
    accept: (answer) => {
      if (kind === "TagResource") for (const [key, value] of Object.entries(tags)) stored()?.set(key, value);
      if (kind === "UntagResource") for (const key of tagKeys) stored()?.delete(key);
      if (kind !== "ListTagsForResource") return;
      assert.deepEqual((answer as { tags: object }).tags, Object.fromEntries(stored() ?? []));
    },
  });
}
