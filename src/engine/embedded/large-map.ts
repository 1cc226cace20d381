/**
 * A map of any number of entries. V8 refuses to let one Map grow beyond 2^24 of them, which the distinct strings of a few
 * hundred thousand vectors can reach.
 */
export class LargeMap<Key, Value> {
  readonly #first = new Map<Key, Value>();
  /** Full ones are looked through one by one, so many entries cost time in proportion to their multiple of the limit. */
  #more: Map<Key, Value>[] | undefined;

  get(key: Key): Value | undefined {
    return this.#holder(key)?.get(key);
  }

  set(key: Key, value: Value): void {
    (this.#holder(key) ?? this.#withRoom()).set(key, value);
  }

  delete(key: Key): void {
    this.#holder(key)?.delete(key);
  }

  #holder(key: Key): Map<Key, Value> | undefined {
    if (this.#first.has(key)) return this.#first;
    return this.#more?.find((map) => map.has(key));
  }

  #withRoom(): Map<Key, Value> {
    if (this.#first.size < ENTRIES_MAX) return this.#first;
    this.#more ??= [];
    let map = this.#more.find((each) => each.size < ENTRIES_MAX);
    if (!map) {
      map = new Map();
      this.#more.push(map);
    }
    return map;
  }
}

const ENTRIES_MAX = 2 ** 23;
