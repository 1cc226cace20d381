/**
 * Saved graphs in the data directory, so that a start need not build them anew:
 *
 *     graphs/<column family>/<hash>-<random UUID>.graph    vectors and links, see native/graph-file.h
 *     graphs/<column family>/<hash>.keys                   see key-file.ts
 *
 * `hash` are the first 32 hexadecimal digits of the SHA-256 of the namespace. The file of keys names its file of the graph
 * and takes its name last, with a rename: whatever has another name, or is not named by a file of keys, is left over from
 * a save that was cut short. A saved graph is a cache: where there is any doubt it is removed, and the graph is built anew.
 */
import { randomUUID } from "node:crypto";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Graph, loadGraph } from "../../../../native/hnsw.ts";
import { QuiverError } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";
import { countBits } from "../../../filter/bitmap.ts";
import { syncDirectory } from "../storage/directory.ts";
import { type KeyFileHeader, readKeyFileHeader, readKeyTable, UnusableGraph, writeKeyFile } from "./key-file.ts";
import { endOf, GRAPHS, hashOf, KEYS, namesIn, withFile } from "./saved-files.ts";
import { checkSavedGraphs, type SavedGraphCheck } from "./saved-graph-check.ts";
import { type KeyTable, VectorSet, type VectorSetOptions } from "./vector-set.ts";

export interface SavedGraphsOptions {
  /** The data directory. */
  readonly path: string;
  /** Hears of saved graphs that cannot be used, and are removed. */
  readonly onUnusable: (message: string, error: unknown) => void;
}

/** The saved graphs of one index. */
export class SavedGraphs {
  readonly #data: string;
  readonly #columnFamily: string;
  readonly #directory: string;
  readonly #onUnusable: SavedGraphsOptions["onUnusable"];
  /** By namespace: the name of the graph's file. */
  readonly #files: Map<string, string>;

  constructor(columnFamily: string, files: Map<string, string>, { path, onUnusable }: SavedGraphsOptions) {
    this.#data = path;
    this.#columnFamily = columnFamily;
    this.#directory = join(path, GRAPHS, columnFamily);
    this.#files = files;
    this.#onUnusable = onUnusable;
  }

  /** The namespaces that have a saved graph. */
  get namespaces(): readonly string[] {
    return [...this.#files.keys()];
  }

  has(namespace: string): boolean {
    return this.#files.has(namespace);
  }

  /**
   * The saved set of a namespace, still without metadata and sparse values, and the lsn of its moment. Undefined when
   * there is none that can be used; the files of one that cannot are removed. Rejects as `assertLoadable` does, which
   * refuses to load so many bytes into memory.
   */
  async load(
    namespace: string,
    options: VectorSetOptions,
    assertLoadable: (bytes: number) => Promise<void>,
  ): Promise<{ set: VectorSet; lsn: number } | undefined> {
    if (!this.has(namespace)) return undefined;
    try {
      return await this.#load(namespace, options, assertLoadable);
    } catch (error) {
      if (error instanceof QuiverError) throw error;
      await this.discard(namespace, error);
      return undefined;
    }
  }

  /**
   * Writes the graph and the keys of a set. `moment` is called in one turn: the set, and the lsn of the last write that
   * it shows; `isWanted` is asked before the files take the place of those before.
   */
  async save(
    namespace: string,
    moment: () => { readonly set: VectorSet; readonly lsn: number },
    { isWanted }: { readonly isWanted: () => boolean },
  ): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const graphFile = `${hashOf(namespace)}-${randomUUID()}.graph`;
    const graphPath = join(this.#directory, graphFile);
    const keyPath = this.#keyPathOf(namespace);
    const temporary = `${keyPath}.tmp`;
    try {
      const { set, lsn } = moment();
      const { nodes } = set;
      const table = set.copyKeys();
      const described = describe(set, table);
      failpoint("before-save-graph");
      await set.graph.save(graphPath);
      failpoint("after-save-graph");
      const graph = { file: graphFile, ...(await endOf(graphPath)) };
      const header = { columnFamily: this.#columnFamily, namespace, lsn, ...described, graph };
      await withFile(temporary, "w", async (file) => {
        await writeKeyFile(file, header, table);
        await file.sync();
      });
      if (!isWanted()) throw new UnusableGraph("it is not wanted any more");
      failpoint("before-rename-keys");
      await rename(temporary, keyPath);
      failpoint("after-rename-keys");
      set.savedNodes = nodes;
    } catch (error) {
      for (const path of [graphPath, temporary]) await rm(path, { force: true });
      throw error;
    }
    const before = this.#files.get(namespace);
    this.#files.set(namespace, graphFile);
    await syncDirectory(this.#directory);
    if (before !== undefined) await rm(join(this.#directory, before), { force: true });
  }

  /** Removes the saved graph of a namespace, if there is one. */
  async remove(namespace: string): Promise<void> {
    const graphFile = this.#files.get(namespace);
    if (graphFile === undefined) return;
    this.#files.delete(namespace);
    // Without its file of keys the other is nothing.
    await rm(this.#keyPathOf(namespace), { force: true });
    failpoint("after-remove-keys");
    await rm(join(this.#directory, graphFile), { force: true });
  }

  /** Removes a saved graph that cannot be used, and tells why. */
  async discard(namespace: string, error: unknown): Promise<void> {
    const path = this.#keyPathOf(namespace);
    this.#onUnusable(`Cannot use the saved graph "${path}": ${(error as Error).message}; it is built anew`, error);
    await this.remove(namespace).catch(() => {});
  }

  /** Removes everything that is saved of the index, which is deleted. */
  async removeAll(): Promise<void> {
    this.#files.clear();
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Reads all that is saved of the index whole, as files: none is used, none is removed. */
  check(): Promise<SavedGraphCheck> {
    return checkSavedGraphs(this.#data, this.#columnFamily);
  }

  async #load(
    namespace: string,
    options: VectorSetOptions,
    assertLoadable: (bytes: number) => Promise<void>,
  ): Promise<{ set: VectorSet; lsn: number }> {
    return withFile(this.#keyPathOf(namespace), "r", async (file) => {
      const keyFile = await readKeyFileHeader(file);
      const { header } = keyFile;
      this.#assertFits(namespace, header, options);
      await assertLoadable(header.graph.bytes + (await file.stat()).size);
      const loading = this.#loadGraph(header, options);
      // Heard of below, unless reading the keys fails before.
      loading.catch(() => {});
      try {
        const { keys, ...table } = await readKeyTable(file, keyFile);
        const chunks: (string | undefined)[][] = [];
        for await (const chunk of keys) chunks.push(chunk);
        const set = VectorSet.over(await loading, table, options);
        for (const chunk of chunks) {
          set.adoptKeys(chunk);
          await setImmediate();
        }
        const { indexed, unindexed } = set.graphStats;
        const withData = countBits(table.withData);
        if (set.size !== header.live || withData !== header.withData || withData !== indexed + unindexed) {
          throw new UnusableGraph("its keys do not fit its graph");
        }
        if (header.recall) set.recall.model.resume(header.recall);
        return { set, lsn: header.lsn };
      } catch (error) {
        await loading.then(
          (graph) => graph.dispose(),
          () => {},
        );
        throw error;
      }
    });
  }

  async #loadGraph({ graph }: KeyFileHeader, options: VectorSetOptions): Promise<Graph> {
    const path = join(this.#directory, graph.file);
    const { bytes, checksum } = await endOf(path);
    if (bytes !== graph.bytes || checksum !== graph.checksum) throw new UnusableGraph("its graph is another one");
    return loadGraph(path, options);
  }

  #assertFits(namespace: string, header: KeyFileHeader, { dimension, metric, m, efConstruction }: VectorSetOptions) {
    const isOfIndex = header.columnFamily === this.#columnFamily && header.namespace === namespace;
    if (!isOfIndex) throw new UnusableGraph("it belongs to other vectors");
    const isAlike = header.dimension === dimension && header.metric === metric;
    if (!isAlike) throw new UnusableGraph("its vectors have another dimension or metric");
    const isCurrent = header.m === (m ?? null) && header.efConstruction === (efConstruction ?? null);
    if (!isCurrent) throw new UnusableGraph("the index has other parameters for graphs since");
  }

  #keyPathOf(namespace: string): string {
    return join(this.#directory, `${hashOf(namespace)}${KEYS}`);
  }
}

/**
 * Looks through all saved graphs, before anything is written to the store: removes what is left over, what belongs to no
 * column family, and what shows writes after `lsn`, the last that the store has. Then answers those of an index.
 */
export async function openSavedGraphs(
  options: SavedGraphsOptions,
  { columnFamilies, lsn }: { readonly columnFamilies: ReadonlySet<string>; readonly lsn: number },
): Promise<(columnFamily: string) => SavedGraphs> {
  const root = join(options.path, GRAPHS);
  const saved = new Map<string, Map<string, string>>();
  for (const folder of await namesIn(root)) {
    if (columnFamilies.has(folder)) saved.set(folder, await tidy(join(root, folder), { lsn, ...options }));
    else await rm(join(root, folder), { recursive: true, force: true });
  }
  return (columnFamily) => new SavedGraphs(columnFamily, saved.get(columnFamily) ?? new Map(), options);
}

/** The graph's file by namespace, of those that may be used; the others are removed. */
async function tidy(
  directory: string,
  { lsn, onUnusable }: { readonly lsn: number; readonly onUnusable: SavedGraphsOptions["onUnusable"] },
): Promise<Map<string, string>> {
  const names = await namesIn(directory);
  const files = new Map<string, string>();
  const used = new Set<string>();
  for (const name of names.filter((each) => each.endsWith(KEYS))) {
    const path = join(directory, name);
    try {
      const { header } = await withFile(path, "r", readKeyFileHeader);
      if (name !== `${hashOf(header.namespace)}${KEYS}`) throw new UnusableGraph("it has another's name");
      if (header.lsn > lsn) throw new UnusableGraph(`it shows write ${header.lsn}, the store's last is ${lsn}`);
      files.set(header.namespace, header.graph.file);
      used.add(name).add(header.graph.file);
    } catch (error) {
      onUnusable(`Cannot use the saved graph "${path}": ${(error as Error).message}; it is built anew`, error);
    }
  }
  const unused = names.filter((name) => !used.has(name));
  for (const name of unused) await rm(join(directory, name), { recursive: true, force: true });
  // A removed one must not come back once the store has come to its lsn.
  if (unused.length > 0) await syncDirectory(directory);
  return files;
}

function describe(set: VectorSet, { keys, withData }: KeyTable) {
  const { dimension, metric, m, efConstruction } = set;
  return {
    ...{ dimension, metric, m: m ?? null, efConstruction: efConstruction ?? null },
    ...{ ordinals: keys.length, live: set.size, withData: countBits(withData), keyBytes: set.keyBytes },
    recall: set.recall.model.measured ?? null,
  };
}
