import { mkdir, readdir, rename, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { QuiverError } from "../../../errors.ts";
import { syncDirectory, syncParent } from "../storage/directory.ts";
import { copyFile, type FileSum, fileFailed, remove, sumFile } from "./files.ts";
import { readHeaderOf } from "./header.ts";
import { bytesOf, DATA, type Manifest, type ManifestFile, readManifest } from "./manifest.ts";

/**
 * Where the files are until all of them are right, in the data directory. By its ending it is taken for a file of a
 * database that has lost its CURRENT: a server that is started there meanwhile refuses instead of making a new one.
 */
export const UNFINISHED = "restore.log";

/** What is not ours in a directory that is empty otherwise: the root of a file system has it. */
const NOT_OURS = "lost+found";

/** The file without which neither RocksDB nor Quiver opens a directory that holds the others. */
const LAST = "CURRENT";

/**
 * Makes a data directory of a backup: copies and compares every file, opens the copy once to prove that it opens, and only
 * then lets it be seen. `data` is empty or absent, its parent exists; else INVALID_FIELD. CORRUPTION names the damaged
 * file, and nothing is left behind.
 */
export async function restoreBackup(backup: string, data: string): Promise<Manifest> {
  const manifest = await readManifest(backup);
  const made = await makeEmpty(data);
  const unfinished = join(data, UNFINISHED);
  try {
    await remove(unfinished);
    await assertRoom(data, bytesOf(manifest.files));
    await mkdir(unfinished);
    for (const file of manifest.files) await copyVerified(join(backup, DATA), unfinished, file);
    const { lsn, formatVersion } = await readHeaderOf(unfinished);
    if (lsn !== manifest.lsn || formatVersion !== manifest.formatVersion) {
      throw new QuiverError(
        "CORRUPTION",
        `The backup "${backup}" ends at lsn ${lsn}, its manifest says ${manifest.lsn}`,
      );
    }
    await show(unfinished, data);
    return manifest;
  } catch (error) {
    await remove(unfinished);
    // What was moved to its place already: there was nothing in it before.
    for (const { name } of manifest.files) await remove(join(data, name));
    if (made) await rmdir(data);
    throw fileFailed(error, `restore into "${data}"`);
  }
}

/** Reads a backup and compares every checksum; the errors, each with the file that it is about. */
export async function verifyBackup(
  backup: string,
): Promise<{ manifest: Manifest; problems: { readonly file: string; readonly error: QuiverError }[] }> {
  const manifest = await readManifest(backup);
  const problems: { file: string; error: QuiverError }[] = [];
  for (const file of manifest.files) {
    try {
      assertSame(join(backup, DATA, file.name), await sumFile(join(backup, DATA, file.name)), file);
    } catch (error) {
      problems.push({ file: join(DATA, file.name), error: readingFailed(error, join(backup, DATA, file.name)) });
    }
  }
  return { manifest, problems };
}

async function copyVerified(from: string, to: string, file: ManifestFile): Promise<void> {
  const source = join(from, file.name);
  const target = join(to, file.name);
  const copied = await copyFile(source, target).catch((error: unknown) => {
    throw (error as NodeJS.ErrnoException).path === source ? readingFailed(error, source) : error;
  });
  assertSame(source, copied, file);
  assertSame(target, await sumFile(target), file);
}

function assertSame(path: string, found: FileSum, expected: FileSum): void {
  if (found.size !== expected.size) {
    throw new QuiverError(
      "CORRUPTION",
      `The file "${path}" is damaged: it has ${found.size} bytes, the manifest says ${expected.size}`,
    );
  }
  if (found.sha256 !== expected.sha256) {
    throw new QuiverError("CORRUPTION", `The file "${path}" is damaged: its SHA-256 is not that of the manifest`);
  }
}

function readingFailed(error: unknown, path: string): QuiverError {
  if (error instanceof QuiverError) return error;
  const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
  const problem = missing ? "is missing" : `cannot be read: ${(error as Error).message}`;
  return new QuiverError("CORRUPTION", `The file "${path}" ${problem}`, { cause: error });
}

/** True when the directory was made; left-overs of an earlier restore do not count as content. */
async function makeEmpty(data: string): Promise<boolean> {
  try {
    await mkdir(data);
    await syncParent(data);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new QuiverError("INVALID_FIELD", `Cannot make "${data}": ${(error as Error).message}`, { cause: error });
    }
  }
  const names = await readdir(data).catch((cause: Error) => {
    throw new QuiverError("INVALID_FIELD", `Cannot restore into "${data}": ${cause.message}`, { cause });
  });
  const content = names.filter((name) => name !== UNFINISHED && name !== NOT_OURS);
  if (content.length === 0) return false;
  throw new QuiverError(
    "INVALID_FIELD",
    `Cannot restore into "${data}": it is not empty, it holds "${content[0]}"; choose an empty or a new directory`,
  );
}

async function assertRoom(data: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(data);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new QuiverError("DISK_FULL", `Cannot restore ${bytes} bytes into "${data}": ${free} bytes are free there`);
}

/** Moves the files to their place. The last one is what makes them a database: after a crash before it, nothing opens. */
async function show(unfinished: string, data: string): Promise<void> {
  const names = (await readdir(unfinished)).filter((name) => name !== LAST);
  for (const name of names) await rename(join(unfinished, name), join(data, name));
  await syncDirectory(data);
  await rename(join(unfinished, LAST), join(data, LAST));
  await remove(unfinished);
  await syncDirectory(data);
}
