/**
 * The bytes of every key and value in RocksDB. All integers and floats are little-endian unless said otherwise; strings
 * are UTF-8. A change here is a new FORMAT_VERSION.
 *
 * Column family "default", the catalog:
 *
 *     0x00                                  -> format version u32
 *     0x01                                  -> lsn u64: of the last committed batch, in every batch
 *     0x02 | bucket                         -> JSON { createdAt, tags }
 *     0x03 | bucket | 0x00 | index          -> JSON { columnFamily, createdAt, dimension, ... }
 *     0x04 | column family                  -> empty: its index is deleted, the family may be dropped
 *     0x05 | job id                         -> JSON of a JobRecord
 *     0x06 | job id | 0x00 | part u32 big-endian -> bytes: a part of what the job has to do
 *     0x07 | access key id                  -> JSON of an AccessKeyRecord without its id
 *
 * One column family per index, named "index-<random UUID>":
 *
 *     0x01 | namespace | 0x00 | key         -> version u64 | dimension u32 | reserved u32 | float32 * dimension
 *     0x02 | namespace | 0x00 | key         -> version u64 | metadata as JSON
 *     0x03 | namespace                      -> JSON { createdAt }; none for the default namespace
 *     0x04 | namespace | 0x00 | key         -> version u64 | count u32 | reserved u32 | position u32 * count | float32 * count
 *     0x05 | namespace | 0x00 | key         -> JSON { fingerprint, at, answer }: what a write with this idempotency key answered
 *     0x06                                  -> u64 * 3: the log of changes starts after this lsn; changes trimmed, changes logged
 *     0x06 | lsn u64 | part u32, big-endian -> changes logged before u64 | milliseconds since the epoch u64
 *                                              | namespace length u8 | namespace | (1 put, 2 delete u8 | key length u16 | key)*
 *
 * Every vector has a metadata record, whose version is the vector's, and a data record, a sparse record, or both, whose
 * version is that of the write that put them. Names of buckets, indexes and namespaces hold no byte 0x00.
 */
import { ABSENT, type Entries } from "../../../native/rocksdb.ts";
import { QuiverError } from "../../errors.ts";
import type { Metadata, SparseData } from "../engine.ts";

/**
 * 1: the first layout. 2: adds records. 3: adds access keys, so that no release that does not know them opens the data and
 * lets everybody in. What an older release wrote is valid as it is, and has the newest version from the first start on,
 * whether it has access keys or not: two kinds of data of one release would be twice as much to test.
 */
export const FORMAT_VERSION = 3;

export const FORMAT_KEY = Uint8Array.of(0x00);
export const LSN_KEY = Uint8Array.of(0x01);
export const BUCKET_KIND = 0x02;
export const INDEX_KIND = 0x03;
export const DROPPED_KIND = 0x04;
export const JOB_KIND = 0x05;
export const JOB_PART_KIND = 0x06;
export const ACCESS_KEY_KIND = 0x07;

export const VECTOR_KIND = 0x01;
export const METADATA_KIND = 0x02;
export const NAMESPACE_KIND = 0x03;
export const SPARSE_KIND = 0x04;
export const IDEMPOTENCY_KIND = 0x05;
export const CHANGE_KIND = 0x06;

const VECTOR_HEADER_BYTES = 16;
const METADATA_HEADER_BYTES = 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** Throws CORRUPTION on bytes that are not UTF-8: they were not written by us. */
export function text(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw damaged("text", cause);
  }
}

/** Throws CORRUPTION on bytes that are no JSON. */
export function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(text(bytes));
  } catch (cause) {
    throw damaged("JSON", cause);
  }
}

/** The key of entry i. */
export function keyAt({ data, entries }: Entries, i: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data, entries[4 * i], entries[4 * i + 1]);
}

/** The value of entry i; only for entries that are present. */
export function valueAt({ data, entries }: Entries, i: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data, entries[4 * i + 2], entries[4 * i + 3]);
}

/** The texts that the keys of entries end with, after `offset` bytes. Throws CORRUPTION as `text` does. */
export function endsOfKeys(chunk: Entries, offset: number): string[] {
  const { data, entries } = chunk;
  const bytes = Buffer.from(data);
  return Array.from({ length: entries.length / 4 }, (_, i) => {
    const at = entries[4 * i] as number;
    const end = bytes.toString("utf8", at + offset, at + (entries[4 * i + 1] as number));
    // It may stand for bytes that are no text.
    return end.includes("\ufffd") ? text(keyAt(chunk, i).subarray(offset)) : end;
  });
}

function damaged(what: string, cause?: unknown): QuiverError {
  return new QuiverError("CORRUPTION", `Stored ${what} is damaged; stop the server and restore a backup`, { cause });
}

/** What a database says of itself. */
export interface Header {
  readonly formatVersion: number;
  /** Of the last committed batch. */
  readonly lsn: number;
}

/** The keys of the header, in the order in which `decodeHeader` takes their values. */
export const HEADER_KEYS: readonly Uint8Array[] = [FORMAT_KEY, LSN_KEY];

/** "absent" in a new database; undefined when it is damaged. */
export function decodeHeader(header: Entries): Header | "absent" | undefined {
  const [version, lsn] = HEADER_KEYS.map((_, i) =>
    header.entries[4 * i + 2] === ABSENT ? undefined : valueAt(header, i),
  );
  if (!version && !lsn) return "absent";
  if (version?.length !== 4 || lsn?.length !== 8) return undefined;
  return { formatVersion: decodeU32(version), lsn: decodeU64(lsn) };
}

/** The range of all keys of one kind in one namespace: [from, to). */
export function namespaceRange(kind: number, namespace: string): { from: Uint8Array; to: Uint8Array } {
  const from = storeKey(kind, namespace, "");
  return { from, to: endOfPrefix(from) };
}

/** `kind | first | 0x00 | rest`, or `kind | first` when `rest` is absent. */
export function storeKey(kind: number, first: string, rest?: string): Uint8Array<ArrayBuffer> {
  return utf8(storeKeyText(kind, first, rest));
}

/** The same before it is encoded. */
export function storeKeyText(kind: number, first: string, rest?: string): string {
  return String.fromCharCode(kind) + (rest === undefined ? first : `${first}\0${rest}`);
}

/** The keys of `rests`, as storeKey makes each, in one piece of memory. */
export function storeKeys(kind: number, first: string, rests: readonly string[]): Uint8Array[] {
  const start = storeKey(kind, first, "");
  const bytes = rests.reduce((sum, rest) => sum + start.length + UTF8_PER_UNIT * rest.length, 0);
  const all = Buffer.allocUnsafeSlow(bytes);
  let end = 0;
  return rests.map((rest) => {
    const from = end;
    all.set(start, from);
    end = from + start.length;
    end += all.write(rest, end);
    return all.subarray(from, end);
  });
}

/** Bytes of UTF-8 for each unit of UTF-16, at most. */
const UTF8_PER_UNIT = 3;

/** The smallest key after every key that starts with `prefix`; the last byte of a prefix here is never 0xff. */
export function endOfPrefix(prefix: Uint8Array): Uint8Array<ArrayBuffer> {
  const end = prefix.slice();
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return end;
}

/** The smallest key after `key`. */
export function successor(key: Uint8Array): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

export function encodeU32(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function encodeU64(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

export function decodeU32(bytes: Uint8Array, at = 0): number {
  return view(bytes).getUint32(at, true);
}

/** Sequence numbers stay below 2^53. */
export function decodeU64(bytes: Uint8Array, at = 0): number {
  if (bytes.length < at + 8) throw damaged(`number of ${bytes.length} bytes`);
  const words = view(bytes);
  return words.getUint32(at, true) + words.getUint32(at + 4, true) * 2 ** 32;
}

/** What stands in a vector record before the floats. */
export function vectorHeader(version: number, dimension: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(VECTOR_HEADER_BYTES);
  const header = new DataView(bytes.buffer);
  header.setBigUint64(0, BigInt(version), true);
  header.setUint32(8, dimension, true);
  return bytes;
}

/** The floats of a vector record: a view where the record is aligned (values from scans and multiGet are), else a copy. */
export function decodeVector(record: Uint8Array<ArrayBuffer>): { version: number; data: Float32Array<ArrayBuffer> } {
  const dimension = record.length < VECTOR_HEADER_BYTES ? -1 : decodeU32(record, 8);
  if (record.length !== VECTOR_HEADER_BYTES + 4 * dimension) {
    throw damaged(`vector of ${record.length} bytes`);
  }
  const at = record.byteOffset + VECTOR_HEADER_BYTES;
  const data =
    at % 4 === 0
      ? new Float32Array(record.buffer, at, dimension)
      : new Float32Array(record.buffer.slice(at, at + 4 * dimension));
  return { version: decodeU64(record), data };
}

/** Metadata as it is stored. */
export function metadataJson(metadata: Metadata): Uint8Array<ArrayBuffer> {
  return utf8(JSON.stringify(metadata));
}

/** What stands in a metadata record before the metadata. */
export function metadataHeader(version: number): Uint8Array<ArrayBuffer> {
  return encodeU64(version);
}

/** `bytes`: of the metadata alone. */
export function decodeMetadata(record: Uint8Array): { version: number; metadata: Metadata; bytes: number } {
  const encoded = record.subarray(METADATA_HEADER_BYTES);
  return { version: decodeU64(record), metadata: json(encoded) as Metadata, bytes: encoded.length };
}

export function encodeSparse(version: number, { indices, values }: SparseData): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(VECTOR_HEADER_BYTES + indices.byteLength + values.byteLength);
  const header = new DataView(bytes.buffer);
  header.setBigUint64(0, BigInt(version), true);
  header.setUint32(8, indices.length, true);
  bytes.set(new Uint8Array(indices.buffer, indices.byteOffset, indices.byteLength), VECTOR_HEADER_BYTES);
  bytes.set(
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    VECTOR_HEADER_BYTES + indices.byteLength,
  );
  return bytes;
}

/** Bytes of positions and values. */
export function bytesOfSparse({ indices, values }: SparseData): number {
  return indices.byteLength + values.byteLength;
}

/** The sparse values of a record: a copy. */
export function decodeSparse(record: Uint8Array<ArrayBuffer>): SparseData {
  const count = record.length < VECTOR_HEADER_BYTES ? -1 : decodeU32(record, 8);
  if (record.length !== VECTOR_HEADER_BYTES + 8 * count) throw damaged(`sparse vector of ${record.length} bytes`);
  const { buffer } = record.slice(VECTOR_HEADER_BYTES);
  return { indices: new Uint32Array(buffer, 0, count), values: new Float32Array(buffer, 4 * count, count) };
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
