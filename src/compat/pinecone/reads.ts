import type { Vector } from "../../engine/engine.ts";
import { invalidField } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { workTurns } from "../../work-turns.ts";
import { JsonFields } from "../json-fields.ts";
import { orIfAbsent } from "./absent-namespace.ts";
import { fromVector, toFilter, toIds, toLimit, toPartition, USAGE } from "./convert.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { PINECONE_LIMITS } from "./limits.ts";
import { gather, pagination, tokenOf } from "./paging.ts";

/** Fetch and list. */
export function createReadOperations(
  service: Service,
  options: DataPlaneOptions,
): Pick<DataPlane, "fetch" | "fetchByMetadata" | "list"> {
  return {
    async fetch(call) {
      const fields = new JsonFields(call.body);
      const namespace = fields.string("namespace") ?? "";
      const keys = toIds(fields);
      if (keys === undefined) throw invalidField("ids", "Must be at least 1 id");
      const projection = { data: true, metadata: true };
      const request = { ...toPartition(options, call, namespace), keys, projection };
      const { vectors, lsn } = await orIfAbsent(service.vectors.get(call.caller, request), { vectors: [], lsn: 0 });
      call.noteLsn?.(lsn);
      return { vectors: await byId(vectors), namespace, usage: USAGE };
    },

    async fetchByMetadata(call) {
      const fields = new JsonFields(call.body);
      const namespace = fields.string("namespace") ?? "";
      const list = { filter: toFilter(fields), prefix: "", projection: { data: true, metadata: true } };
      const paging = { limit: toLimit(fields, PINECONE_LIMITS.fetchByMetadataMax), token: tokenOf(fields) };
      const partition = { ...toPartition(options, call, namespace), ...WHOLE };
      const page = await gather(paging, (page) =>
        service.vectors.list(call.caller, { ...partition, ...list, ...page }),
      );
      return { vectors: await byId(page.items), namespace, usage: USAGE, ...pagination(page) };
    },

    async list(call) {
      const fields = new JsonFields(call.body);
      const namespace = fields.string("namespace") ?? "";
      const projection = { data: false, metadata: false };
      const list = { filter: undefined, prefix: fields.string("prefix") ?? "", projection };
      const paging = { limit: toLimit(fields, PINECONE_LIMITS.listMax), token: tokenOf(fields) };
      const partition = { ...toPartition(options, call, namespace), ...WHOLE };
      const page = await gather(paging, (page) =>
        service.vectors.list(call.caller, { ...partition, ...list, ...page }),
      );
      return { vectors: page.items.map(({ key }) => ({ id: key })), namespace, usage: USAGE, ...pagination(page) };
    },
  };
}

const WHOLE = { segmentCount: 0, segmentIndex: 0 };

/** Millions of numbers, in turns of the event loop. */
async function byId(vectors: readonly Vector[]) {
  const entries: [string, ReturnType<typeof fromVector>][] = [];
  for (const vector of vectors) {
    await workTurns.next(vector.data?.byteLength ?? 0);
    entries.push([vector.key, fromVector(vector)]);
  }
  return Object.fromEntries(entries);
}
