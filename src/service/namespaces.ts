import type { Engine, IndexRef, Namespace, Page } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";
import { admitIndex, type ServiceContext } from "./context.ts";
import { listPage, type PageRequest, type PageResult } from "./listing.ts";
import { type IndexReference, resolveNamespace } from "./names.ts";
import type { PartitionReference } from "./partitions.ts";

/** The namespaces of an index: create, look at, list, delete. */
export class Namespaces {
  readonly #engine: Engine;
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#engine = context.engine;
    this.#context = context;
  }

  async create(request: PartitionReference): Promise<Namespace> {
    const ref = admitIndex(this.#context, request);
    const namespace = resolveNamespace(request.namespace);
    if (namespace === "") throw await this.#defaultExists(ref);
    return this.#engine.createNamespace({ ...ref, namespace });
  }

  async get(reference: PartitionReference): Promise<Namespace> {
    const ref = admitIndex(this.#context, reference);
    return this.#engine.getNamespace({ ...ref, namespace: resolveNamespace(reference.namespace) });
  }

  async list(request: IndexReference & PageRequest): Promise<PageResult<Namespace>> {
    const ref = admitIndex(this.#context, request);
    // An index that is deleted and created again does not go on with an old list.
    const { createdAt } = await this.#engine.getIndex(ref);
    const what = ["namespaces", ref.bucket, ref.index, createdAt];
    const read = (options: Parameters<Engine["listNamespaces"]>[1]): Promise<Page<Namespace>> =>
      this.#engine.listNamespaces(ref, options);
    return listPage(what, request, read, ({ name }) => name);
  }

  /** The default namespace is emptied. */
  async delete(reference: PartitionReference): Promise<{ lsn: number; deletedCount: number }> {
    const ref = admitIndex(this.#context, reference);
    return this.#engine.deleteNamespace({ ...ref, namespace: resolveNamespace(reference.namespace) });
  }

  async #defaultExists(ref: IndexRef): Promise<QuiverError> {
    const { bucket, index } = await this.#engine.getIndex(ref);
    return new QuiverError("NAMESPACE_EXISTS", `The default namespace of index "${bucket}/${index}" is always there`, {
      resource: { type: "namespace", name: `${bucket}/${index}/` },
    });
  }
}
