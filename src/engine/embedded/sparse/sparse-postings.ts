import { randomBytes } from "node:crypto";

/**
 * Entries (ordinal, weight) by position, in typed arrays: no object for a position or an entry, so that millions of
 * positions with one entry each cost 21 to 43 bytes each. Entries are only added.
 *
 * A slot of a table: | position u32 | count u32 | head u32 | weight f32 |. With one entry it is in the slot: `head` is
 * its ordinal. With more, `head` is the address of the newest of a chain of blocks, in units of entries.
 * An entry: | ordinal u32 | weight f32 |. A block is 2^n entries long, the first of which is its header:
 * | address of the block before u32 | used u16 | length u16 |.
 */
export class SparsePostings {
  // A table that grows is hashed anew, so there are many when it becomes long: none blocks the process for long then.
  #tables: Table[] = [new Table(SLOTS_MIN)];
  #segments: Words[] = [];
  /** Entries used of the last segment. */
  #used = 0;

  /** Bytes held. */
  get bytes(): number {
    return [...this.#tables, ...this.#segments].reduce((sum, { words }) => sum + words.byteLength, 0);
  }

  add(position: number, ordinal: number, weight: number): void {
    const table = this.#tableWithRoom(position);
    const { words, floats } = table;
    const slot = table.slotOf(position);
    const count = words[slot + COUNT] as number;
    if (count === 0) {
      words[slot] = position;
      words[slot + HEAD] = ordinal;
      floats[slot + WEIGHT] = weight;
      table.used++;
    } else if (count === 1) {
      const block = this.#newBlock(NO_BLOCK, BLOCK_MIN);
      this.#append(block, words[slot + HEAD] as number, floats[slot + WEIGHT] as number);
      this.#append(block, ordinal, weight);
      words[slot + HEAD] = block;
    } else {
      words[slot + HEAD] = this.#withRoom(words[slot + HEAD] as number);
      this.#append(words[slot + HEAD] as number, ordinal, weight);
    }
    words[slot + COUNT] = count + 1;
  }

  /**
   * Adds factor * weight to the score of each eligible ordinal of a position, and marks it in `touched`. Returns how many
   * entries were read.
   */
  accumulate(position: number, factor: number, accumulator: Accumulator): number {
    const table = this.#tableOf(position);
    const slot = table.slotOf(position);
    const count = table.words[slot + COUNT] as number;
    if (count === 1) {
      accumulateSpan(table, { first: slot + HEAD, last: slot + HEAD + ENTRY_WORDS, factor }, accumulator);
    } else if (count > 1) {
      for (let block = table.words[slot + HEAD] as number; block !== NO_BLOCK; ) {
        const segment = this.#segmentOf(block);
        const at = wordOf(block);
        const used = (segment.words[at + 1] as number) & 0xffff;
        const span = { first: at + ENTRY_WORDS, last: at + used * ENTRY_WORDS, factor };
        accumulateSpan(segment, span, accumulator);
        block = segment.words[at] as number;
      }
    }
    return count;
  }

  #tableOf(position: number): Table {
    return this.#tables[(hashOf(position) >>> 24) & (this.#tables.length - 1)] as Table;
  }

  #tableWithRoom(position: number): Table {
    const table = this.#tableOf(position);
    if (!table.isFull) return table;
    if (table.slots < SLOTS_BEFORE_SPLIT || this.#tables.length > 1) {
      this.#tables[this.#tables.indexOf(table)] = table.grown();
    } else {
      this.#tables = Array.from({ length: TABLES }, () => new Table(SLOTS_AFTER_SPLIT));
      table.forEach((slot) => {
        const position = table.words[slot] as number;
        this.#tableWithRoom(position).take(table, slot);
      });
    }
    return this.#tableOf(position);
  }

  /** The block, or when it is full a new one before it. */
  #withRoom(block: number): number {
    const header = this.#segmentOf(block).words[wordOf(block) + 1] as number;
    const length = header >>> 16;
    return (header & 0xffff) < length ? block : this.#newBlock(block, Math.min(length * 2, BLOCK_MAX));
  }

  #newBlock(before: number, length: number): number {
    const last = this.#segments.at(-1);
    if (last === undefined || this.#used + length > last.words.length / ENTRY_WORDS) this.#grow();
    const block = (this.#segments.length - 1) * SEGMENT_ENTRIES + this.#used;
    this.#used += length;
    const { words } = this.#segmentOf(block);
    words[wordOf(block)] = before;
    words[wordOf(block) + 1] = (length << 16) | 1;
    return block;
  }

  /** Doubles the first segment until it is whole, so that a small index stays small; then adds whole ones. */
  #grow(): void {
    const [first] = this.#segments;
    if (first === undefined) {
      this.#segments = [new Words(SEGMENT_ENTRIES_MIN * ENTRY_WORDS)];
    } else if (first.words.length < SEGMENT_ENTRIES * ENTRY_WORDS) {
      const longer = new Words(first.words.length * 2);
      longer.words.set(first.words);
      this.#segments = [longer];
    } else if (this.#segments.length < SEGMENTS_MAX) {
      this.#segments.push(new Words(SEGMENT_ENTRIES * ENTRY_WORDS));
      this.#used = 0;
    } else {
      throw new RangeError(`Cannot hold more than ${SEGMENTS_MAX * SEGMENT_ENTRIES} entries`);
    }
  }

  #append(block: number, ordinal: number, weight: number): void {
    const { words, floats } = this.#segmentOf(block);
    const at = wordOf(block);
    const header = words[at + 1] as number;
    const entry = at + (header & 0xffff) * ENTRY_WORDS;
    words[entry] = ordinal;
    floats[entry + 1] = weight;
    words[at + 1] = header + 1;
  }

  #segmentOf(block: number): Words {
    return this.#segments[Math.floor(block / SEGMENT_ENTRIES)] as Words;
  }
}

/** What a search adds up: bitmaps of ordinals, and a score for each ordinal of `touched`. */
export interface Accumulator {
  readonly eligible: Uint32Array;
  readonly touched: Uint32Array;
  readonly scores: Float64Array;
}

interface Span {
  /** Words of entries. */
  readonly first: number;
  readonly last: number;
  readonly factor: number;
}

function accumulateSpan({ words, floats }: Words, { first, last, factor }: Span, accumulator: Accumulator): void {
  const { eligible, touched, scores } = accumulator;
  const end = Math.min(eligible.length, touched.length);
  for (let at = first; at < last; at += ENTRY_WORDS) {
    const ordinal = words[at] as number;
    const word = ordinal >>> 5;
    const bit = 1 << (ordinal & 31);
    if (word >= end || ((eligible[word] as number) & bit) === 0) continue;
    touched[word] = (touched[word] as number) | bit;
    scores[ordinal] = (scores[ordinal] as number) + (floats[at + 1] as number) * factor;
  }
}

const SLOT_WORDS = 4;
const COUNT = 1;
const HEAD = 2;
const WEIGHT = 3;
const SLOTS_MIN = 16;
const SLOTS_BEFORE_SPLIT = 16_384;
const SLOTS_AFTER_SPLIT = 128;
const TABLES = 256;

const ENTRY_WORDS = 2;
const BLOCK_MIN = 4;
const BLOCK_MAX = 4_096;
const SEGMENT_ENTRIES_MIN = 64;
const SEGMENT_ENTRIES = 65_536;
const SEGMENTS_MAX = 65_535;
const NO_BLOCK = 0xffff_ffff;

function wordOf(block: number): number {
  return (block % SEGMENT_ENTRIES) * ENTRY_WORDS;
}

// Nobody outside can find positions that collide.
const SEED = randomBytes(4).readUInt32LE();

/** The finalizer of MurmurHash3. */
function hashOf(position: number): number {
  let hash = position ^ SEED;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The same bytes as u32 and as float32. */
class Words {
  readonly words: Uint32Array;
  readonly floats: Float32Array;

  constructor(length: number) {
    this.words = new Uint32Array(length);
    this.floats = new Float32Array(this.words.buffer);
  }
}

/** Slots by position, with linear probing; the number of slots is a power of two. */
class Table extends Words {
  readonly slots: number;
  used = 0;

  constructor(slots: number) {
    super(slots * SLOT_WORDS);
    this.slots = slots;
  }

  get isFull(): boolean {
    return this.used >= this.slots * 0.75;
  }

  /** The first word of the position's slot, or of the empty one (count 0) where it would be. */
  slotOf(position: number): number {
    for (let slot = hashOf(position); ; slot++) {
      const at = (slot & (this.slots - 1)) * SLOT_WORDS;
      if (this.words[at + COUNT] === 0 || this.words[at] === position) return at;
    }
  }

  forEach(visit: (slot: number) => void): void {
    for (let slot = 0; slot < this.words.length; slot += SLOT_WORDS) if (this.words[slot + COUNT] !== 0) visit(slot);
  }

  /** Copies a slot of another table. */
  take(from: Table, slot: number): void {
    this.words.set(from.words.subarray(slot, slot + SLOT_WORDS), this.slotOf(from.words[slot] as number));
    this.used++;
  }

  grown(): Table {
    const larger = new Table(this.slots * 2);
    this.forEach((slot) => {
      larger.take(this, slot);
    });
    return larger;
  }
}
