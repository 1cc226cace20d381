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
  #bytes: Buffer<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = Buffer.alloc(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get byteLength(): number {
    return this.#length;
  }

  /** The value is what the parts hold, one after the other; a text is its UTF-8: so nobody has to put them together in an array first. */
  put(columnFamily: number, key: Uint8Array | string, ...value: readonly Uint8Array[]): void {
    this.#record(1, columnFamily, key, value);
  }

  delete(columnFamily: number, key: Uint8Array | string): void {
    this.#record(2, columnFamily, key, []);
  }

  /** Deletes every key in [from, to). */
  deleteRange(columnFamily: number, from: Uint8Array, to: Uint8Array): void {
    this.#record(3, columnFamily, from, [to]);
  }

  /** The encoded batch: a view, valid until the next record is added. Handing it to `Database.write` copies it. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #record(op: number, columnFamily: number, key: Uint8Array | string, value: readonly Uint8Array[]): void {
    let valueBytes = 0;
    for (const part of value) valueBytes += part.length;
    const keyBytesMax = typeof key === "string" ? UTF8_BYTES_MAX * key.length : key.length;
    const most = this.#length + HEADER + keyBytesMax + valueBytes;
    if (most > this.#bytes.length) this.#grow(most);
    const start = this.#length;
    let at = start + HEADER;
    const keyBytes = this.#write(key, at);
    at += keyBytes;
    for (const part of value) at += this.#write(part, at);
    this.#bytes[start] = op;
    this.#view.setUint32(start + 1, columnFamily, true);
    this.#view.setUint32(start + 5, keyBytes, true);
    this.#view.setUint32(start + 9, valueBytes, true);
    this.#length = at;
  }

  /** Answers how many bytes it has written. */
  #write(content: Uint8Array | string, at: number): number {
    if (typeof content === "string") return this.#bytes.write(content, at);
    this.#bytes.set(content, at);
    return content.length;
  }

  #grow(atLeast: number): void {
    const bytes = Buffer.alloc(Math.max(atLeast, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

const HEADER = 13;
/** Of each of the units of a text that its length counts. */
const UTF8_BYTES_MAX = 3;
