/** A seeded generator of test data; the seed is printed, and QUIVER_TEST_SEED replays it. */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed = Number(process.env.QUIVER_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** In [0, 1): mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item;
  }

  /** Values around 0 of a normal distribution, as float32. */
  vector(dimension: number): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: dimension }, () => {
      const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
      return radius * Math.cos(2 * Math.PI * this.next());
    });
  }
}
