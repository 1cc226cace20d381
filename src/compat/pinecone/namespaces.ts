import type { Namespace } from "../../engine/engine.ts";
import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import { LIMITS } from "../../service/limits.ts";
import type { IndexReference } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";
import { JsonFields } from "../json-fields.ts";
import { fromNamespace, toFilter, toLimit, toPartition } from "./convert.ts";
import type { DataPlane, DataPlaneOptions } from "./data-plane-call.ts";
import { kindOf } from "./index-kind.ts";
import { PINECONE_LIMITS } from "./limits.ts";
import { METRIC_NAMES } from "./metrics.ts";
import { pagination, tokenOf } from "./paging.ts";

/** Namespaces, and what is in them. */
export function createNamespaceOperations(
  service: Service,
  options: DataPlaneOptions,
): Pick<
  DataPlane,
  "describeIndexStats" | "listNamespaces" | "createNamespace" | "describeNamespace" | "deleteNamespace"
> {
  return {
    async describeIndexStats(call) {
      if (toFilter(new JsonFields(call.body ?? {}))) {
        const description =
          "Serverless and Starter indexes do not support describing index stats with metadata filtering";
        throw invalidField("filter", description);
      }
      const { namespace: _, ...reference } = toPartition(options, call);
      const index = await service.indexes.get(call.caller, reference);
      const namespaces = await listAll(service, call.caller, { ...reference, prefix: "" });
      const { sparse } = kindOf(index);
      return {
        namespaces: Object.fromEntries(
          namespaces.map(({ name, vectorCount }) => [fromNamespace(name), { vectorCount }]),
        ),
        ...(sparse ? {} : { dimension: index.dimension }),
        indexFullness: 0,
        totalVectorCount: namespaces.reduce((sum, { vectorCount }) => sum + vectorCount, 0),
        metric: METRIC_NAMES[index.distanceMetric],
        vectorType: sparse ? "sparse" : "dense",
        memoryFullness: 0,
        storageFullness: 0,
      };
    },

    async listNamespaces(call) {
      const fields = new JsonFields(call.body ?? {});
      const { namespace: _, ...reference } = toPartition(options, call);
      const list = { ...reference, prefix: fields.string("prefix") ?? "" };
      const { total, token } = toPosition(tokenOf(fields));
      const maxResults = toLimit(fields, PINECONE_LIMITS.listMax);
      const page = await service.namespaces.list(call.caller, { ...list, maxResults, nextToken: token });
      const shown = page.items.filter(isShown);
      const isAll = token === "" && page.nextToken === "";
      const totalCount = isAll ? shown.length : (total ?? (await listAll(service, call.caller, list)).length);
      const nextToken = page.nextToken && `${totalCount}:${page.nextToken}`;
      return { namespaces: shown.map(fromDescription), totalCount, ...pagination({ nextToken }) };
    },

    async createNamespace(call) {
      const fields = new JsonFields(call.body);
      const name = fields.string("name") ?? "";
      if (name === "") throw invalidField("name", "Must not be empty");
      // Every key of metadata can be filtered by, whatever a schema says.
      fields.object("schema");
      return fromDescription(await service.namespaces.create(call.caller, toPartition(options, call, name)));
    },

    async describeNamespace(call) {
      const name = new JsonFields(call.body).string("namespace");
      return fromDescription(await service.namespaces.get(call.caller, toPartition(options, call, name)));
    },

    async deleteNamespace(call) {
      const name = new JsonFields(call.body).string("namespace");
      const { lsn } = await service.namespaces.delete(call.caller, toPartition(options, call, name));
      call.noteLsn?.(lsn);
      return {};
    },
  };
}

/** The default namespace is always there; it is shown once it has records. */
function isShown({ name, vectorCount }: Namespace): boolean {
  return name !== "" || vectorCount > 0;
}

function fromDescription({ name, vectorCount }: Namespace) {
  return { name: fromNamespace(name), recordCount: vectorCount };
}

/** How many namespaces there are is counted once, and goes from page to page. */
function toPosition(token: string): { readonly total: number | undefined; readonly token: string } {
  const [, total, rest] = /^(\d{1,9}):(.*)$/s.exec(token) ?? [];
  return rest === undefined ? { total: undefined, token } : { total: Number(total), token: rest };
}

/** Those that are shown. */
async function listAll(
  service: Service,
  caller: Caller,
  list: IndexReference & { readonly prefix: string },
): Promise<readonly Namespace[]> {
  const namespaces: Namespace[] = [];
  for (let nextToken = ""; ; ) {
    const page = await service.namespaces.list(caller, { ...list, maxResults: LIMITS.listPageMax, nextToken });
    namespaces.push(...page.items.filter(isShown));
    nextToken = page.nextToken;
    if (nextToken === "") return namespaces;
  }
}
