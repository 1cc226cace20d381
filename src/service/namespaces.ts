import type { Engine, IndexRef, Namespace, Page } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";
import type { Caller } from "./access/caller.ts";
import { onlyAllowed } from "./access/only-allowed.ts";
import { admitIndex, type ServiceContext } from "./context.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import type { IndexReference } from "./names.ts";
import { admitPartition, type PartitionReference } from "./partitions.ts";

/** The namespaces of an index: create, look at, list, delete. */
export class Namespaces {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async create(caller: Caller, request: PartitionReference): Promise<Namespace> {
    const partition = await admitPartition(this.#context, { caller, action: "CreateNamespace" }, request);
    if (partition.namespace === "") throw await this.#defaultExists(partition);
    return this.#engine.createNamespace(partition);
  }

  async get(caller: Caller, reference: PartitionReference): Promise<Namespace> {
    const partition = await admitPartition(this.#context, { caller, action: "GetNamespace" }, reference);
    return this.#engine.getNamespace(partition);
  }

  /** Those that the caller may look at. */
  async list(caller: Caller, request: IndexReference & PageRequest): Promise<PageResult<Namespace>> {
    const ref = await admitIndex(this.#context, { caller, action: "ListNamespaces" }, request);
    // An index that is deleted and created again does not go on with an old list.
    const { createdAt } = await this.#engine.getIndex(ref);
    const what = ["namespaces", ref.bucket, ref.index, createdAt];
    const read = (options: Parameters<Engine["listNamespaces"]>[1]): Promise<Page<Namespace>> =>
      this.#engine.listNamespaces(ref, options);
    const isAllowed = ({ name: namespace }: Namespace) =>
      this.#context.authorizer.may(caller, "GetNamespace", { ...ref, namespace });
    return listPage(what, request, onlyAllowed(read, nameOf, isAllowed), nameOf);
  }

  /** The default namespace is emptied. */
  async delete(caller: Caller, reference: PartitionReference): Promise<{ lsn: number; deletedCount: number }> {
    const partition = await admitPartition(this.#context, { caller, action: "DeleteNamespace" }, reference);
    return this.#engine.deleteNamespace(partition);
  }

  async #defaultExists(ref: IndexRef): Promise<QuiverError> {
    const { bucket, index } = await this.#engine.getIndex(ref);
    return new QuiverError("NAMESPACE_EXISTS", `The default namespace of index "${bucket}/${index}" is always there`, {
      resource: { type: "namespace", name: `${bucket}/${index}/` },
    });
  }
}

function nameOf({ name }: Namespace): string {
  return name;
}
