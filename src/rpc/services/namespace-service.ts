import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { NamespaceService } from "../../../gen/quiver/v1/namespace_service_pb.ts";
import type { Namespace } from "../../engine/engine.ts";
import type { Service } from "../../service/service.ts";
import { callerOf } from "../call.ts";

export function namespaceService({ namespaces }: Service): Partial<ServiceImpl<typeof NamespaceService>> {
  return {
    async createNamespace(request, context) {
      return { namespace: toNamespace(await namespaces.create(callerOf(context), request)) };
    },
    async getNamespace(request, context) {
      return { namespace: toNamespace(await namespaces.get(callerOf(context), request)) };
    },
    async listNamespaces(request, context) {
      const { items, nextToken } = await namespaces.list(callerOf(context), request);
      return { namespaces: items.map(toNamespace), nextToken };
    },
    async deleteNamespace(request, context) {
      const { lsn, deletedCount } = await namespaces.delete(callerOf(context), request);
      return { lsn: BigInt(lsn), deletedCount: BigInt(deletedCount) };
    },
  };
}

function toNamespace({ name, vectorCount, createdAt }: Namespace) {
  return { namespace: name, vectorCount: BigInt(vectorCount), creationTime: timestampFromMs(createdAt) };
}
