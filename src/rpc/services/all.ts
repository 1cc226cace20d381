import { AdminService } from "../../../gen/quiver/v1/admin_service_pb.ts";
import { BucketService } from "../../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../../gen/quiver/v1/index_service_pb.ts";
import { JobService } from "../../../gen/quiver/v1/job_service_pb.ts";
import { NamespaceService } from "../../../gen/quiver/v1/namespace_service_pb.ts";
import { TagService } from "../../../gen/quiver/v1/tag_service_pb.ts";
import { VectorService } from "../../../gen/quiver/v1/vector_service_pb.ts";
import type { Service } from "../../service/service.ts";
import { defineService, type RpcService } from "../define-service.ts";
import { adminService } from "./admin-service.ts";
import { bucketService } from "./bucket-service.ts";
import { indexService } from "./index-service.ts";
import { jobService } from "./job-service.ts";
import { namespaceService } from "./namespace-service.ts";
import { tagService } from "./tag-service.ts";
import { vectorService } from "./vector-service.ts";
import { vectorStreams } from "./vector-stream-service.ts";

/** Every service of quiver.v1; what has no handler answers UNIMPLEMENTED. */
export function createServices(service: Service): RpcService[] {
  return [
    defineService(BucketService, bucketService(service)),
    defineService(IndexService, indexService(service)),
    defineService(NamespaceService, namespaceService(service)),
    defineService(VectorService, { ...vectorService(service), ...vectorStreams(service) }),
    defineService(JobService, jobService(service)),
    defineService(TagService, tagService(service)),
    defineService(AdminService, adminService(service)),
  ];
}
