/**
 * The TypeScript client of Quiver, for Node and browsers: `Quiver` for everyday work, and the generated services for
 * everything else.
 */
export * as adminService from "../../gen/quiver/v1/admin_service_pb.ts";
export * as bucketService from "../../gen/quiver/v1/bucket_service_pb.ts";
export * as indexService from "../../gen/quiver/v1/index_service_pb.ts";
export * as jobService from "../../gen/quiver/v1/job_service_pb.ts";
export * as namespaceService from "../../gen/quiver/v1/namespace_service_pb.ts";
export * as resources from "../../gen/quiver/v1/resources_pb.ts";
export * as tagService from "../../gen/quiver/v1/tag_service_pb.ts";
export * as vectorService from "../../gen/quiver/v1/vector_service_pb.ts";
export { reasonOf, registry } from "./error.ts";
export { Bucket, Index, Quiver } from "./quiver.ts";
export type {
  BatchQuery,
  CreateIndexOptions,
  DistanceMetric,
  Filter,
  ListOptions,
  Metadata,
  Projection,
  QueryAnswer,
  QueryOptions,
  QueryTarget,
  QuiverOptions,
  ScoredVector,
  Selection,
  SparseVector,
  StoredVector,
  VectorInput,
  VectorUpdate,
} from "./types.ts";
