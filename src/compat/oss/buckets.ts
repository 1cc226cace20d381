import { invalidField, quote } from "../../errors.ts";
import type { BucketWithArn } from "../../service/buckets.ts";
import type { ArnScope } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";
import type { FacadeAnswer, FacadeRequest, Operation, RequestHead } from "../facade.ts";
import { hostOf } from "./host.ts";
import { OSS_LIMITS } from "./limits.ts";
import { type BucketRequest, DONE, GONE, onBucket, type Routes } from "./operations.ts";
import { isBucketName } from "./references.ts";

/** The header, and the tag that keeps it: there is nothing else that a resource group does here than to be listed by. */
const RESOURCE_GROUP = "x-oss-resource-group-id";
const TAGGING = "x-oss-bucket-tagging";

/** Vector buckets: put, get, list, delete. */
export function bucketRoutes({ buckets }: Service, scope: ArnScope): Routes {
  const put = async ({ caller, bucket: { vectorBucketName }, head }: BucketRequest): Promise<FacadeAnswer> => {
    const group = headerOf(head, RESOURCE_GROUP);
    const tags = { ...tagsOf(headerOf(head, TAGGING)), ...(group && { [RESOURCE_GROUP]: group }) };
    await buckets.create(caller, { vectorBucketName, tags });
    return DONE;
  };

  const get = async ({ caller, bucket, head }: BucketRequest): Promise<FacadeAnswer> => {
    const found = await buckets.get(caller, bucket);
    return { status: 200, body: { BucketInfo: infoOf(found, scope, head) } };
  };

  const list = async ({ caller, head }: FacadeRequest): Promise<FacadeAnswer> => {
    const query = new URLSearchParams(head.query);
    const prefix = query.get("prefix") ?? "";
    const marker = query.get("marker") ?? "";
    const maxKeys = maxKeysOf(query.get("max-keys"));
    const after = marker === "" ? {} : { after: marker };
    const page = await buckets.list(caller, { prefix, maxResults: maxKeys, nextToken: "", ...after });
    const group = headerOf(head, RESOURCE_GROUP);
    const shown = page.items.filter(
      ({ name, tags }) => isBucketName(name) && (group === undefined || tags[RESOURCE_GROUP] === group),
    );
    const isTruncated = page.nextToken !== "";
    const result = {
      Prefix: prefix,
      Marker: marker,
      MaxKeys: maxKeys,
      IsTruncated: isTruncated,
      NextMarker: isTruncated ? (page.items.at(-1)?.name ?? "") : "",
      Buckets: shown.map((bucket) => infoOf(bucket, scope, head)),
    };
    return { status: 200, body: { ListAllMyBucketsResult: result } };
  };

  return {
    "PUT ": onBucket("PutVectorBucket", "write", put),
    "GET bucketInfo": onBucket("GetVectorBucket", "read", get),
    "GET ": { name: "ListVectorBuckets", kind: "read", maxBytes: 0, serve: list } satisfies Operation,
    "DELETE ": onBucket("DeleteVectorBucket", "write", async ({ caller, bucket }) => {
      await buckets.delete(caller, bucket);
      return GONE;
    }),
  };
}

function infoOf({ name, createdAt, tags }: BucketWithArn, { region, account }: ArnScope, head: RequestHead) {
  const { endpoint } = hostOf(head);
  return {
    Name: `acs:ossvector:${region}:${account}:${name}`,
    Location: `oss-${region}`,
    Region: region,
    CreationDate: new Date(createdAt).toISOString(),
    ExtranetEndpoint: endpoint,
    IntranetEndpoint: endpoint,
    ResourceGroupId: tags[RESOURCE_GROUP],
  };
}

function headerOf({ headers }: RequestHead, name: string): string | undefined {
  const value = headers[name];
  return value === undefined || value === "" ? undefined : `${value}`;
}

/** `a=1&b=2`, percent-encoded. Throws INVALID_FIELD for a key that stands twice. */
function tagsOf(header: string | undefined): Record<string, string> {
  const pairs = [...new URLSearchParams(header ?? "")];
  const tags = Object.fromEntries(pairs);
  if (Object.keys(tags).length === pairs.length) return tags;
  throw invalidField(TAGGING, `Must not have a key twice, got ${quote(header ?? "")}`);
}

function maxKeysOf(given: string | null): number {
  if (given === null || given === "") return OSS_LIMITS.listBucketsDefault;
  const maxKeys = /^\d{1,9}$/.test(given) ? Number(given) : 0;
  if (maxKeys >= 1 && maxKeys <= OSS_LIMITS.listBucketsMax) return maxKeys;
  throw invalidField("max-keys", `Must be 1 to ${OSS_LIMITS.listBucketsMax}, got ${quote(given)}`);
}
