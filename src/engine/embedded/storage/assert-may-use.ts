import { constants } from "node:fs";
import { access, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { QuiverError } from "../../../errors.ts";
import { GRAPHS } from "../set/saved-files.ts";

const { R_OK, W_OK, X_OK } = constants;

const DIRECTORY = R_OK | W_OK | X_OK;

/**
 * Refuses a data directory, before anything in it is touched, that is another user's: what root makes there its owner cannot
 * read. And one that the user of this process may not use, in one sentence. Throws INVALID_FIELD; one that does not exist is
 * no matter.
 */
export async function assertMayUse(data: string): Promise<void> {
  const found = await stat(data).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw denied(data, data, error);
  });
  // What is no directory is told of by whoever opens it.
  if (!found?.isDirectory()) return;
  if (process.getuid?.() === 0 && found.uid !== 0) {
    const owner = await nameOf(found.uid);
    const how = `run this as that user, such as with: runuser -u ${owner} -- ...`;
    throw new QuiverError("INVALID_FIELD", `The data directory "${data}" belongs to "${owner}": ${how}`);
  }
  await assertAccess(data, data, DIRECTORY);
  const graphs = join(data, GRAPHS);
  const inGraphs = await readdir(graphs, { withFileTypes: true, recursive: true }).catch((error) => {
    if (error.code === "ENOENT") return [];
    throw denied(data, error.path, error);
  });
  for (const entry of [...(await readdir(data, { withFileTypes: true })), ...inGraphs]) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) await assertAccess(data, path, R_OK);
    else if (path.startsWith(graphs)) await assertAccess(data, path, DIRECTORY);
  }
}

async function assertAccess(data: string, path: string, mode: number): Promise<void> {
  await access(path, mode).catch((error: NodeJS.ErrnoException) => {
    // A file that is gone meanwhile is one of a server that uses the directory, which is told of by the lock.
    if (error.code !== "ENOENT") throw denied(data, path, error);
  });
}

function denied(data: string, path: string, cause: NodeJS.ErrnoException): QuiverError {
  return new QuiverError(
    "INVALID_FIELD",
    `Cannot use the data directory "${data}": the user of this process may not read or write "${path}" (${cause.code}); all of it must belong to that user`,
  );
}

/** The name of a user; the number of one without. */
async function nameOf(uid: number): Promise<string> {
  const users = await readFile("/etc/passwd", "utf8").catch(() => "");
  const line = users.split("\n").find((each) => each.split(":")[2] === `${uid}`);
  return line?.split(":")[0] ?? `#${uid}`;
}
