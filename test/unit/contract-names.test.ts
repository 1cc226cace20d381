import assert from "node:assert/strict";
import { test } from "node:test";
import { createRegistry, fromJson, toJson } from "@bufbuild/protobuf";
import { AdminService, file_quiver_v1_admin_service } from "../../gen/quiver/v1/admin_service_pb.ts";
import { BucketService, file_quiver_v1_bucket_service } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { file_quiver_v1_index_service, IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { file_quiver_v1_job_service, JobService } from "../../gen/quiver/v1/job_service_pb.ts";
import { file_quiver_v1_namespace_service, NamespaceService } from "../../gen/quiver/v1/namespace_service_pb.ts";
import { file_quiver_v1_resources } from "../../gen/quiver/v1/resources_pb.ts";
import { file_quiver_v1_tag_service, TagService } from "../../gen/quiver/v1/tag_service_pb.ts";
import {
  file_quiver_v1_vector_service,
  QueryVectorsRequestSchema,
  QueryVectorsResponseSchema,
  UpdateVectorsRequestSchema,
  VectorService,
} from "../../gen/quiver/v1/vector_service_pb.ts";

/** Names that callers of JSON depend on; a message may have more fields than these. */
const FIELDS: Readonly<Record<string, string>> = {
  VectorData: "float32",
  SparseVector: "indices values",
  Vector: "key data sparse metadata version",
  VectorBucket: "vectorBucketName vectorBucketArn creationTime",
  Index:
    "vectorBucketName indexName indexArn creationTime dataType dimension distanceMetric metadataConfiguration hnsw deletionProtection tags",
  MetadataConfiguration: "nonFilterableMetadataKeys",
  HnswConfiguration: "m efConstruction",
  CreateVectorBucketRequest: "vectorBucketName tags",
  CreateVectorBucketResponse: "vectorBucketArn",
  GetVectorBucketRequest: "vectorBucketName vectorBucketArn",
  ListVectorBucketsRequest: "maxResults nextToken prefix",
  ListVectorBucketsResponse: "vectorBuckets nextToken",
  PutVectorBucketPolicyRequest: "vectorBucketName vectorBucketArn policy",
  CreateIndexRequest:
    "vectorBucketName vectorBucketArn indexName dataType dimension distanceMetric metadataConfiguration hnsw deletionProtection tags",
  CreateIndexResponse: "indexArn",
  GetIndexRequest: "vectorBucketName indexName indexArn",
  GetIndexResponse: "index",
  ListIndexesRequest: "vectorBucketName vectorBucketArn maxResults nextToken prefix",
  ListIndexesResponse: "indexes nextToken",
  GetIndexStatsResponse: "vectorCount unindexedVectors deletedVectors bytes recall",
  IndexBytes: "vectors graph keys metadata disk reclaimable",
  MeasureRecallRequest: "vectorBucketName indexName indexArn namespace topK sampleSize queries filter",
  MeasureRecallResponse: "recall confidenceLow confidenceHigh",
  PutVectorsRequest: "vectorBucketName indexName indexArn namespace vectors onDuplicate idempotencyKey",
  PutVectorsResponse: "lsn putCount",
  GetVectorsRequest: "vectorBucketName indexName indexArn namespace keys returnData returnMetadata",
  GetVectorsResponse: "vectors lsn",
  DeleteVectorsRequest: "vectorBucketName indexName indexArn namespace keys filter all",
  DeleteVectorsResponse: "lsn deletedCount notFoundCount",
  UpdateVectorsRequest: "vectorBucketName indexName indexArn namespace updates filter setMetadata dryRun",
  VectorUpdate: "key data sparse setMetadata ifVersion",
  UpdateVectorsResponse: "lsn matchedCount updatedCount",
  ListVectorsRequest:
    "vectorBucketName indexName indexArn namespace prefix filter maxResults nextToken segmentCount segmentIndex returnData returnMetadata",
  ListVectorsResponse: "vectors nextToken lsn",
  QueryVectorsRequest:
    "vectorBucketName indexName indexArn namespace queryVector queryKey querySparse denseWeight topK filter returnData returnMetadata returnDistance search nextToken",
  SearchOptions: "recallTarget efSearch exact",
  QueryVectorsResponse: "vectors distanceMetric nextToken plan lsn",
  QueryResult: "key distance data metadata",
  QueryPlan: "strategy compared exact",
  StartUploadRequest: "vectorBucketName indexName indexArn namespace vectors",
  StartUploadResponse: "job",
  Job: "jobId state total processed successful failed lastError createTime startTime finishTime",
};

/** Every method, service by service. */
const METHODS = [
  [
    BucketService,
    "CreateVectorBucket GetVectorBucket ListVectorBuckets DeleteVectorBucket PutVectorBucketPolicy GetVectorBucketPolicy DeleteVectorBucketPolicy",
  ],
  [IndexService, "CreateIndex GetIndex ListIndexes UpdateIndex DeleteIndex GetIndexStats MeasureRecall"],
  [NamespaceService, "CreateNamespace GetNamespace ListNamespaces DeleteNamespace"],
  [
    VectorService,
    "PutVectors UpdateVectors GetVectors DeleteVectors ListVectors QueryVectors BatchQueryVectors ImportVectors ExportVectors WatchVectors",
  ],
  [JobService, "StartUpload GetJob ListJobs CancelJob WatchJob"],
  [TagService, "TagResource UntagResource ListTagsForResource"],
  [
    AdminService,
    "CreateAccessKey RotateAccessKey ListAccessKeys DeleteAccessKey CreateBackup ListBackups VerifyStorage GetServerInfo",
  ],
] as const;

const STREAMS: Readonly<Record<string, string>> = {
  ImportVectors: "client_streaming",
  ExportVectors: "server_streaming",
  WatchVectors: "server_streaming",
  WatchJob: "server_streaming",
};

const registry = createRegistry(
  file_quiver_v1_admin_service,
  file_quiver_v1_bucket_service,
  file_quiver_v1_index_service,
  file_quiver_v1_job_service,
  file_quiver_v1_namespace_service,
  file_quiver_v1_resources,
  file_quiver_v1_tag_service,
  file_quiver_v1_vector_service,
);

for (const [message, names] of Object.entries(FIELDS)) {
  test(`${message} keeps the names of its fields in JSON`, () => {
    const found = registry.getMessage(`quiver.v1.${message}`)?.fields.map(({ jsonName }) => jsonName);
    assert.ok(found);
    const missing = names.split(" ").filter((name) => !found.includes(name));
    assert.deepEqual(missing, []);
  });
}

for (const [service, names] of METHODS) {
  test(`${service.name} has its methods, and those that stream stream`, () => {
    const found = service.methods.map(({ name, methodKind }) => [name, methodKind]);
    const expected = names.split(" ").map((name) => [name, STREAMS[name] ?? "unary"]);
    assert.deepEqual(found, expected);
  });
}

test("every list takes max_results, next_token and prefix, and answers next_token", () => {
  const lists = METHODS.flatMap(([service]) => [...service.methods]).filter(({ name }) => name.startsWith("List"));
  assert.ok(lists.length > 6);
  for (const { name, input, output } of lists.filter((method) => method.name !== "ListTagsForResource")) {
    const names = new Set(input.fields.map((field) => field.name));
    assert.ok(
      ["max_results", "next_token", "prefix"].every((field) => names.has(field)),
      name,
    );
    assert.ok(
      output.fields.some((field) => field.name === "next_token"),
      name,
    );
  }
});

test("a query is written in JSON as the other tools write it", () => {
  const body = {
    vectorBucketName: "library",
    indexName: "papers",
    namespace: "2026",
    queryVector: { float32: [0.5, -1, 2] },
    topK: 10,
    filter: { year: { $gte: 2020 }, tag: { $in: ["a", "b"] } },
    returnMetadata: true,
    returnDistance: true,
    search: { exact: true },
  };
  assert.deepEqual(toJson(QueryVectorsRequestSchema, fromJson(QueryVectorsRequestSchema, body)), body);
});

test("a distance of 0 and a distance that was not asked for differ in JSON", () => {
  const answer = {
    vectors: [{ key: "a", distance: 0, metadata: { year: null } }, { key: "b" }],
    distanceMetric: "DISTANCE_METRIC_COSINE",
    plan: { strategy: "QUERY_STRATEGY_EXACT", compared: "2", exact: true },
    lsn: "9007199254740993",
  };
  assert.deepEqual(toJson(QueryVectorsResponseSchema, fromJson(QueryVectorsResponseSchema, answer)), answer);
});

test("an update says by null which metadata to remove, and by version 0 that it wants one", () => {
  const body = {
    indexArn: "arn:aws:s3vectors:us-east-1:000000000000:bucket/library/index/papers",
    updates: [{ key: "a", setMetadata: { year: null }, ifVersion: "0" }],
  };
  assert.deepEqual(toJson(UpdateVectorsRequestSchema, fromJson(UpdateVectorsRequestSchema, body)), body);
});
