/**
 * A map of any number of entries. V8 refuses to let one Map grow beyond 2^24 of them, which the distinct strings of a few
 * hundred thousand vectors can reach.
 */
export class LargeMap<Key, Value> {
  readonly #first = new Map<Key, Value>();
  /** What does not fit into the first; looked through one after the other. */
  #more: Map<Key, Value>[] | undefined;
  readonly #entriesPerMap: number;

  constructor(entriesPerMap = ENTRIES_PER_MAP) {
    this.#entriesPerMap = entriesPerMap;
  }

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
    if (this.#first.size < this.#entriesPerMap) return this.#first;
    this.#more ??= [];
    let map = this.#more.find((each) => each.size < this.#entriesPerMap);
    if (!map) {
      map = new Map();
      this.#more.push(map);
    }
    return map;
  }
}

const ENTRIES_PER_MAP = 2 ** 23;
