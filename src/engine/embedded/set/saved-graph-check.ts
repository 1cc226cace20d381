import { stat } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { readKeyFileHeader, readKeyTable, UnusableGraph } from "./key-file.ts";
import { CHECKSUM_BYTES, endOf, GRAPHS, hashOf, KEYS, namesIn, withFile } from "./saved-files.ts";

const READ_BYTES = 4 * 1024 * 1024;

/** What was read of saved graphs, and which files of them are damaged. */
export interface SavedGraphCheck {
  files: number;
  bytes: number;
  /** `file` is relative to the data directory; `message` a sentence. */
  readonly damages: { readonly file: string; readonly message: string }[];
}

/** Whether a file, relative to the data directory, is one of a saved graph. */
export function isOfSavedGraph(file: string): boolean {
  return file.startsWith(`${GRAPHS}/`);
}

/**
 * Reads every saved graph of a column family whole and compares its checksums. Uses and removes none, so that it may run
 * beside whatever saves and removes them.
 */
export async function checkSavedGraphs(data: string, columnFamily: string): Promise<SavedGraphCheck> {
  const all: SavedGraphCheck = { files: 0, bytes: 0, damages: [] };
  const folder = join(GRAPHS, columnFamily);
  for (const name of (await namesIn(join(data, folder))).filter((each) => each.endsWith(KEYS)).sort()) {
    const { files, bytes, damages } = await checkOne(data, { folder, name });
    all.files += files;
    all.bytes += bytes;
    all.damages.push(...damages);
  }
  return all;
}

/** Where a file of keys stands: its folder in the data directory, and its name. */
interface KeyFilePlace {
  readonly folder: string;
  readonly name: string;
}

async function checkOne(data: string, place: KeyFilePlace): Promise<SavedGraphCheck> {
  const path = join(data, place.folder, place.name);
  for (;;) {
    const identity = await identityOf(path);
    if (identity === undefined) return { files: 0, bytes: 0, damages: [] };
    const found = await readWhole(data, place);
    // Unless a save has put others in their place meanwhile.
    if (found.damages.length === 0 || (await identityOf(path)) === identity) return found;
  }
}

async function readWhole(data: string, { folder, name }: KeyFilePlace): Promise<SavedGraphCheck> {
  const found: SavedGraphCheck = { files: 0, bytes: 0, damages: [] };
  const collect = async (file: string, read: (path: string) => Promise<void>) => {
    const path = join(data, folder, file);
    try {
      found.files++;
      found.bytes += (await stat(path)).size;
      await read(path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const problem = code === "ENOENT" ? "it is missing" : message;
      found.damages.push({ file: join(folder, file), message: `A file of a saved graph is damaged: ${problem}` });
    }
  };
  let graph: { readonly file: string; readonly bytes: number; readonly checksum: number } | undefined;
  await collect(name, (path) =>
    withFile(path, "r", async (file) => {
      const keyFile = await readKeyFileHeader(file);
      if (name !== `${hashOf(keyFile.header.namespace)}${KEYS}`) throw new UnusableGraph("it has another's name");
      graph = keyFile.header.graph;
      const { keys } = await readKeyTable(file, keyFile);
      for await (const _ of keys);
    }),
  );
  if (!graph) return found;
  const { file, bytes, checksum } = graph;
  await collect(file, async (path) => {
    const end = await endOf(path);
    const isWhole = end.bytes === bytes && end.checksum === checksum;
    if (!isWhole) throw new UnusableGraph("its end is not what its file of keys says");
    if ((await checksumOf(path, bytes - CHECKSUM_BYTES)) !== checksum) throw new UnusableGraph("its checksum is wrong");
  });
  return found;
}

/** Another one when another file has taken its place; undefined when there is none. */
async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return found && `${found.ino} ${found.ctimeNs}`;
}

/** The CRC-32 of the first `length` bytes of a file. */
function checksumOf(path: string, length: number): Promise<number> {
  return withFile(path, "r", async (file) => {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let checksum = 0;
    for (let at = 0; at < length; ) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, length - at), at);
      if (bytesRead === 0) throw new UnusableGraph("its graph is cut short");
      checksum = crc32(buffer.subarray(0, bytesRead), checksum);
      at += bytesRead;
    }
    return checksum;
  });
}
