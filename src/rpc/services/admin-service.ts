import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { AdminService } from "../../../gen/quiver/v1/admin_service_pb.ts";
import { LIMITS } from "../../service/limits.ts";
import type { Service } from "../../service/service.ts";

export function adminService({ admin }: Service): Partial<ServiceImpl<typeof AdminService>> {
  return {
    getServerInfo() {
      const info = admin.serverInfo();
      return {
        serverInfo: {
          version: info.version,
          lsn: BigInt(info.lsn),
          startTime: timestampFromMs(info.startedAt),
          engine: info.engine,
          formats: { storage: info.formatVersion },
          limits: {
            requestBytesMax: BigInt(LIMITS.requestBytesMax),
            batchVectorsMax: LIMITS.batchVectorsMax,
            dimensionMax: LIMITS.dimensionMax,
            keyBytesMax: LIMITS.keyBytesMax,
            metadataBytesMax: LIMITS.metadataBytesMax,
            filterableMetadataBytesMax: LIMITS.filterableMetadataBytesMax,
            metadataKeysMax: LIMITS.metadataKeysMax,
            topKMax: LIMITS.topKMax,
            queryPageMax: LIMITS.queryPageMax,
            listPageMax: LIMITS.listPageMax,
            segmentsMax: LIMITS.segmentsMax,
          },
          readOnly: info.readOnly,
          arnRegion: info.scope.region,
          arnAccount: info.scope.account,
          residentBytes: BigInt(info.residentBytes),
        },
      };
    },
  };
}
