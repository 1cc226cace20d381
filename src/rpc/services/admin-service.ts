import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, StorageState } from "../../../gen/quiver/v1/admin_service_pb.ts";
import type { Backup, HealthState } from "../../engine/engine.ts";
import { shuttingDown } from "../../errors.ts";
import { LIMITS } from "../../service/limits.ts";
import type { Service } from "../../service/service.ts";
import { callerOf, callKey } from "../call.ts";
import { fromCreateRequest, toAccessKey, toIssued } from "../convert-access-key.ts";
import { endOfCall } from "../end-of-call.ts";
import { toStatus } from "../error.ts";
import { untilAborted } from "../until-aborted.ts";

export function adminService({ admin, accessKeys, backups }: Service): ServiceImpl<typeof AdminService> {
  return {
    async createAccessKey(request, context) {
      return toIssued(await accessKeys.create(callerOf(context), fromCreateRequest(request)));
    },
    async rotateAccessKey({ accessKeyId: id, overlapSeconds }, context) {
      return toIssued(await accessKeys.rotate(callerOf(context), { id, overlapSeconds }));
    },
    async listAccessKeys(request, context) {
      const { items, nextToken } = await accessKeys.list(callerOf(context), request);
      return { accessKeys: items.map(toAccessKey), nextToken };
    },
    async deleteAccessKey({ accessKeyId }, context) {
      await accessKeys.delete(callerOf(context), accessKeyId);
      return {};
    },
    async createBackup({ displayName }, context) {
      const { shutdown } = context.values.get(callKey);
      const creating = backups.create(callerOf(context), { displayName, signal: endOfCall(context) });
      return { backup: toBackup(await untilAborted(creating, shutdown, shuttingDown)) };
    },
    async listBackups(request, context) {
      const { items, nextToken } = await backups.list(callerOf(context), request);
      return { backups: items.map(toBackup), nextToken };
    },
    async verifyStorage(request, context) {
      const { shutdown } = context.values.get(callKey);
      const verifying = admin.verify(callerOf(context), { ...request, signal: endOfCall(context) });
      const { problems, files, bytes, vectors, lsn } = await untilAborted(verifying, shutdown, shuttingDown);
      return {
        intact: problems.length === 0,
        problems: problems.map(({ file, index, error }) => ({
          file: file ?? "",
          vectorBucketName: index?.bucket ?? "",
          indexName: index?.index ?? "",
          status: toStatus(error),
        })),
        fileCount: BigInt(files),
        bytes: BigInt(bytes),
        vectorCount: BigInt(vectors),
        lsn: BigInt(lsn),
      };
    },
    async getServerInfo(_, context) {
      const info = await admin.serverInfo(callerOf(context));
      return {
        serverInfo: {
          version: info.version,
          lsn: BigInt(info.lsn),
          startTime: timestampFromMs(info.startedAt),
          engine: info.engine,
          formats: { storage: info.formatVersion, graph: info.graphFormatVersion ?? 0 },
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

function toBackup({ id, displayName, createdAt, lsn, bytes, path, formatVersion }: Backup) {
  return {
    backupId: id,
    displayName,
    createTime: timestampFromMs(createdAt),
    lsn: BigInt(lsn),
    sizeBytes: BigInt(bytes),
    path,
    storageFormatVersion: formatVersion,
  };
}

const STATES: Readonly<Record<HealthState, StorageState>> = {
  healthy: StorageState.HEALTHY,
  read_only: StorageState.READ_ONLY,
  failed: StorageState.FAILED,
};
