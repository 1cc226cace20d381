import { createRequire } from "node:module";
import type { Graph, GraphOptions } from "./hnsw.ts";
import type { Database, OpenOptions } from "./rocksdb.ts";

/** What native/addon.cc exports. `scripts/setup` builds it. */
interface Addon {
  openDatabase(path: string, options: OpenOptions): Promise<Database>;
  listColumnFamilies(path: string): Promise<string[]>;
  createGraph(options: GraphOptions): Graph;
  loadGraph(path: string, options: GraphOptions): Promise<Graph>;
}

export const addon: Addon = createRequire(import.meta.url)("./build/quiver.node");
