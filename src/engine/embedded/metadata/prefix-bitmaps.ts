import { clearBit, setBit, uniteDifference, wordsFor } from "../../../filter/bitmap.ts";

/**
 * A list of distinct ordinals cut into blocks of equal length, with bitmaps of the ordinals up to the end of each block: the
 * difference of two is all that stands between, so that a wide range costs little more than its two ends. The bitmaps cover
 * the words from the smallest ordinal to the largest, and take at most 3 bytes per ordinal.
 */
export class PrefixBitmaps {
  /** Ordinals in a block; the last block may have fewer. */
  readonly #blockLength: number;
  readonly #blocks: number;
  readonly #length: number;
  readonly #firstWord: number;
  readonly #wordsPerBlock: number;
  /** The bitmaps one after the other. */
  readonly #words: Uint32Array;

  private constructor(ordinals: Uint32Array, blocksMax: number, span: Span) {
    this.#length = ordinals.length;
    this.#blockLength = Math.ceil(this.#length / blocksMax);
    this.#blocks = Math.ceil(this.#length / this.#blockLength);
    this.#firstWord = span.firstWord;
    this.#wordsPerBlock = span.words;
    this.#words = new Uint32Array(this.#blocks * span.words);
    for (let block = 0; block < this.#blocks; block++) {
      const bitmap = this.#bitmap(block);
      if (block > 0) bitmap.set(this.#bitmap(block - 1));
      const end = Math.min(this.#length, (block + 1) * this.#blockLength);
      for (let i = block * this.#blockLength; i < end; i++)
        setBit(bitmap, (ordinals[i] as number) - this.#firstOrdinal);
    }
  }

  /** Undefined when the list is short, or the bitmaps would be too large for what they are worth. */
  static of(ordinals: Uint32Array): PrefixBitmaps | undefined {
    if (ordinals.length < LENGTH_MIN) return undefined;
    const span = spanOf(ordinals);
    const blocks = Math.min(BLOCKS_MAX, Math.floor((ordinals.length * BYTES_PER_ORDINAL_MAX) / (span.words * 4)));
    return blocks < BLOCKS_MIN ? undefined : new PrefixBitmaps(ordinals, blocks, span);
  }

  get bytes(): number {
    return this.#words.byteLength;
  }

  /** The ordinal at this position leaves the list, whose positions stay as they are. */
  clear(position: number, ordinal: number): void {
    for (let block = Math.floor(position / this.#blockLength); block < this.#blocks; block++) {
      clearBit(this.#bitmap(block), ordinal - this.#firstOrdinal);
    }
  }

  /** Sets the bits of the blocks that lie whole between two positions, and answers from where to where; or undefined. */
  addWithin(start: number, end: number, into: Uint32Array): { start: number; end: number } | undefined {
    const first = Math.ceil(start / this.#blockLength);
    const last = end === this.#length ? this.#blocks : Math.floor(end / this.#blockLength);
    if (first >= last) return undefined;
    const before = first > 0 ? this.#bitmap(first - 1) : NOTHING;
    uniteDifference(into, this.#bitmap(last - 1), before, this.#firstWord);
    return { start: first * this.#blockLength, end: Math.min(end, last * this.#blockLength) };
  }

  get #firstOrdinal(): number {
    return this.#firstWord * 32;
  }

  #bitmap(block: number): Uint32Array {
    return this.#words.subarray(block * this.#wordsPerBlock, (block + 1) * this.#wordsPerBlock);
  }
}

interface Span {
  readonly firstWord: number;
  readonly words: number;
}

function spanOf(ordinals: Uint32Array): Span {
  let least = ordinals[0] ?? 0;
  let most = least;
  for (const ordinal of ordinals) {
    if (ordinal < least) least = ordinal;
    if (ordinal > most) most = ordinal;
  }
  const firstWord = Math.floor(least / 32);
  return { firstWord, words: wordsFor(most + 1) - firstWord };
}

const NOTHING = new Uint32Array(0);
const LENGTH_MIN = 1_024;
const BLOCKS_MIN = 4;
const BLOCKS_MAX = 24;
const BYTES_PER_ORDINAL_MAX = 3;
