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

/** QUIVER_ADDON names another build of the addon, such as the one with sanitizers. */
export const addon: Addon = createRequire(import.meta.url)(process.env.QUIVER_ADDON ?? "./build/quiver.node");
