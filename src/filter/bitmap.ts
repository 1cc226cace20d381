/**
 * Sets of ordinals as bitmaps, the layout that the native search takes: the bit of an ordinal is bit `ordinal & 31` of
 * word `ordinal >> 5`. Beyond the end of a bitmap no bit is set.
 */

const BITS_SHIFT = 5;
const BIT_MASK = 31;

/** Words of a bitmap that has bits for the ordinals 0 to `ordinals - 1`. */
export function wordsFor(ordinals: number): number {
  return Math.ceil(ordinals / 32);
}

export function hasBit(bitmap: Uint32Array, ordinal: number): boolean {
  return ((bitmap[ordinal >>> BITS_SHIFT] ?? 0) & (1 << (ordinal & BIT_MASK))) !== 0;
}

/** Does nothing beyond the end. */
export function setBit(bitmap: Uint32Array, ordinal: number): void {
  const word = ordinal >>> BITS_SHIFT;
  if (word < bitmap.length) bitmap[word] = (bitmap[word] as number) | (1 << (ordinal & BIT_MASK));
}

/** Does nothing beyond the end. */
export function clearBit(bitmap: Uint32Array, ordinal: number): void {
  const word = ordinal >>> BITS_SHIFT;
  if (word < bitmap.length) bitmap[word] = (bitmap[word] as number) & ~(1 << (ordinal & BIT_MASK));
}

/** Keeps in `target` what is in `other` too. */
export function intersect(target: Uint32Array, other: Uint32Array): void {
  const end = Math.min(target.length, other.length);
  for (let i = 0; i < end; i++) target[i] = (target[i] as number) & (other[i] as number);
  target.fill(0, end);
}

/** Adds to `target` what is in `other` and not beyond the target's end. */
export function unite(target: Uint32Array, other: Uint32Array): void {
  const end = Math.min(target.length, other.length);
  for (let i = 0; i < end; i++) target[i] = (target[i] as number) | (other[i] as number);
}

/** Adds to `target` what is in `all` but not in `without`, the first word of both being the target's word `from`. */
export function uniteDifference(target: Uint32Array, all: Uint32Array, without: Uint32Array, from: number): void {
  const end = Math.min(target.length - from, all.length);
  const both = Math.min(end, without.length);
  for (let i = 0; i < both; i++) {
    target[from + i] = (target[from + i] as number) | ((all[i] as number) & ~(without[i] as number));
  }
  for (let i = Math.max(both, 0); i < end; i++) target[from + i] = (target[from + i] as number) | (all[i] as number);
}

/** Sets each bit that is not set, and clears the others, up to the end. */
export function complement(target: Uint32Array): void {
  for (let i = 0; i < target.length; i++) target[i] = ~(target[i] as number);
}

/** How many ordinals are in it. */
export function countBits(bitmap: Uint32Array): number {
  let count = 0;
  for (let i = 0; i < bitmap.length; i++) {
    let word = bitmap[i] as number;
    word -= (word >>> 1) & 0x5555_5555;
    word = (word & 0x3333_3333) + ((word >>> 2) & 0x3333_3333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
  }
  return count;
}

/** The ordinals in it, ascending. */
export function ordinalsOf(bitmap: Uint32Array): Uint32Array {
  const ordinals = new Uint32Array(countBits(bitmap));
  let count = 0;
  for (let i = 0; i < bitmap.length; i++) {
    for (let word = bitmap[i] as number; word !== 0; word &= word - 1) {
      ordinals[count++] = i * 32 + (BIT_MASK - Math.clz32(word & -word));
    }
  }
  return ordinals;
}
