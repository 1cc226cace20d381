import { invalidField } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { JsonFields } from "../json-fields.ts";
import { orIfAbsent } from "./absent-namespace.ts";
import { toFilter, toId, toIds, toMetadata, toPartition, toSparse, toValues, toVectorInput } from "./convert.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { assertNotSparse } from "./index-kind.ts";
import { PINECONE_LIMITS } from "./limits.ts";

/** Upsert, update, delete. */
export function createWriteOperations(
  service: Service,
  options: DataPlaneOptions,
): Pick<DataPlane, "upsert" | "update" | "delete"> {
  return {
    async upsert(call) {
      const fields = new JsonFields(call.body);
      const partition = toPartition(options, call, fields.string("namespace"));
      const records = fields.items("vectors") ?? [];
      if (records.length < 1 || records.length > PINECONE_LIMITS.upsertRecordsMax) {
        const description = `Must be 1 to ${PINECONE_LIMITS.upsertRecordsMax} records, got ${records.length}`;
        throw invalidField("vectors", description);
      }
      const vectors = records.map(toVectorInput);
      const scalar = vectors.find(({ data }) => data?.length === 1);
      await assertNotSparse(service, call.caller, partition, scalar?.data);
      const request = { ...partition, vectors, onDuplicate: "last_wins", idempotencyKey: "" } as const;
      const { lsn, putCount } = await service.vectors.put(call.caller, request);
      call.noteLsn?.(lsn);
      return { upsertedCount: putCount };
    },

    async update(call) {
      const fields = new JsonFields(call.body);
      const partition = toPartition(options, call, fields.string("namespace"));
      const id = fields.string("id") ?? "";
      const data = toValues(fields, id);
      const sparse = toSparse(fields, "sparseValues");
      const setMetadata = toMetadata(fields, "setMetadata");
      const filter = toFilter(fields);
      if ((id === "") === (filter === undefined)) throw invalidField("id", "Give either id or filter");
      if (filter && (data || sparse))
        throw invalidField("values", "Cannot be given with a filter: only setMetadata can");
      await assertNotSparse(service, call.caller, partition, data);
      const change = filter
        ? { updates: [], filter, setMetadata: setMetadata ?? {} }
        : { updates: [{ key: toId("id", id), data, sparse, setMetadata }], filter, setMetadata: undefined };
      const dryRun = fields.boolean("dryRun") ?? false;
      const request = { ...partition, ...change, dryRun, idempotencyKey: "" };
      const { lsn, matchedCount } = await orIfAbsent(service.vectors.update(call.caller, request), NOTHING);
      call.noteLsn?.(lsn);
      return filter ? { matchedRecords: matchedCount } : {};
    },

    async delete(call) {
      const fields = new JsonFields(call.body);
      const partition = toPartition(options, call, fields.string("namespace"));
      const keys = toIds(fields);
      const all = fields.boolean("deleteAll") ?? false;
      // An empty one deletes nothing: everything goes with deleteAll alone.
      const filter = toFilter(fields);
      if ([keys !== undefined, all, filter !== undefined].filter(Boolean).length !== 1) {
        throw invalidField("ids", "Give exactly one of ids, deleteAll and filter");
      }
      const request = { ...partition, keys: keys ?? [], filter, all, idempotencyKey: "" };
      const { lsn } = await service.vectors.delete(call.caller, request);
      call.noteLsn?.(lsn);
      return {};
    },
  };
}

const NOTHING = Object.freeze({ lsn: 0, matchedCount: 0, updatedCount: 0 });
