import type { ServiceImpl } from "@connectrpc/connect";
import type { TagService } from "../../../gen/quiver/v1/tag_service_pb.ts";
import type { Service } from "../../service/service.ts";
import { callerOf } from "../call.ts";

export function tagService({ tags }: Service): Partial<ServiceImpl<typeof TagService>> {
  return {
    async tagResource(request, context) {
      await tags.add(callerOf(context), request);
      return {};
    },
    async untagResource(request, context) {
      await tags.remove(callerOf(context), request);
      return {};
    },
    async listTagsForResource(request, context) {
      return { tags: await tags.list(callerOf(context), request) };
    },
  };
}
