import type { Service } from "../../service/service.ts";
import type { FacadeRequest, Operation } from "../facade.ts";
import { percentDecoded } from "../percent-decoded.ts";
import { tagsError } from "./errors.ts";
import { Input } from "./input.ts";
import { S3_LIMITS } from "./limits.ts";
import { assertTagKeys, tagsOf } from "./tag-rules.ts";

/** The operations on tags, by their method: the ARN of the resource is the last part of the path. */
export function tagOperations({ tags }: Service): ReadonlyMap<string, Operation> {
  return new Map<string, Operation>([
    [
      "POST",
      {
        name: "TagResource",
        kind: "write",
        maxBytes: S3_LIMITS.requestBytesMax,
        async serve(request) {
          const { input, resourceArn } = read(request);
          const added = tagsOf(input);
          input.require("tags", input.fields.has("tags"));
          input.assertValid();
          await tags.add(request.caller, { resourceArn, tags: added }).catch((thrown: unknown) => {
            throw tagsError(thrown);
          });
          return { status: 200, body: {} };
        },
      },
    ],
    [
      "GET",
      {
        name: "ListTagsForResource",
        kind: "read",
        maxBytes: 0,
        async serve(request) {
          const { input, resourceArn } = read(request);
          input.assertValid();
          return { status: 200, body: { tags: await tags.list(request.caller, { resourceArn }) } };
        },
      },
    ],
    [
      "DELETE",
      {
        name: "UntagResource",
        kind: "write",
        maxBytes: 0,
        async serve(request) {
          const { input, resourceArn } = read(request);
          const tagKeys = new URLSearchParams(request.head.query).getAll("tagKeys");
          input.require("tagKeys", tagKeys.length > 0);
          assertTagKeys(input, tagKeys);
          input.assertValid();
          await tags.remove(request.caller, { resourceArn, tagKeys });
          return { status: 200, body: {} };
        },
      },
    ],
  ]);
}

function read({ head, body, note }: FacadeRequest): { input: Input; resourceArn: string } {
  const input = new Input(body ?? {});
  const resourceArn = lastPartOf(head.path);
  input.text("resourceArn", resourceArn, { length: S3_LIMITS.resourceArn });
  note(resourceArn);
  return { input, resourceArn };
}

/** As it was sent where it is encoded wrongly: it is no ARN. */
function lastPartOf(path: string): string {
  const part = path.slice(path.lastIndexOf("/") + 1);
  return percentDecoded(part) ?? part;
}
