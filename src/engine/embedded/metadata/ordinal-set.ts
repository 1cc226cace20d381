import { clearBit, hasBit, ordinalsOf, setBit, unite, wordsFor } from "../../../filter/bitmap.ts";

/**
 * A set of ordinals: a sorted array, or a bitmap from the point where that is smaller. When ordinals become rare again,
 * growing turns the bitmap back: else each value that was ever common would keep a bit per vector for good. Between the
 * two stands a factor of two, so that the form does not change at every step.
 */
export class OrdinalSet {
  /** Sorted up to `#size`, unless `#dense`: then the bitmap. */
  #words = new Uint32Array(4);
  #dense = false;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return OBJECT_BYTES + this.#words.byteLength;
  }

  /** Adding what is there changes nothing. */
  add(ordinal: number): void {
    if (this.#dense && !this.#reserveBit(ordinal)) this.#toSorted();
    if (this.#dense) {
      if (hasBit(this.#words, ordinal)) return;
      setBit(this.#words, ordinal);
      this.#size++;
    } else {
      this.#insert(ordinal);
    }
  }

  /** Removing what is not there changes nothing. */
  remove(ordinal: number): void {
    if (this.#dense) {
      if (!hasBit(this.#words, ordinal)) return;
      clearBit(this.#words, ordinal);
      this.#size--;
      return;
    }
    const at = this.#position(ordinal);
    if (at === this.#size || this.#words[at] !== ordinal) return;
    this.#words.copyWithin(at, at + 1, this.#size);
    this.#size--;
  }

  /** Sets the bits of all ordinals; those beyond the bitmap's end are passed over. */
  addTo(bitmap: Uint32Array): void {
    if (this.#dense) {
      unite(bitmap, this.#words);
      return;
    }
    const words = this.#words;
    for (let i = 0; i < this.#size; i++) setBit(bitmap, words[i] as number);
  }

  #insert(ordinal: number): void {
    const at = this.#position(ordinal);
    if (at < this.#size && this.#words[at] === ordinal) return;
    const last = Math.max(ordinal, this.#words[this.#size - 1] ?? 0);
    if (wordsFor(last + 1) < this.#size) {
      this.#toBitmap(last);
      this.add(ordinal);
      return;
    }
    if (this.#size === this.#words.length) this.#words = resized(this.#words, grown(this.#size + 1));
    this.#words.copyWithin(at + 1, at, this.#size);
    this.#words[at] = ordinal;
    this.#size++;
  }

  /** Of the first ordinal that is not smaller. */
  #position(ordinal: number): number {
    const words = this.#words;
    // Most ordinals are larger than all before.
    if (this.#size === 0 || (words[this.#size - 1] as number) < ordinal) return this.#size;
    let low = 0;
    let high = this.#size - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((words[middle] as number) < ordinal) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** False when the bitmap would have to grow to more than twice the bytes of a sorted array. */
  #reserveBit(ordinal: number): boolean {
    const needed = wordsFor(ordinal + 1);
    if (needed <= this.#words.length) return true;
    if (needed > 2 * this.#size + 2) return false;
    this.#words = resized(this.#words, grown(needed));
    return true;
  }

  #toBitmap(last: number): void {
    const bitmap = new Uint32Array(grown(wordsFor(last + 1)));
    this.addTo(bitmap);
    this.#words = bitmap;
    this.#dense = true;
  }

  #toSorted(): void {
    this.#words = resized(ordinalsOf(this.#words), grown(this.#size + 1));
    this.#dense = false;
  }
}

/** The object and its typed array, without the array's bytes. */
const OBJECT_BYTES = 200;

function grown(length: number): number {
  return length + (length >>> 2) + 4;
}

function resized(words: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const copy = new Uint32Array(length);
  copy.set(words);
  return copy;
}
