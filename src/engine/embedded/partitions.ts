import { QuiverError } from "../../errors.ts";
import type { Index, IndexRef } from "../engine.ts";
import { Partition } from "./partition.ts";
import type { Records } from "./records.ts";
import { UnusableGraph } from "./set/key-file.ts";
import type { SavedGraphs } from "./set/saved-graphs.ts";
import { SetLoader } from "./set/set-loader.ts";
import { readFailed } from "./storage/store.ts";

export interface PartitionsOptions {
  readonly records: Records;
  /** The index as it is now. */
  readonly config: () => Index;
  /** As in VectorSetOptions. */
  readonly random: (() => number) | undefined;
  readonly saved: SavedGraphs;
}

/** The namespaces of one index. */
export class Partitions {
  readonly #records: Records;
  readonly #config: () => Index;
  readonly #random: (() => number) | undefined;
  readonly #saved: SavedGraphs;
  readonly #partitions = new Map<string, Partition>();

  constructor({ records, config, random, saved }: PartitionsOptions) {
    this.#records = records;
    this.#config = config;
    this.#random = random;
    this.#saved = saved;
  }

  all(): IteratorObject<Partition> {
    return this.#partitions.values();
  }

  /** Also one that a write is about to create. */
  find(namespace: string): Partition | undefined {
    return this.#partitions.get(namespace);
  }

  /** Throws NAMESPACE_NOT_FOUND. */
  get(namespace: string): Partition {
    const partition = this.#partitions.get(namespace);
    if (partition?.recorded) return partition;
    throw namespaceNotFound(this.#config(), namespace);
  }

  /** For a write, which creates the namespace. */
  getOrAdd(namespace: string): Partition {
    return this.#partitions.get(namespace) ?? this.#add(namespace, Date.now());
  }

  /** Forgets a namespace; its partition is the caller's to dispose of. */
  delete(namespace: string): void {
    this.#partitions.delete(namespace);
  }

  /** Forgets a namespace whose first write failed: else refused writes to ever new names would fill the memory. */
  discardUnused(partition: Partition): void {
    if (partition.recorded || partition.isWriting || partition.isDisposed) return;
    this.#partitions.delete(partition.namespace);
    partition.dispose();
  }

  /** Reads everything that is stored, before anything else is done. */
  async load({ isCancelled }: { readonly isCancelled: () => boolean }): Promise<void> {
    this.#add("", this.#config().createdAt).recorded = true;
    for await (const { name, createdAt } of this.#records.namespaces()) this.#add(name, createdAt).recorded = true;
    const restored = await this.#restore(isCancelled);
    const loaded = this.#partitions.entries().filter(([name]) => !restored.includes(name));
    const loaders = new Map(loaded.map(([name, { set }]) => [name, new SetLoader(set)]));
    const loaderOf = (namespace: string) => {
      const loader = loaders.get(namespace);
      if (loader) return loader;
      throw new QuiverError("CORRUPTION", `Namespace "${namespace}" has vectors but no record`);
    };
    await this.#records.load(loaderOf, { but: restored, isCancelled });
    if (isCancelled()) return;
    for (const loader of loaders.values()) loader.finish();
  }

  /** Brings back what has a saved graph that can be used, and answers which namespaces that are. */
  async #restore(isCancelled: () => boolean): Promise<string[]> {
    const restored: string[] = [];
    for (const namespace of this.#saved.namespaces) {
      const partition = this.#partitions.get(namespace);
      if (!partition) await this.#saved.remove(namespace);
      else if (!isCancelled() && (await this.#restorePartition(partition, isCancelled))) restored.push(namespace);
    }
    return restored;
  }

  async #restorePartition(partition: Partition, isCancelled: () => boolean): Promise<boolean> {
    const restorer = await partition.restore(this.#records.assertLoadable);
    if (!restorer) return false;
    try {
      await this.#records.restore(partition.namespace, restorer, isCancelled);
      return true;
    } catch (error) {
      if (!(error instanceof UnusableGraph)) throw error;
      await partition.discardSaved(error);
      return false;
    }
  }

  #add(namespace: string, createdAt: number): Partition {
    const partition = new Partition({
      namespace,
      createdAt,
      settings: () => {
        const { dimension, distanceMetric: metric, m, efConstruction, nonFilterableMetadataKeys } = this.#config();
        const random = this.#random;
        return { dimension, metric, m, efConstruction, nonFilterableKeys: nonFilterableMetadataKeys, random };
      },
      load: async (loader) => {
        const options = { only: namespace, isCancelled: () => loader.isAbandoned };
        await this.#records
          .load(() => loader, options)
          .catch((error: unknown) => {
            throw readFailed(error);
          });
      },
      saved: this.#saved,
    });
    this.#partitions.set(namespace, partition);
    return partition;
  }
}

export function namespaceNotFound({ bucket, index }: IndexRef, namespace: string): QuiverError {
  return new QuiverError("NAMESPACE_NOT_FOUND", `Namespace "${namespace}" does not exist`, {
    resource: { type: "namespace", name: `${bucket}/${index}/${namespace}` },
  });
}
