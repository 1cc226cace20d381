import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

// The write-ahead log and the manifest are blocks of 32 KiB, which hold the parts of records, each within its block:
//     CRC-32C u32, masked, of type and bytes | length u16 | type u8 | bytes
const BLOCK_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
const [WHOLE, FIRST, MIDDLE, LAST] = [1, 2, 3, 4];

/** Damage of the write-ahead log. */
export interface LogDamage {
  /** The name of its file. */
  readonly file: string;
  /** Where the record that is damaged begins. */
  readonly from: number;
  /**
   * Whether it is what a power cut left of the write that was under way. Writes are synced one by one, each one record: so
   * the damaged record is that write when no other one begins behind it, and nobody was told that it is stored.
   */
  readonly isTornWrite: boolean;
}

/** The first damage in the logs of a database that nothing has open; undefined when every record of them is whole. */
export async function findLogDamage(directory: string): Promise<LogDamage | undefined> {
  const names = (await readdir(directory)).filter((name) => /^\d+\.log$/.test(name));
  names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  let torn: LogDamage | undefined;
  for (const file of names) {
    const log = await readFile(join(directory, file));
    if (torn) {
      if (beginsRecord(log, 0)) return { ...torn, isTornWrite: false };
      continue;
    }
    const damage = findDamage(log);
    if (!damage) continue;
    torn = { file, from: damage.from, isTornWrite: true };
    if (beginsRecord(log, damage.at)) return { ...torn, isTornWrite: false };
  }
  return torn;
}

/**
 * Whether every record of a manifest is whole. RocksDB takes one whose length reaches beyond the end for one that was being
 * written, and passes over it.
 */
export function isWholeManifest(manifest: Buffer): boolean {
  return findDamage(manifest) === undefined;
}

/** Cuts a torn write off its log, which nothing has open. */
export async function cutTornWrite(directory: string, { file: name, from }: LogDamage): Promise<void> {
  const file = await open(join(directory, name), "r+");
  try {
    await file.truncate(from);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The first part that is not right, and where the record that it belongs to begins. */
function findDamage(log: Buffer): { readonly at: number; readonly from: number } | undefined {
  let from: number | undefined;
  for (let at = 0; at < log.length; ) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    const part = partAt(log, at);
    const isExpected = part && (from === undefined ? [WHOLE, FIRST] : [MIDDLE, LAST]).includes(part.type);
    if (!isExpected) return { at, from: from ?? at };
    if (part.type === FIRST) from = at;
    else if (part.type === LAST) from = undefined;
    at = part.end;
  }
  return from === undefined ? undefined : { at: log.length, from };
}

/** Whether a record begins somewhere from there on. Lengths cannot be trusted, so at every byte. */
function beginsRecord(log: Buffer, from: number): boolean {
  for (let at = from; at < log.length; at++) {
    const type = log[at + HEADER_BYTES - 1];
    if ((type === WHOLE || type === FIRST) && partAt(log, at)) return true;
  }
  return false;
}

function partAt(log: Buffer, at: number): { readonly type: number; readonly end: number } | undefined {
  if (at + HEADER_BYTES > log.length) return undefined;
  const type = log.readUInt8(at + HEADER_BYTES - 1);
  const end = at + HEADER_BYTES + log.readUInt16LE(at + 4);
  const blockEnd = at - (at % BLOCK_BYTES) + BLOCK_BYTES;
  if (type < WHOLE || type > LAST || end > Math.min(log.length, blockEnd)) return undefined;
  return log.readUInt32LE(at) === checksumOf(log.subarray(at + HEADER_BYTES - 1, end)) ? { type, end } : undefined;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

function checksumOf(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  crc = ~crc;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
