import type { MetadataValue, Vector } from "../../engine.ts";
import { bytesOfSparse } from "../layout.ts";

/** What a write changed in one namespace: whole vectors, and keys. */
export interface Write {
  readonly lsn: number;
  readonly namespace: string;
  readonly puts: readonly Vector[];
  readonly deletes: readonly string[];
}

/** Slots at the front that are empty before the ring moves together. */
const COMPACT_SLOTS = 1_024;
/** What an object takes beside what is counted. */
const OBJECT_BYTES = 64;

const DEFAULT_BUDGET_BYTES = 256 * 1024 * 1024;

/** Bounds the rings of all indexes together: past it, the oldest write of any of them is dropped. */
export class ChangeBudget {
  readonly #maxBytes: number;
  readonly #rings = new Set<ChangeRing>();
  #bytes = 0;

  /** @param maxBytes Default 256 MiB. */
  constructor(maxBytes = DEFAULT_BUDGET_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Called by a ring whose size has changed by so many bytes. */
  resized(ring: ChangeRing, by: number): void {
    this.#bytes += by;
    if (ring.bytes === 0) this.#rings.delete(ring);
    else this.#rings.add(ring);
    if (by > 0) while (this.#bytes > this.#maxBytes) this.#oldest().dropOldest();
  }

  #oldest(): ChangeRing {
    return this.#rings.values().reduce((oldest, ring) => (ring.oldestLsn < oldest.oldestLsn ? ring : oldest));
  }
}

/** The newest writes of one index, in memory. Holds references to what the requests brought. */
export class ChangeRing {
  readonly #maxBytes: number;
  readonly #budget: ChangeBudget;
  readonly #entries: ({ readonly write: Write; readonly bytes: number } | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #floor = 0;

  constructor(maxBytes: number, budget: ChangeBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Every write of the index after this lsn is here. */
  get floor(): number {
    return this.#floor;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get oldestLsn(): number {
    return this.#entries[this.#head]?.write.lsn ?? Number.POSITIVE_INFINITY;
  }

  /** Writes come in the order of their lsn. */
  push(write: Write): void {
    const bytes = sizeOf(write);
    this.#entries.push({ write, bytes });
    this.#resize(bytes);
    while (this.#bytes > this.#maxBytes) this.dropOldest();
  }

  /** The first write from this lsn on. */
  from(lsn: number): Write | undefined {
    let low = this.#head;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#entries[middle]?.write.lsn ?? 0) < lsn) low = middle + 1;
      else high = middle;
    }
    return this.#entries[low]?.write;
  }

  dropOldest(): void {
    const oldest = this.#entries[this.#head];
    if (!oldest) return;
    this.#entries[this.#head++] = undefined;
    this.#floor = oldest.write.lsn;
    if (this.#head >= COMPACT_SLOTS && 2 * this.#head > this.#entries.length) {
      this.#entries.splice(0, this.#head);
      this.#head = 0;
    }
    this.#resize(-oldest.bytes);
  }

  /** Forgets everything up to an lsn that is not below that of any write here. */
  clear(floor: number): void {
    this.#floor = floor;
    if (this.#bytes === 0) return;
    this.#entries.length = 0;
    this.#head = 0;
    this.#resize(-this.#bytes);
  }

  #resize(by: number): void {
    this.#bytes += by;
    this.#budget.resized(this, by);
  }
}

/** About what a write takes in memory. */
function sizeOf({ puts, deletes }: Write): number {
  let bytes = OBJECT_BYTES;
  for (const key of deletes) bytes += OBJECT_BYTES + 2 * key.length;
  for (const { key, data, sparse, metadata } of puts) {
    bytes += 2 * OBJECT_BYTES + 2 * key.length + (data?.byteLength ?? 0);
    if (sparse) bytes += 2 * OBJECT_BYTES + bytesOfSparse(sparse);
    if (metadata) bytes += sizeOfValue(metadata);
  }
  return bytes;
}

function sizeOfValue(value: MetadataValue): number {
  if (typeof value === "string") return OBJECT_BYTES + 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  let bytes = OBJECT_BYTES;
  for (const [key, item] of Object.entries(value)) bytes += 16 + 2 * key.length + sizeOfValue(item as MetadataValue);
  return bytes;
}
