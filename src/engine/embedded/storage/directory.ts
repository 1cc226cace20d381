import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a directory if it is not there. Its parent must be: a disk that is not mounted is not replaced by a new directory
 * in its place. The parent is synced, also after a process that ended in between, or a power cut takes the whole directory.
 */
export async function makeDirectory(path: string): Promise<void> {
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await syncParent(path);
}

/** Makes the name of a file or directory survive a loss of power. */
export async function syncParent(path: string): Promise<void> {
  await syncDirectory(dirname(path)).catch((error: NodeJS.ErrnoException) => {
    // One that may be entered but not read: whoever made what is in it answers for its name.
    if (error.code !== "EACCES") throw error;
  });
}

/** Makes what was created, renamed or removed in a directory survive a loss of power. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, "r");
  await directory.sync();
}
