/**
 * Collects puts, deletes and range deletes for `Database.write`, as bytes:
 *
 *     batch  = record*
 *     record = op u8 | column family u32 | key length u32 | value length u32 | key | value     (little-endian)
 *     op     = 1 put | 2 delete (value length 0) | 3 delete range [key, value)
 *
 * Keys are 1 to 65,535 bytes, values at most 1 GiB. A range ends at a key of at most 65,536 bytes that is not below
 * its first; one that ends where it starts is empty. native/rocksdb-writer.cc checks every length.
 */
export class WriteBatch {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get byteLength(): number {
    return this.#length;
  }

  put(columnFamily: number, key: Uint8Array, value: Uint8Array): void {
    this.#record(1, columnFamily, key, value);
  }

  delete(columnFamily: number, key: Uint8Array): void {
    this.#record(2, columnFamily, key, EMPTY);
  }

  /** Deletes every key in [from, to). */
  deleteRange(columnFamily: number, from: Uint8Array, to: Uint8Array): void {
    this.#record(3, columnFamily, from, to);
  }

  /** The encoded batch: a view, valid until the next record is added. Handing it to `Database.write` copies it. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #record(op: number, columnFamily: number, key: Uint8Array, value: Uint8Array): void {
    const end = this.#length + HEADER + key.length + value.length;
    if (end > this.#bytes.length) this.#grow(end);
    let at = this.#length;
    this.#bytes[at] = op;
    this.#view.setUint32(at + 1, columnFamily, true);
    this.#view.setUint32(at + 5, key.length, true);
    this.#view.setUint32(at + 9, value.length, true);
    at += HEADER;
    this.#bytes.set(key, at);
    this.#bytes.set(value, at + key.length);
    this.#length = end;
  }

  #grow(atLeast: number): void {
    const bytes = new Uint8Array(Math.max(atLeast, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

const HEADER = 13;
const EMPTY = new Uint8Array(0);
