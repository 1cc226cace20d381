/**
 * The file of keys beside a saved graph: which ordinal of the graph stands for which key, at which version. All integers
 * and floats are little-endian; n ordinals, dead ones too:
 *
 *     "QVRKEYS\0"        8 bytes
 *     format version     u32
 *     header length      u32
 *     header             JSON of a KeyFileHeader
 *     checksum           u32              CRC-32 of everything before
 *     with data          u32 * ceil(n/32) a bit per ordinal: live and with data
 *     versions           f64 * n          without meaning for a dead ordinal
 *     key lengths        u16 * n          bytes; 0xffff for a dead ordinal
 *     keys               UTF-8, one after the other
 *     checksum           u32              CRC-32 of everything after the header's checksum
 *
 * A change here, or in native/graph-file.h, is a new GRAPH_FORMAT_VERSION.
 */
import type { FileHandle } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { wordsFor } from "../../../filter/bitmap.ts";
import type { DistanceMetric } from "../../engine.ts";
import type { MeasuredRecall } from "../recall/recall-model.ts";
import type { KeyTable } from "./vector-set.ts";

/** The number of the layout of saved graphs, both files. */
export const GRAPH_FORMAT_VERSION = 1;

const MAGIC = Buffer.from("QVRKEYS\0", "latin1");
const PREFIX_BYTES = MAGIC.length + 8;
const CHECKSUM_BYTES = 4;
const HEADER_BYTES_MAX = 65_536;

const DEAD_LENGTH = 0xffff;

/** Keys that are encoded or decoded in one turn. */
const TURN_KEYS = 20_000;

/** Bytes that are read, and checksummed, in one turn. */
const TURN_BYTES = 4 * 1024 * 1024;

export interface KeyFileHeader {
  readonly columnFamily: string;
  readonly namespace: string;
  readonly dimension: number;
  readonly metric: DistanceMetric;
  readonly m: number | null;
  readonly efConstruction: number | null;
  /** Both files hold the state after this write, and of none that came later. */
  readonly lsn: number;
  /** How many ordinals there are, dead ones too, how many are live, and how many of those have data. */
  readonly ordinals: number;
  readonly live: number;
  readonly withData: number;
  /** Bytes of all live keys. */
  readonly keyBytes: number;
  /** What was measured of the graph's recall. */
  readonly recall: MeasuredRecall | null;
  /** The file of the graph, in the same directory; `checksum` are its last 4 bytes. */
  readonly graph: { readonly file: string; readonly bytes: number; readonly checksum: number };
}

/** Why a saved graph cannot be used. */
export class UnusableGraph extends Error {}

/** Writes the whole file, in turns between which others run. */
export async function writeKeyFile(file: FileHandle, header: KeyFileHeader, table: KeyTable): Promise<void> {
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.concat([MAGIC, u32(GRAPH_FORMAT_VERSION), u32(json.length), json]);
  await file.writeFile(Buffer.concat([prefix, u32(crc32(prefix))]));
  let checksum = 0;
  const write = async (bytes: Uint8Array) => {
    checksum = crc32(bytes, checksum);
    await file.writeFile(bytes);
  };
  for (const column of [table.withData, table.versions]) {
    for (const part of parts(bytesOf(column))) await write(part);
  }
  for (const keys of turns(table.keys)) {
    const lengths = Uint16Array.from(keys, (key) => (key === undefined ? DEAD_LENGTH : Buffer.byteLength(key)));
    await write(bytesOf(lengths));
  }
  for (const keys of turns(table.keys)) await write(Buffer.from(keys.join("")));
  await file.writeFile(u32(checksum));
}

/** Reads and checks the header. Throws UnusableGraph. */
export async function readKeyFileHeader(file: FileHandle): Promise<{ header: KeyFileHeader; end: number }> {
  const { size } = await file.stat();
  const start = await read(file, 0, Math.min(size, PREFIX_BYTES));
  if (start.length < PREFIX_BYTES || !start.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new UnusableGraph("it is no file of keys");
  }
  const version = start.readUInt32LE(MAGIC.length);
  if (version !== GRAPH_FORMAT_VERSION) throw new UnusableGraph(`its format version is ${version}`);
  const length = start.readUInt32LE(MAGIC.length + 4);
  const checked = PREFIX_BYTES + length;
  if (length > HEADER_BYTES_MAX || checked + CHECKSUM_BYTES > size) throw new UnusableGraph("its header is cut short");
  const bytes = await read(file, 0, checked + CHECKSUM_BYTES);
  if (crc32(bytes.subarray(0, checked)) !== bytes.readUInt32LE(checked)) {
    throw new UnusableGraph("the checksum of its header is wrong");
  }
  const header = JSON.parse(bytes.toString("utf8", PREFIX_BYTES, checked)) as KeyFileHeader;
  const { ordinals, keyBytes } = header;
  const end = checked + CHECKSUM_BYTES;
  const body = wordsFor(ordinals) * 4 + ordinals * 10 + keyBytes + CHECKSUM_BYTES;
  if (size !== end + body) throw new UnusableGraph("its length does not fit its header");
  return { header, end };
}

/**
 * Reads what comes after the header, which ends at `end`. The keys must be read to their end: only then the checksum is
 * known to be right. Throws UnusableGraph, also while the keys are read.
 */
export async function readKeyTable(
  file: FileHandle,
  { header, end }: { readonly header: KeyFileHeader; readonly end: number },
): Promise<Omit<KeyTable, "keys"> & { readonly keys: AsyncGenerator<(string | undefined)[]> }> {
  const { ordinals } = header;
  let at = end;
  let checksum = 0;
  const next = async <Bytes extends Uint8Array>(into: Bytes): Promise<Bytes> => {
    for (const part of parts(into)) {
      await fill(file, part, at);
      checksum = crc32(part, checksum);
      at += part.length;
    }
    return into;
  };
  const withData = new Uint32Array(wordsFor(ordinals));
  const versions = new Float64Array(ordinals);
  const lengths = new Uint16Array(ordinals);
  for (const column of [withData, versions, lengths]) await next(bytesOf(column));

  async function* keys() {
    let left = header.keyBytes;
    for (const some of turns(lengths)) {
      const bytes = some.reduce((sum, length) => sum + (length === DEAD_LENGTH ? 0 : length), 0);
      left -= bytes;
      if (left < 0) throw new UnusableGraph("its keys are longer than its header says");
      yield split(await next(Buffer.allocUnsafe(bytes)), some);
      await setImmediate();
    }
    const stored = await read(file, at, CHECKSUM_BYTES);
    if (left !== 0 || stored.readUInt32LE(0) !== checksum) throw new UnusableGraph("its checksum is wrong");
  }
  return { withData, versions, keys: keys() };
}

function split(bytes: Buffer, lengths: Uint16Array): (string | undefined)[] {
  let at = 0;
  return Array.from(lengths, (length) => {
    if (length === DEAD_LENGTH) return undefined;
    at += length;
    return bytes.toString("utf8", at - length, at);
  });
}

function* turns<Items extends { readonly length: number; slice(from: number, to: number): Items }>(items: Items) {
  for (let from = 0; from < items.length; from += TURN_KEYS) yield items.slice(from, from + TURN_KEYS);
}

function* parts(bytes: Uint8Array): Generator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += TURN_BYTES) yield bytes.subarray(from, from + TURN_BYTES);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

async function read(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await fill(file, bytes, at);
  return bytes;
}

async function fill(file: FileHandle, into: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw new UnusableGraph("it is cut short");
    done += bytesRead;
  }
}
