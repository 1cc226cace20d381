const BLOCK_MIN_BYTES = 512;
const BLOCK_MAX_BYTES = 64 * 1024;
/** A chunk from here on is kept as it is. */
const LARGE_BYTES = 16 * 1024;

/**
 * Gathers the chunks of a body. Small ones are copied into blocks: a chunk of one byte is an object of some hundred
 * bytes, and may keep all that came in the same read from being freed.
 */
export class ChunkBuffer {
  private blocks: Uint8Array[] = [];
  private tail: Buffer = Buffer.alloc(0);
  private tailUsed = 0;
  private gathered = 0;

  /** Bytes gathered. */
  get length(): number {
    return this.gathered;
  }

  /** Objects that hold them: at most one per 16 KiB, and some 20 more. */
  get blockCount(): number {
    return this.blocks.length + (this.tailUsed > 0 ? 1 : 0);
  }

  push(chunk: Uint8Array): void {
    if (chunk.length >= LARGE_BYTES) {
      this.closeTail();
      this.blocks.push(chunk);
    } else {
      if (this.tailUsed + chunk.length > this.tail.length) {
        const size = Math.max(chunk.length, BLOCK_MIN_BYTES, Math.min(this.gathered, BLOCK_MAX_BYTES));
        this.closeTail();
        this.tail = Buffer.allocUnsafeSlow(size);
      }
      this.tail.set(chunk, this.tailUsed);
      this.tailUsed += chunk.length;
    }
    this.gathered += chunk.length;
  }

  /** Takes all bytes in one piece and leaves the buffer empty. */
  take(): Buffer {
    this.closeTail();
    const [first] = this.blocks;
    const whole =
      this.blocks.length === 1 && first !== undefined
        ? Buffer.from(first.buffer, first.byteOffset, first.byteLength)
        : Buffer.concat(this.blocks, this.gathered);
    this.blocks = [];
    this.gathered = 0;
    return whole;
  }

  private closeTail(): void {
    if (this.tailUsed > 0) this.blocks.push(this.tail.subarray(0, this.tailUsed));
    this.tail = Buffer.alloc(0);
    this.tailUsed = 0;
  }
}
