/**
 * The file ACKNOWLEDGED in the data directory, the high-water mark: every write up to its lsn was acknowledged, so a
 * database that holds less has lost some. It is written beside the database, so that it does not share its fate.
 *
 * Two slots, each at the start of 4 KiB of its own, so that a torn write damages one of them at most; little-endian:
 *
 *     "QUIVERHW" | version u32: 1 | 0 u32 | lsn u64 | manifest u64 | its bytes u64 | CRC-32 u32 of the 40 bytes before
 *
 * The manifest is the number of the store's file MANIFEST-<number>, which only grows: one that is shorter than it was has
 * lost which tables there are, and with them what was stored, though the last lsn may still be there.
 *
 * They are written in turn, the older one next. The mark is the higher lsn of those that are whole: where the newer one is
 * damaged, the mark is lower than it was, which can hide a loss of the last second, but never refuses what is whole.
 */
import { type FileHandle, open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Database } from "../../../../native/rocksdb.ts";
import { QuiverError } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";
import { syncDirectory } from "./directory.ts";

export const ACKNOWLEDGED = "ACKNOWLEDGED";

const MAGIC = "QUIVERHW";
const VERSION = 1;
const SLOT_BYTES = 4096;
const SLOTS = [0, 1] as const;
const CHECKED_BYTES = 40;

/** The number of the store's manifest, 0 for none, and how much of it is synced. */
export interface Manifest {
  readonly manifest: number;
  readonly manifestBytes: number;
}

/** What is known to be durable, all of which only grows. */
interface Mark extends Manifest {
  readonly lsn: number;
}

const DAMAGED: Mark = { lsn: -1, manifest: 0, manifestBytes: 0 };

export class Acknowledged {
  readonly #directory: string;
  readonly #file: FileHandle;
  readonly #marks: [Mark, Mark];

  private constructor(directory: string, file: FileHandle, marks: [Mark, Mark]) {
    this.#directory = directory;
    this.#file = file;
    this.#marks = marks;
  }

  /** Opens the file in a data directory to write to it; makes it, with what the store has, when there is none. */
  static async open(directory: string, mark: Mark): Promise<Acknowledged> {
    const path = join(directory, ACKNOWLEDGED);
    const marks = await readSlots(path);
    if (marks) return new Acknowledged(directory, await open(path, "r+"), marks);
    const making = `${path}.new`;
    const file = await open(making, "w+");
    try {
      await file.write(Buffer.concat([encodeSlot(mark), encodeSlot(mark)]), 0, 2 * SLOT_BYTES, 0);
      await file.sync();
      failpoint("before-create-mark");
      await rename(making, path);
      await syncDirectory(directory);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new Acknowledged(directory, file, [mark, mark]);
  }

  /**
   * Whether this is beyond the mark. Throws CORRUPTION when the store's manifest is gone: the store would go on writing to
   * files that have lost their names.
   */
  async isBehind({ lsn, manifest, manifestBytes }: Mark): Promise<boolean> {
    const last = newest(this.#marks);
    if (last.manifest > 0) await this.#assertManifest();
    if (lsn > last.lsn || manifest > last.manifest) return true;
    return manifest === last.manifest && manifestBytes > last.manifestBytes;
  }

  /** Raises the mark durably. Not to be called again before it is done, nor after it failed. */
  async raise(mark: Mark): Promise<void> {
    const slot = newest(this.#marks) === this.#marks[0] ? 1 : 0;
    failpoint("before-mark");
    await this.#file.write(encodeSlot(mark), 0, SLOT_BYTES, slot * SLOT_BYTES);
    failpoint("after-write-mark");
    await this.#file.datasync();
    failpoint("after-mark");
    this.#marks[slot] = mark;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #assertManifest(): Promise<void> {
    // A new manifest may take the place of the old one between the looks at CURRENT and at the file that it names.
    for (let looks = 0; looks < 2; looks++) if ((await findManifest(this.#directory)).manifest > 0) return;
    throw new QuiverError(
      "CORRUPTION",
      `The file CURRENT in "${this.#directory}", or the manifest that it names, is gone: somebody has moved or removed files of the store`,
    );
  }
}

/** The mark of a data directory; undefined when it has none. Throws CORRUPTION when no slot of it is whole. */
export async function readAcknowledged(directory: string): Promise<number | undefined> {
  const marks = await readSlots(join(directory, ACKNOWLEDGED));
  return marks && newest(marks).lsn;
}

/** Throws CORRUPTION when the manifest of a store that is not open is shorter than it was. */
export async function assertManifestWhole(directory: string): Promise<void> {
  const marks = await readSlots(join(directory, ACKNOWLEDGED));
  if (!marks) return;
  const mark = newest(marks);
  const { manifest, manifestBytes } = await findManifest(directory);
  if (mark.manifest !== manifest || mark.manifestBytes <= manifestBytes) return;
  throw new QuiverError(
    "CORRUPTION",
    `Cannot open "${directory}": the file "${manifestName(manifest)}" has ${manifestBytes} bytes and had ${mark.manifestBytes}; restore a backup`,
  );
}

/** What is wrong with the file of a data directory, also where it does no harm because the other half is whole. */
export async function findDamage(directory: string): Promise<string | undefined> {
  try {
    const marks = await readSlots(join(directory, ACKNOWLEDGED));
    if (!marks) return `The file "${ACKNOWLEDGED}" is missing`;
    const damaged = marks.indexOf(DAMAGED);
    return damaged === -1
      ? undefined
      : `The file "${ACKNOWLEDGED}" is damaged: half ${damaged + 1} of 2 fails its checksum`;
  } catch (error) {
    return (error as Error).message;
  }
}

function newest([first, second]: readonly [Mark, Mark]): Mark {
  const ahead =
    first.lsn - second.lsn || first.manifest - second.manifest || first.manifestBytes - second.manifestBytes;
  return ahead >= 0 ? first : second;
}

/** What the slots say; a damaged one is DAMAGED. */
async function readSlots(path: string): Promise<[Mark, Mark] | undefined> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new QuiverError("CORRUPTION", `Cannot read "${path}": ${error.message}`, { cause: error });
  });
  if (!bytes) return undefined;
  const [first, second] = SLOTS.map((slot) => decodeSlot(bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)));
  if (first === undefined && second === undefined) {
    throw new QuiverError(
      "CORRUPTION",
      `Both halves of "${path}" are damaged, so that nobody can tell whether writes are lost: restore a backup; to accept what is there delete ${ACKNOWLEDGED}`,
    );
  }
  return [first ?? DAMAGED, second ?? DAMAGED];
}

function encodeSlot({ lsn, manifest, manifestBytes }: Mark): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.write(MAGIC, "latin1");
  slot.writeUInt32LE(VERSION, 8);
  slot.writeBigUInt64LE(BigInt(lsn), 16);
  slot.writeBigUInt64LE(BigInt(manifest), 24);
  slot.writeBigUInt64LE(BigInt(manifestBytes), 32);
  slot.writeUInt32LE(crc32(slot.subarray(0, CHECKED_BYTES)), CHECKED_BYTES);
  return slot;
}

function decodeSlot(slot: Buffer): Mark | undefined {
  const isWhole =
    slot.length >= CHECKED_BYTES + 4 &&
    slot.readUInt32LE(CHECKED_BYTES) === crc32(slot.subarray(0, CHECKED_BYTES)) &&
    slot.toString("latin1", 0, 8) === MAGIC &&
    slot.readUInt32LE(8) === VERSION;
  if (!isWhole) return undefined;
  const [lsn = 0, manifest = 0, manifestBytes = 0] = [16, 24, 32].map((at) => Number(slot.readBigUInt64LE(at)));
  return { lsn, manifest, manifestBytes };
}

/** The manifest that CURRENT names, as long as it is; none when there is no such file: opening the store says what is wrong then. */
export async function findManifest(directory: string): Promise<Manifest> {
  try {
    const [, digits] = /^MANIFEST-(\d+)\n$/.exec(await readFile(join(directory, "CURRENT"), "latin1")) ?? [];
    const manifest = Number(digits ?? 0);
    if (manifest > 0) return { manifest, manifestBytes: (await stat(join(directory, manifestName(manifest)))).size };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return { manifest: 0, manifestBytes: 0 };
}

/** What an open store says of its manifest: how long the file is says nothing of what a power cut would leave. */
export function manifestOf({ name, bytes }: ReturnType<Database["syncedManifest"]>): Manifest {
  return { manifest: Number(/^MANIFEST-(\d+)$/.exec(name)?.[1] ?? 0), manifestBytes: bytes };
}

function manifestName(number: number): string {
  return `MANIFEST-${String(number).padStart(6, "0")}`;
}
