/** Names of the files of saved graphs, and ways to open them: see saved-graphs.ts. */
import { createHash } from "node:crypto";
import { type FileHandle, open, readdir } from "node:fs/promises";

/** The folder of all saved graphs in the data directory. */
export const GRAPHS = "graphs";
/** How the names of files of keys end. */
export const KEYS = ".keys";
/** Of a graph's file, at its end. */
export const CHECKSUM_BYTES = 4;

/** How the names of the files of a namespace begin. */
export function hashOf(namespace: string): string {
  return createHash("sha256").update(namespace).digest("hex").slice(0, 32);
}

/** Empty when the directory does not exist. */
export async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}

/** Opens a file for the time that `use` takes. */
export async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** The length of a graph's file, and the checksum at its end. */
export function endOf(path: string): Promise<{ bytes: number; checksum: number }> {
  return withFile(path, "r", async (file) => {
    const { size } = await file.stat();
    const end = Buffer.alloc(CHECKSUM_BYTES);
    await file.read(end, 0, end.length, Math.max(0, size - end.length));
    return { bytes: size, checksum: end.readUInt32LE() };
  });
}
