import type { ServiceImpl } from "@connectrpc/connect";
import type { TagService } from "../../../gen/quiver/v1/tag_service_pb.ts";
import type { Service } from "../../service/service.ts";

export function tagService({ tags }: Service): Partial<ServiceImpl<typeof TagService>> {
  return {
    async tagResource(request) {
      await tags.add(request);
      return {};
    },
    async untagResource(request) {
      await tags.remove(request);
      return {};
    },
    async listTagsForResource(request) {
      return { tags: await tags.list(request) };
    },
  };
}
