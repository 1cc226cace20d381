import { crc32 } from "node:zlib";
import type { Metadata, VectorInput } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";

/** A vector that a job has to store, and where it stood among all vectors sent. */
export interface JobVector {
  readonly position: number;
  readonly vector: VectorInput;
}

/*
 * A part of what a job has to store, as bytes; integers and floats are little-endian, strings UTF-8:
 *
 *     part   = checksum u32: the CRC-32 of all that follows | count u32 | vector * count
 *     vector = position u32 | has u32: 1 data, 2 sparse, 4 if_version, added up
 *            | key bytes u32 | key | metadata bytes u32 | metadata as JSON
 *            | [dimension u32 | float32 * dimension]
 *            | [count u32 | position u32 * count | float32 * count]
 *            | [if_version float64]
 */
const HAS_DATA = 1;
const HAS_SPARSE = 2;
const HAS_IF_VERSION = 4;
const HEADER_BYTES = 8;

/** Gathers vectors into one part. */
export class JobPart {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = HEADER_BYTES;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#length;
  }

  add({ position, vector }: JobVector): void {
    const { key, data, sparse, metadata, ifVersion } = vector;
    const has = (data ? HAS_DATA : 0) + (sparse ? HAS_SPARSE : 0) + (ifVersion === undefined ? 0 : HAS_IF_VERSION);
    this.#u32(position);
    this.#u32(has);
    this.#block(Buffer.from(key));
    this.#block(Buffer.from(JSON.stringify(metadata)));
    if (data) {
      this.#u32(data.length);
      this.#raw(data);
    }
    if (sparse) {
      this.#u32(sparse.indices.length);
      this.#raw(sparse.indices);
      this.#raw(sparse.values);
    }
    if (ifVersion !== undefined) {
      this.#reserve(8);
      this.#length = this.#bytes.writeDoubleLE(ifVersion, this.#length);
    }
    this.#count += 1;
  }

  /** The part so far: a copy. */
  encode(): Uint8Array {
    const part = Buffer.from(this.#bytes.subarray(0, this.#length));
    part.writeUInt32LE(this.#count, 4);
    part.writeUInt32LE(crc32(part.subarray(4)), 0);
    return part;
  }

  #block(bytes: Uint8Array): void {
    this.#u32(bytes.length);
    this.#raw(bytes);
  }

  #u32(value: number): void {
    this.#reserve(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  #raw({ buffer, byteOffset, byteLength }: Uint8Array | Uint32Array | Float32Array): void {
    this.#reserve(byteLength);
    this.#bytes.set(new Uint8Array(buffer, byteOffset, byteLength), this.#length);
    this.#length += byteLength;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** The vectors of a part, in the order in which they were added. Throws CORRUPTION unless every byte is as written. */
export function decodePart(bytes: Uint8Array): JobVector[] {
  const part = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (part.length < HEADER_BYTES || part.readUInt32LE(0) !== crc32(part.subarray(4))) {
    throw new QuiverError("CORRUPTION", "A stored part of a job is damaged: upload its vectors again");
  }
  const reader = new PartReader(part);
  return Array.from({ length: part.readUInt32LE(4) }, () => reader.next());
}

/** Reads bytes whose checksum was right. */
class PartReader {
  readonly #part: Buffer;
  #at = HEADER_BYTES;

  constructor(part: Buffer) {
    this.#part = part;
  }

  next(): JobVector {
    const position = this.#u32();
    const has = this.#u32();
    const key = this.#take(this.#u32()).toString();
    const metadata = JSON.parse(this.#take(this.#u32()).toString()) as Metadata;
    const data = has & HAS_DATA ? this.#floats(this.#u32()) : undefined;
    const sparse = has & HAS_SPARSE ? this.#sparse(this.#u32()) : undefined;
    const ifVersion = has & HAS_IF_VERSION ? this.#take(8).readDoubleLE() : undefined;
    return {
      position,
      vector: {
        key,
        metadata,
        ...(data && { data }),
        ...(sparse && { sparse }),
        ...(ifVersion !== undefined && { ifVersion }),
      },
    };
  }

  #sparse(count: number) {
    return { indices: new Uint32Array(this.#aligned(count)), values: this.#floats(count) };
  }

  #floats(count: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#aligned(count));
  }

  /** A copy of so many four-byte numbers. */
  #aligned(count: number): ArrayBuffer {
    return Uint8Array.from(this.#take(4 * count)).buffer;
  }

  #u32(): number {
    return this.#take(4).readUInt32LE();
  }

  #take(length: number): Buffer {
    const from = this.#at;
    this.#at += length;
    return this.#part.subarray(from, this.#at);
  }
}
