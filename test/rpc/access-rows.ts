import type { JsonObject } from "@bufbuild/protobuf";

/** The bucket, index and namespace that rows are about; and those of somebody else. */
export const MINE = { bucket: "mine", index: "i", namespace: "n" } as const;
export const OTHERS = { bucket: "others", index: "i", namespace: "n" } as const;

type Role = "read-only" | "read-write" | "admin";

/** Who may make a call, as the documentation says it; written out again, so that the code is not compared with itself. */
export interface AccessRow {
  /** "everybody": also without any credential. */
  readonly role: Role | "everybody";
  /** What it is about, as wide as a scope must be for the call; "server": a key for a part is not enough. */
  readonly about: "anything" | "part of bucket" | "part of index" | "server" | "bucket" | "index" | "namespace";
  /** About MINE; stands for the same about OTHERS, too. */
  readonly request: JsonObject;
  /** How a scope that is not enough is refused; default NOT_ALLOWED. */
  readonly deniedAs?: "JOB_NOT_FOUND";
  /** Of Pinecone's service, whose indexes are those of the bucket in MINE: a header names the index, and no other bucket can be meant. */
  readonly ofDefaultBucket?: true;
}

const BUCKET = { vectorBucketName: MINE.bucket };
const INDEX = { ...BUCKET, indexName: MINE.index };
const NAMESPACE = { ...INDEX, namespace: MINE.namespace };
const BUCKET_ARN = `arn:aws:s3vectors:us-east-1:000000000000:bucket/${MINE.bucket}`;
const INDEX_ARN = `${BUCKET_ARN}/index/${MINE.index}`;
const VECTORS = [{ key: "k", data: { float32: [1, 2] }, metadata: { m: 1 } }];
const QUERY = { queryVector: { float32: [1, 2] }, topK: 1 };
/** Stands for the id of a job in MINE, or in OTHERS. */
export const JOB = "job";

/** By method, of all services. None of them changes what another one needs. */
export const ACCESS_ROWS: Readonly<Record<string, AccessRow>> = {
  "quiver.v1.BucketService/CreateVectorBucket": { role: "read-write", about: "bucket", request: BUCKET },
  "quiver.v1.BucketService/GetVectorBucket": { role: "read-only", about: "part of bucket", request: BUCKET },
  "quiver.v1.BucketService/ListVectorBuckets": { role: "read-only", about: "anything", request: {} },
  // It holds an index, which keeps it.
  "quiver.v1.BucketService/DeleteVectorBucket": { role: "read-write", about: "bucket", request: BUCKET },
  "quiver.v1.BucketService/PutVectorBucketPolicy": {
    role: "admin",
    about: "bucket",
    request: { ...BUCKET, policy: '{"Version":"2012-10-17","Statement":[]}' },
  },
  "quiver.v1.BucketService/GetVectorBucketPolicy": { role: "admin", about: "bucket", request: BUCKET },
  "quiver.v1.BucketService/DeleteVectorBucketPolicy": { role: "admin", about: "bucket", request: BUCKET },

  "quiver.v1.IndexService/CreateIndex": {
    role: "read-write",
    about: "index",
    request: { ...INDEX, dimension: 2, dataType: "DATA_TYPE_FLOAT32", distanceMetric: "DISTANCE_METRIC_EUCLIDEAN" },
  },
  "quiver.v1.IndexService/GetIndex": { role: "read-only", about: "part of index", request: INDEX },
  "quiver.v1.IndexService/ListIndexes": { role: "read-only", about: "part of bucket", request: BUCKET },
  "quiver.v1.IndexService/UpdateIndex": {
    role: "read-write",
    about: "index",
    request: { ...INDEX, deletionProtection: true },
  },
  // It is protected.
  "quiver.v1.IndexService/DeleteIndex": { role: "read-write", about: "index", request: INDEX },
  "quiver.v1.IndexService/GetIndexStats": { role: "read-only", about: "index", request: INDEX },
  "quiver.v1.IndexService/MeasureRecall": {
    role: "read-only",
    about: "namespace",
    request: { ...NAMESPACE, topK: 1, sampleSize: 1 },
  },

  "quiver.v1.NamespaceService/CreateNamespace": { role: "read-write", about: "namespace", request: NAMESPACE },
  "quiver.v1.NamespaceService/GetNamespace": { role: "read-only", about: "namespace", request: NAMESPACE },
  "quiver.v1.NamespaceService/ListNamespaces": { role: "read-only", about: "part of index", request: INDEX },
  "quiver.v1.NamespaceService/DeleteNamespace": { role: "read-write", about: "namespace", request: NAMESPACE },

  "quiver.v1.VectorService/PutVectors": {
    role: "read-write",
    about: "namespace",
    request: { ...NAMESPACE, vectors: VECTORS },
  },
  "quiver.v1.VectorService/UpdateVectors": {
    role: "read-write",
    about: "namespace",
    request: { ...NAMESPACE, updates: [{ key: "k", setMetadata: { m: 2 } }] },
  },
  "quiver.v1.VectorService/GetVectors": {
    role: "read-only",
    about: "namespace",
    request: { ...NAMESPACE, keys: ["k"] },
  },
  "quiver.v1.VectorService/DeleteVectors": {
    role: "read-write",
    about: "namespace",
    request: { ...NAMESPACE, keys: ["absent"] },
  },
  "quiver.v1.VectorService/ListVectors": { role: "read-only", about: "namespace", request: NAMESPACE },
  "quiver.v1.VectorService/QueryVectors": {
    role: "read-only",
    about: "namespace",
    request: { ...NAMESPACE, ...QUERY },
  },
  "quiver.v1.VectorService/BatchQueryVectors": {
    role: "read-only",
    about: "namespace",
    request: { ...NAMESPACE, queries: [QUERY] },
  },
  "quiver.v1.VectorService/ImportVectors": {
    role: "read-write",
    about: "namespace",
    request: { ...NAMESPACE, vectors: VECTORS },
  },
  "quiver.v1.VectorService/ExportVectors": { role: "read-only", about: "namespace", request: NAMESPACE },
  "quiver.v1.VectorService/WatchVectors": { role: "read-only", about: "namespace", request: NAMESPACE },

  "quiver.v1.JobService/StartUpload": {
    role: "read-write",
    about: "namespace",
    request: { ...NAMESPACE, vectors: VECTORS },
  },
  "quiver.v1.JobService/GetJob": {
    role: "read-only",
    about: "namespace",
    request: { jobId: JOB },
    deniedAs: "JOB_NOT_FOUND",
  },
  "quiver.v1.JobService/ListJobs": { role: "read-only", about: "anything", request: {} },
  // It is finished.
  "quiver.v1.JobService/CancelJob": {
    role: "read-write",
    about: "namespace",
    request: { jobId: JOB },
    deniedAs: "JOB_NOT_FOUND",
  },
  "quiver.v1.JobService/WatchJob": {
    role: "read-only",
    about: "namespace",
    request: { jobId: JOB },
    deniedAs: "JOB_NOT_FOUND",
  },

  "quiver.v1.TagService/TagResource": {
    role: "read-write",
    about: "index",
    request: { resourceArn: INDEX_ARN, tags: { a: "b" } },
  },
  "quiver.v1.TagService/UntagResource": {
    role: "read-write",
    about: "index",
    request: { resourceArn: INDEX_ARN, tagKeys: ["none"] },
  },
  "quiver.v1.TagService/ListTagsForResource": {
    role: "read-only",
    about: "index",
    request: { resourceArn: INDEX_ARN },
  },

  "quiver.v1.AdminService/CreateAccessKey": {
    role: "admin",
    about: "server",
    request: { role: "ACCESS_ROLE_READ_ONLY" },
  },
  "quiver.v1.AdminService/RotateAccessKey": {
    role: "admin",
    about: "server",
    request: { accessKeyId: "QKAAAAAAAAAAAAAAAAAA" },
  },
  "quiver.v1.AdminService/ListAccessKeys": { role: "admin", about: "server", request: {} },
  "quiver.v1.AdminService/DeleteAccessKey": {
    role: "admin",
    about: "server",
    request: { accessKeyId: "QKAAAAAAAAAAAAAAAAAA" },
  },
  "quiver.v1.AdminService/CreateBackup": { role: "admin", about: "server", request: {} },
  "quiver.v1.AdminService/ListBackups": { role: "admin", about: "server", request: {} },
  "quiver.v1.AdminService/VerifyStorage": { role: "admin", about: "server", request: {} },
  "quiver.v1.AdminService/GetServerInfo": { role: "read-only", about: "anything", request: {} },

  "VectorService/Upsert": pinecone("read-write", "namespace", {
    namespace: "n",
    vectors: [{ id: "k", values: [1, 2] }],
  }),
  "VectorService/Delete": pinecone("read-write", "namespace", { namespace: "n", ids: ["none"] }),
  "VectorService/Fetch": pinecone("read-only", "namespace", { namespace: "n", ids: ["k"] }),
  "VectorService/FetchByMetadata": pinecone("read-only", "namespace", { namespace: "n", filter: { m: 1 } }),
  "VectorService/List": pinecone("read-only", "namespace", { namespace: "n" }),
  "VectorService/Query": pinecone("read-only", "namespace", { namespace: "n", vector: [1, 2], topK: 1 }),
  "VectorService/Update": pinecone("read-write", "namespace", { namespace: "n", id: "k", setMetadata: { m: 1 } }),
  "VectorService/DescribeIndexStats": pinecone("read-only", "part of index", {}),
  "VectorService/ListNamespaces": pinecone("read-only", "part of index", {}),
  "VectorService/CreateNamespace": pinecone("read-write", "namespace", { name: "n" }),
  "VectorService/DescribeNamespace": pinecone("read-only", "namespace", { namespace: "n" }),
  "VectorService/DeleteNamespace": pinecone("read-write", "namespace", { namespace: "n" }),

  "grpc.health.v1.Health/Check": { role: "everybody", about: "anything", request: {} },
  "grpc.health.v1.Health/List": { role: "everybody", about: "anything", request: {} },
  "grpc.health.v1.Health/Watch": { role: "everybody", about: "anything", request: {} },
  "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": {
    role: "everybody",
    about: "anything",
    request: { listServices: "" },
  },
  "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": {
    role: "everybody",
    about: "anything",
    request: { listServices: "" },
  },
};

function pinecone(role: Role, about: AccessRow["about"], request: JsonObject): AccessRow {
  return { role, about, request, ofDefaultBucket: true };
}

/** The request of a row about OTHERS in place of MINE. */
export function aboutOthers(request: JsonObject): JsonObject {
  return JSON.parse(
    JSON.stringify(request)
      .replaceAll(`bucket/${MINE.bucket}/`, `bucket/${OTHERS.bucket}/`)
      .replaceAll(`"${MINE.bucket}"`, `"${OTHERS.bucket}"`),
  ) as JsonObject;
}
