import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AccessKeySchema,
  AccessRole,
  type AccessScope,
  type CreateAccessKeyRequest,
  CreateAccessKeyResponseSchema,
  ListAccessKeysResponseSchema,
} from "../../gen/quiver/v1/admin_service_pb.ts";
import type { AccessKey, AccessKeyRequest, IssuedAccessKey } from "../service/access/access-keys.ts";
import type { Role } from "../service/access/actions.ts";
import type * as domain from "../service/access/caller.ts";

/** Access keys to messages of quiver.v1 and back. */

const ROLES: Readonly<Record<Role, AccessRole>> = {
  "read-only": AccessRole.READ_ONLY,
  "read-write": AccessRole.READ_WRITE,
  admin: AccessRole.ADMIN,
};

export function toAccessKey(accessKey: AccessKey): MessageInitShape<typeof AccessKeySchema> {
  const { expiresAt, lastUsedAt, previousUntil } = accessKey;
  return {
    accessKeyId: accessKey.id,
    displayName: accessKey.displayName,
    role: ROLES[accessKey.role],
    scopes: accessKey.scopes.map(({ bucket = "", index = "", namespace }) => ({
      vectorBucketName: bucket,
      indexName: index,
      ...(namespace !== undefined && { namespace }),
    })),
    createTime: timestampFromMs(accessKey.createdAt),
    ...(expiresAt !== undefined && { expireTime: timestampFromMs(expiresAt) }),
    ...(lastUsedAt !== undefined && { lastUseTime: timestampFromMs(lastUsedAt) }),
    allowSigning: accessKey.allowSigning,
    ...(previousUntil !== undefined && { previousSecretExpireTime: timestampFromMs(previousUntil) }),
  };
}

/** The answer to a creation or rotation. */
export function toIssued({ accessKey, secret, apiKey }: IssuedAccessKey) {
  return { accessKey: toAccessKey(accessKey), secretAccessKey: secret, apiKey };
}

export function fromCreateRequest(request: CreateAccessKeyRequest): AccessKeyRequest {
  const { displayName, role, scopes, expireTime, allowSigning } = request;
  const roles = Object.keys(ROLES) as Role[];
  return {
    displayName,
    role: roles.find((name) => ROLES[name] === role),
    scopes: scopes.map(fromScope),
    expiresAt: expireTime && milliseconds(expireTime),
    allowSigning,
  };
}

/** What a creation or rotation answers in JSON. */
export function issuedToJson(issued: IssuedAccessKey) {
  return toJson(CreateAccessKeyResponseSchema, create(CreateAccessKeyResponseSchema, toIssued(issued)));
}

/** What a list answers in JSON. */
export function listToJson({ items, nextToken }: { readonly items: readonly AccessKey[]; readonly nextToken: string }) {
  const answer = create(ListAccessKeysResponseSchema, { accessKeys: items.map(toAccessKey), nextToken });
  return toJson(ListAccessKeysResponseSchema, answer);
}

function fromScope({ vectorBucketName, indexName, namespace }: AccessScope): domain.AccessScope {
  return {
    ...(vectorBucketName !== "" && { bucket: vectorBucketName }),
    ...(indexName !== "" && { index: indexName }),
    ...(namespace !== undefined && { namespace }),
  };
}

/** A part of a millisecond is left out, so that the time is none after the one that was given. */
function milliseconds(time: Timestamp): number {
  return Math.floor(Number(time.seconds) * 1_000 + time.nanos / 1e6);
}
