/**
 * The file ACKNOWLEDGED in the data directory, the high-water mark: every write up to its lsn was acknowledged, so a
 * database that holds less has lost some. It is written beside the database, so that it does not share its fate.
 *
 * Two slots, each at the start of 4 KiB of its own, so that a torn write damages one of them at most; little-endian:
 *
 *     "QUIVERHW" | version u32: 1 | 0 u32 | lsn u64 | CRC-32 u32 of the 24 bytes before
 *
 * They are written in turn, the older one next. The mark is the higher lsn of those that are whole: where the newer one is
 * damaged, the mark is lower than it was, which can hide a loss of the last second, but never refuses what is whole.
 */
import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { QuiverError } from "../../../errors.ts";
import { failpoint } from "../../../failpoints.ts";

export const ACKNOWLEDGED = "ACKNOWLEDGED";

const MAGIC = "QUIVERHW";
const VERSION = 1;
const SLOT_BYTES = 4096;
const SLOTS = [0, 1] as const;
const CHECKED_BYTES = 24;

export class Acknowledged {
  readonly #file: FileHandle;
  readonly #lsns: [number, number];

  private constructor(file: FileHandle, lsns: [number, number]) {
    this.#file = file;
    this.#lsns = lsns;
  }

  /** Opens the file in a data directory to write to it; makes it, with this lsn, when there is none. */
  static async open(directory: string, lsn: number): Promise<Acknowledged> {
    const path = join(directory, ACKNOWLEDGED);
    const lsns = await readSlots(path);
    if (lsns) return new Acknowledged(await open(path, "r+"), lsns);
    const making = `${path}.new`;
    const file = await open(making, "w+");
    try {
      await file.write(Buffer.concat([encodeSlot(lsn), encodeSlot(lsn)]), 0, 2 * SLOT_BYTES, 0);
      await file.sync();
      failpoint("before-create-mark");
      await rename(making, path);
      await syncDirectory(directory);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new Acknowledged(file, [lsn, lsn]);
  }

  get lsn(): number {
    return Math.max(...this.#lsns);
  }

  /** Raises the mark durably. Not to be called again before it is done, nor after it failed. */
  async raise(lsn: number): Promise<void> {
    const [first, second] = this.#lsns;
    const slot = first <= second ? 0 : 1;
    failpoint("before-mark");
    await this.#file.write(encodeSlot(lsn), 0, SLOT_BYTES, slot * SLOT_BYTES);
    failpoint("after-write-mark");
    await this.#file.datasync();
    failpoint("after-mark");
    this.#lsns[slot] = lsn;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** The mark of a data directory; undefined when it has none. Throws CORRUPTION when no slot of it is whole. */
export async function readAcknowledged(directory: string): Promise<number | undefined> {
  const lsns = await readSlots(join(directory, ACKNOWLEDGED));
  return lsns && Math.max(...lsns);
}

/** What is wrong with the file of a data directory, also where it does no harm because the other half is whole. */
export async function findDamage(directory: string): Promise<string | undefined> {
  try {
    const lsns = await readSlots(join(directory, ACKNOWLEDGED));
    if (!lsns) return `The file "${ACKNOWLEDGED}" is missing`;
    const damaged = lsns.indexOf(-1);
    return damaged === -1
      ? undefined
      : `The file "${ACKNOWLEDGED}" is damaged: half ${damaged + 1} of 2 fails its checksum`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The lsns of the slots, -1 for a damaged one. */
async function readSlots(path: string): Promise<[number, number] | undefined> {
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
  return [first ?? -1, second ?? -1];
}

function encodeSlot(lsn: number): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.write(MAGIC, "latin1");
  slot.writeUInt32LE(VERSION, 8);
  slot.writeBigUInt64LE(BigInt(lsn), 16);
  slot.writeUInt32LE(crc32(slot.subarray(0, CHECKED_BYTES)), CHECKED_BYTES);
  return slot;
}

function decodeSlot(slot: Buffer): number | undefined {
  const isWhole =
    slot.length >= CHECKED_BYTES + 4 &&
    slot.readUInt32LE(CHECKED_BYTES) === crc32(slot.subarray(0, CHECKED_BYTES)) &&
    slot.toString("latin1", 0, 8) === MAGIC &&
    slot.readUInt32LE(8) === VERSION;
  return isWhole ? Number(slot.readBigUInt64LE(16)) : undefined;
}

/** Makes the names in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
