import type { Namespace } from "../../engine/engine.ts";
import { invalidField } from "../../errors.ts";
import type { Caller } from "../../service/access/caller.ts";
import { LIMITS } from "../../service/limits.ts";
import type { IndexReference } from "../../service/names.ts";
import type { Service } from "../../service/service.ts";
import { JsonFields } from "../json-fields.ts";
import { fromNamespace, toFilter, toLimit, toPartition } from "./convert.ts";
import type { DataPlane } from "./data-plane.ts";
import type { DataPlaneOptions } from "./data-plane-call.ts";
import { kindOf } from "./index-kind.ts";
import { PINECONE_LIMITS } from "./limits.ts";
import { pagination, tokenOf } from "./reads.ts";

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
      const namespaces = (await listAll(service, call.caller, reference)).filter(isShown);
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
      const prefix = fields.string("prefix") ?? "";
      const maxResults = toLimit(fields, PINECONE_LIMITS.listMax);
      const request = { ...reference, prefix, maxResults, nextToken: tokenOf(fields) };
      const page = await service.namespaces.list(call.caller, request);
      const namespaces = page.items.filter(isShown).map(fromDescription);
      return { namespaces, ...pagination(page) };
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

/** The names of the metrics. */
export const METRIC_NAMES = Object.freeze({ cosine: "cosine", euclidean: "euclidean", dot_product: "dotproduct" });

/** The default namespace is always there; it is shown once it has records. */
function isShown({ name, vectorCount }: Namespace): boolean {
  return name !== "" || vectorCount > 0;
}

function fromDescription({ name, vectorCount }: Namespace) {
  return { name: fromNamespace(name), recordCount: vectorCount };
}

async function listAll(service: Service, caller: Caller, reference: IndexReference): Promise<readonly Namespace[]> {
  const namespaces: Namespace[] = [];
  for (let nextToken = ""; ; ) {
    const request = { ...reference, prefix: "", maxResults: LIMITS.listPageMax, nextToken };
    const page = await service.namespaces.list(caller, request);
    namespaces.push(...page.items);
    nextToken = page.nextToken;
    if (nextToken === "") return namespaces;
  }
}
