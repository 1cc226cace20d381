import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { NamespaceService } from "../../../gen/quiver/v1/namespace_service_pb.ts";
import type { Namespace } from "../../engine/engine.ts";
import type { Service } from "../../service/service.ts";

export function namespaceService({ namespaces }: Service): Partial<ServiceImpl<typeof NamespaceService>> {
  return {
    async createNamespace(request) {
      return { namespace: toNamespace(await namespaces.create(request)) };
    },
    async getNamespace(request) {
      return { namespace: toNamespace(await namespaces.get(request)) };
    },
    async listNamespaces(request) {
      const { items, nextToken } = await namespaces.list(request);
      return { namespaces: items.map(toNamespace), nextToken };
    },
    async deleteNamespace(request) {
      const { lsn, deletedCount } = await namespaces.delete(request);
      return { lsn: BigInt(lsn), deletedCount: BigInt(deletedCount) };
    },
  };
}

function toNamespace({ name, vectorCount, createdAt }: Namespace) {
  return { namespace: name, vectorCount: BigInt(vectorCount), creationTime: timestampFromMs(createdAt) };
}
