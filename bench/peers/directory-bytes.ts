import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** What the files of a directory take on the disk, those of the directories in it included. */
export async function directoryBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  // In blocks of 512 bytes: a file may have holes.
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).blocks),
  );
  return 512 * sizes.reduce((sum, blocks) => sum + blocks, 0);
}
