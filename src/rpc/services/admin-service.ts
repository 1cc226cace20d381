import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, StorageState } from "../../../gen/quiver/v1/admin_service_pb.ts";
import type { HealthState } from "../../engine/engine.ts";
import { LIMITS } from "../../service/limits.ts";
import type { Service } from "../../service/service.ts";
import { toStatus } from "../error.ts";

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
          readOnly: info.health.state === "read_only",
          arnRegion: info.scope.region,
          arnAccount: info.scope.account,
          residentBytes: BigInt(info.memory.resident),
          storageHealth: {
            state: STATES[info.health.state],
            problems: info.health.problems.map((problem) => toStatus(problem)),
          },
          memory: {
            limitBytes: BigInt(info.memory.limit),
            residentBytes: BigInt(info.memory.resident),
            vectorBytes: BigInt(info.memory.vectors),
            graphBytes: BigInt(info.memory.graph),
            keyBytes: BigInt(info.memory.keys),
            metadataBytes: BigInt(info.memory.metadata),
            storeBytes: BigInt(info.memory.store),
          },
          disk: {
            totalBytes: BigInt(info.disk.total),
            freeBytes: BigInt(info.disk.free),
            reserveBytes: BigInt(info.disk.reserve),
          },
        },
      };
    },
  };
}

const STATES: Readonly<Record<HealthState, StorageState>> = {
  healthy: StorageState.HEALTHY,
  read_only: StorageState.READ_ONLY,
  failed: StorageState.FAILED,
};
