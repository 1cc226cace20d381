import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import type { Service } from "../../service/service.ts";
import { createInBucket, listBucket } from "../default-bucket.ts";
import type { FacadeAnswer } from "../facade.ts";
import { JsonFields } from "../json-fields.ts";
import { isIndexName, toCreateRequest, toDeletionProtection, toTags } from "./create-index.ts";
import type { DataPlaneOptions } from "./data-plane-call.ts";
import { fromIndex } from "./index-model.ts";

/** A request of the control plane. */
export interface ControlCall {
  readonly caller: Caller;
  /** Of this server, as the client calls it. */
  readonly url: string;
  /** The index in the path; "" when there is none. */
  readonly index: string;
  readonly body: unknown;
}

export type ControlOperation = (call: ControlCall) => Promise<FacadeAnswer>;

/** Create, list, describe, configure, delete. */
export function createIndexOperations(service: Service, { defaultBucket }: DataPlaneOptions) {
  const referTo = (indexName: string) => ({ vectorBucketName: defaultBucket, indexName, indexArn: "" });
  return {
    async createIndex({ caller, url, body }) {
      const request = toCreateRequest(body, defaultBucket);
      await createInBucket(service, caller, request);
      const index = await service.indexes.get(caller, referTo(request.indexName));
      return { status: 201, body: fromIndex(index, url) };
    },

    async listIndexes({ caller, url }) {
      const indexes = await listBucket(service, caller, defaultBucket);
      // Hides indexes of other APIs that no index of Pinecone's can be called like.
      const shown = indexes.filter(({ index }) => isIndexName(index));
      return { status: 200, body: { indexes: shown.map((index) => fromIndex(index, url)) } };
    },

    async describeIndex({ caller, url, index }) {
      return { status: 200, body: fromIndex(await service.indexes.get(caller, referTo(index)), url) };
    },

    async configureIndex({ caller, url, index, body }) {
      const fields = new JsonFields(body);
      for (const name of ["spec", "embed", "schema", "deployment", "read_capacity"]) {
        if (fields.has(name)) throw invalidField(name, "Cannot be changed: there is nothing to scale or to embed with");
      }
      const deletionProtection = toDeletionProtection(fields);
      const tags = toTags(fields) ?? {};
      const { arn } = await service.indexes.get(caller, referTo(index));
      await changeTags(service, caller, arn, tags);
      const changes = { ...referTo(index), deletionProtection, m: 0, efConstruction: 0 };
      return { status: 202, body: fromIndex(await service.indexes.update(caller, changes), url) };
    },

    async deleteIndex({ caller, index }) {
      await service.indexes.delete(caller, referTo(index));
      return { status: 202 };
    },
  } satisfies Record<string, ControlOperation>;
}

async function changeTags(
  service: Service,
  caller: Caller,
  resourceArn: string,
  changes: Readonly<Record<string, string>>,
): Promise<void> {
  const entries = Object.entries(changes);
  const tagKeys = entries.flatMap(([key, value]) => (value === "" ? [key] : []));
  const tags = Object.fromEntries(entries.filter(([, value]) => value !== ""));
  if (tagKeys.length > 0) await service.tags.remove(caller, { resourceArn, tagKeys });
  if (Object.keys(tags).length > 0) await service.tags.add(caller, { resourceArn, tags });
}
