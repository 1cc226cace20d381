import assert from "node:assert/strict";
import { type IndexModel, PartitionModel } from "./model.ts";
import { type Context, createOperation, type Operation } from "./operation.ts";
import { indexFields, pickPlace, placeFields } from "./places.ts";
import { allPages, sortedNames } from "./resource-operations.ts";

export function createNamespace(context: Context): Operation | undefined {
  const { model } = context;
  const place = pickPlace(context);
  if (place.namespace === "") return undefined;
  const request = { ...indexFields(context, place), namespace: place.namespace };
  return createOperation({
    method: "NamespaceService/CreateNamespace",
    request,
    effect: "alone",
    call: (clients) => clients.namespaces.createNamespace(request),
    refusal: () => model.missingIndex(place) ?? (model.findPartition(place) ? "NAMESPACE_EXISTS" : undefined),
    accept: ({ namespace }) => {
      assert.deepEqual([namespace?.namespace, Number(namespace?.vectorCount)], [place.namespace, 0]);
      model.openPartition(place);
    },
  });
}

export function getNamespace(context: Context): Operation {
  const { model } = context;
  const place = pickPlace(context);
  const request = placeFields(context, place);
  return createOperation({
    method: "NamespaceService/GetNamespace",
    request,
    effect: "alone",
    call: (clients) => clients.namespaces.getNamespace(request),
    refusal: () => model.missingPartition(place),
    accept: ({ namespace }) => {
      const count = model.findPartition(place)?.vectors.size;
      assert.deepEqual([namespace?.namespace, Number(namespace?.vectorCount)], [place.namespace, count]);
    },
  });
}

export function listNamespaces(context: Context): Operation {
  const { random, model } = context;
  const place = pickPlace(context);
  const prefix = random.pick(["", "", "n", "N-"]);
  const request = { ...indexFields(context, place), prefix, maxResults: random.below(3) };
  const counts = new Map<string, number>();
  return createOperation({
    method: "NamespaceService/ListNamespaces",
    request,
    effect: "alone",
    call: async (clients) => ({
      names: await allPages(async (nextToken) => {
        const page = await clients.namespaces.listNamespaces({ ...request, nextToken });
        for (const { namespace, vectorCount } of page.namespaces) counts.set(namespace, Number(vectorCount));
        return { names: page.namespaces.map(({ namespace }) => namespace), nextToken: page.nextToken };
      }),
    }),
    refusal: () => model.missingIndex(place),
    accept: ({ names }) => {
      const { partitions } = model.findIndex(place) as IndexModel;
      assert.deepEqual(names, sortedNames(partitions.keys(), prefix));
      for (const name of names)
        assert.equal(counts.get(name), partitions.get(name)?.vectors.size, `count of "${name}"`);
    },
  });
}

export function deleteNamespace(context: Context): Operation | undefined {
  const { model } = context;
  const place = pickPlace(context, { exists: true });
  if (place.bucket === "big") return undefined;
  const request = placeFields(context, place);
  return createOperation({
    method: "NamespaceService/DeleteNamespace",
    request,
    effect: "alone",
    call: (clients) => clients.namespaces.deleteNamespace(request),
    refusal: () => {
      if (model.missingPartition(place)) return model.missingPartition(place);
      return model.findIndex(place)?.deletionProtection ? "DELETION_PROTECTED" : undefined;
    },
    accept: ({ lsn, deletedCount }) => {
      const index = model.findIndex(place) as IndexModel;
      const partition = model.findPartition(place) as PartitionModel;
      assert.equal(Number(deletedCount), partition.vectors.size);
      assert.ok(partition.vectors.size > 0 ? lsn > context.floor : lsn >= context.floor, `lsn ${lsn}`);
      const emptied = new PartitionModel();
      model.wrote(emptied, lsn);
      // Without a vector to delete there is nothing that a watch would have to tell.
      if (partition.vectors.size === 0) emptied.lsn = partition.lsn;
      if (place.namespace === "") index.partitions.set("", emptied);
      else index.partitions.delete(place.namespace);
      model.forget(place);
    },
  });
}
