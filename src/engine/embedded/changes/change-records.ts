import { CHANGE_KIND, decodeU64, text, utf8 } from "../layout.ts";

/** The keys that one write put and deleted, all of one namespace; no key twice. */
export interface ChangedKeys {
  readonly puts: readonly string[];
  readonly deletes: readonly string[];
}

export interface ChangeHeader {
  /** Changes logged before this part, ever. */
  readonly before: number;
  /** When, in milliseconds since the epoch. */
  readonly time: number;
  readonly namespace: string;
}

/** What the log says of one key. */
export interface LoggedChange {
  readonly lsn: number;
  readonly key: string;
  readonly put: boolean;
}

/** Where the log begins and how much it holds. */
export interface ChangeState {
  /** Changes of this lsn and before are no longer there. */
  readonly start: number;
  /** Changes that were trimmed, ever. */
  readonly trimmed: number;
  /** Changes that were logged, ever. */
  readonly changes: number;
}

export const CHANGE_STATE_KEY = Uint8Array.of(CHANGE_KIND);

const PART_BYTES = 64 * 1024;
const HEADER_BYTES = 17;
const KEY_HEADER_BYTES = 3;
const PUT = 1;
const DELETE = 2;

/** The store key of a part of a write; keys sort as (lsn, part) do. */
export function changeKey(lsn: number, part = 0): Uint8Array<ArrayBuffer> {
  const key = new Uint8Array(13);
  const view = new DataView(key.buffer);
  key[0] = CHANGE_KIND;
  view.setBigUint64(1, BigInt(lsn));
  view.setUint32(9, part);
  return key;
}

export function lsnOfChangeKey(key: Uint8Array): number {
  return Number(new DataView(key.buffer, key.byteOffset).getBigUint64(1));
}

/** The records of a write, in parts of at most 64 KiB. */
export function* encodeChanges(header: ChangeHeader, { puts, deletes }: ChangedKeys): Generator<Uint8Array> {
  const namespace = utf8(header.namespace);
  const first = HEADER_BYTES + namespace.length;
  let { before } = header;
  let bytes = Buffer.alloc(0);
  let length = 0;
  let inPart = 0;
  const total = puts.length + deletes.length;
  for (let i = 0; i < total; i++) {
    const put = i < puts.length;
    const key = (put ? puts[i] : deletes[i - puts.length]) as string;
    const keyBytes = Buffer.byteLength(key);
    const needed = KEY_HEADER_BYTES + keyBytes;
    if (inPart > 0 && length + needed > PART_BYTES) {
      yield bytes.subarray(0, length);
      before += inPart;
      inPart = 0;
    }
    if (inPart === 0) {
      bytes = Buffer.alloc(Math.min(PART_BYTES, first + (total - i) * (KEY_HEADER_BYTES + 1_024)));
      bytes.writeBigUInt64LE(BigInt(before), 0);
      bytes.writeBigUInt64LE(BigInt(header.time), 8);
      bytes[16] = namespace.length;
      bytes.set(namespace, HEADER_BYTES);
      length = first;
    }
    bytes[length] = put ? PUT : DELETE;
    bytes.writeUInt16LE(keyBytes, length + 1);
    const written = bytes.write(key, length + KEY_HEADER_BYTES);
    if (written !== keyBytes) throw new RangeError(`No room for a key of ${keyBytes} bytes`);
    length += needed;
    inPart++;
  }
  if (inPart > 0) yield bytes.subarray(0, length);
}

export function decodeChangeHeader(record: Uint8Array): ChangeHeader {
  const namespace = text(record.subarray(HEADER_BYTES, HEADER_BYTES + (record[16] ?? 0)));
  return { before: decodeU64(record), time: decodeU64(record, 8), namespace };
}

export function decodeChanges(lsn: number, record: Uint8Array): LoggedChange[] {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.length);
  const changes: LoggedChange[] = [];
  for (let at = HEADER_BYTES + (record[16] ?? 0); at < bytes.length; ) {
    const end = at + KEY_HEADER_BYTES + bytes.readUInt16LE(at + 1);
    changes.push({ lsn, key: text(bytes.subarray(at + KEY_HEADER_BYTES, end)), put: bytes[at] === PUT });
    at = end;
  }
  return changes;
}

export function encodeChangeState({ start, trimmed, changes }: ChangeState): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  for (const [i, number] of [start, trimmed, changes].entries()) view.setBigUint64(8 * i, BigInt(number), true);
  return bytes;
}

export function decodeChangeState(record: Uint8Array): ChangeState {
  return { start: decodeU64(record), trimmed: decodeU64(record, 8), changes: decodeU64(record, 16) };
}
