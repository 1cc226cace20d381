import { createRequire } from "node:module";
import type { Graph, GraphOptions } from "./hnsw.ts";
import type { Database, Entries, OpenOptions } from "./rocksdb.ts";

/** What native/addon.cc exports. `scripts/setup` builds it. */
interface Addon {
  openDatabase(path: string, options: OpenOptions): Promise<Database>;
  listColumnFamilies(path: string): Promise<string[]>;
  peekDatabase(path: string, keys: readonly Uint8Array[]): Promise<Entries>;
  allocateFile(path: string, bytes: number): Promise<void>;
  checkTable(path: string): Promise<{ readonly columnFamily?: string; readonly damage?: string }>;
  /**
   * Has a crash (SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE) write the texts of these slots to stderr first. A slot has 256
   * bytes: the length of its text, 0 for none, and the text. Once per process.
   */
  keepCrashNotes(slots: Uint8Array): void;
  /** Closes what this thread opened, blocking; pending promises never settle. */
  closeDatabases(): void;
  createGraph(options: GraphOptions): Graph;
  loadGraph(path: string, options: GraphOptions): Promise<Graph>;
  /** Gives freed memory back to the operating system, on another thread; does nothing where malloc is not glibc's. */
  trimMemory(): Promise<void>;
}

/** QUIVER_ADDON names another build of the addon, such as the one with sanitizers. */
export const addon: Addon = createRequire(import.meta.url)(process.env.QUIVER_ADDON ?? "./build/quiver.node");

// process.exit() runs no clean-up hooks of native code, and the threads of an open database do not survive the destructors
// of librocksdb's globals.
process.on("exit", () => addon.closeDatabases());
