import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AccessKeySchema,
  AccessRole,
  type AccessScope,
  type CreateAccessKeyRequest,
  CreateAccessKeyRequestSchema,
  CreateAccessKeyResponseSchema,
  ListAccessKeysResponseSchema,
} from "../../gen/quiver/v1/admin_service_pb.ts";
import type { AccessKey, AccessKeyRequest, IssuedAccessKey } from "../service/access/access-keys.ts";
import type { Role } from "../service/access/actions.ts";
import type * as domain from "../service/access/caller.ts";
import type { PageResult } from "../service/listing.ts";

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
    scopes: accessKey.scopes.map(toScope),
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

/** An access key in JSON; what is false, empty or absent is left out. */
export interface AccessKeyJson {
  readonly accessKeyId: string;
  readonly displayName?: string;
  readonly role?: string;
  readonly scopes?: readonly {
    readonly vectorBucketName?: string;
    readonly indexName?: string;
    readonly namespace?: string;
  }[];
  /** Times as RFC 3339. */
  readonly createTime?: string;
  readonly expireTime?: string;
  readonly lastUseTime?: string;
  readonly allowSigning?: boolean;
  readonly previousSecretExpireTime?: string;
}

/** What a creation or rotation answers in JSON. */
export interface IssuedJson {
  readonly accessKey?: AccessKeyJson;
  readonly secretAccessKey?: string;
  readonly apiKey?: string;
}

/** What a list answers in JSON. */
export interface ListJson {
  readonly accessKeys?: readonly AccessKeyJson[];
  readonly nextToken?: string;
}

export function issuedToJson(issued: IssuedAccessKey): IssuedJson {
  const answer = create(CreateAccessKeyResponseSchema, toIssued(issued));
  return toJson(CreateAccessKeyResponseSchema, answer) as unknown as IssuedJson;
}

export function listToJson({ items, nextToken }: PageResult<AccessKey>): ListJson {
  const answer = create(ListAccessKeysResponseSchema, { accessKeys: items.map(toAccessKey), nextToken });
  return toJson(ListAccessKeysResponseSchema, answer) as unknown as ListJson;
}

/** The request that `fromCreateRequest` makes this of, in JSON. */
export function createRequestToJson({ role, scopes, expiresAt, ...rest }: AccessKeyRequest): object {
  const request = create(CreateAccessKeyRequestSchema, {
    ...rest,
    ...(role && { role: ROLES[role] }),
    scopes: scopes.map(toScope),
    ...(expiresAt !== undefined && { expireTime: timestampFromMs(expiresAt) }),
  });
  return toJson(CreateAccessKeyRequestSchema, request) as object;
}

function toScope({ bucket = "", index = "", namespace }: domain.AccessScope) {
  return { vectorBucketName: bucket, indexName: index, ...(namespace !== undefined && { namespace }) };
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
