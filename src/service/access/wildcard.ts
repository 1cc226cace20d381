/**
 * A pattern in which `*` stands for any characters, also for none, and `?` for one. It is split once. To match takes no
 * memory and at most as many steps as text and pattern have characters, multiplied: each part between two `*` is sought
 * at its first place only, as any later one leaves less for the parts that follow.
 */
export class Wildcard {
  /** Up to the first `*`. */
  readonly #start: Part;
  readonly #middle: readonly Part[];
  /** From the last `*` on; undefined in a pattern without any. */
  readonly #end: Part | undefined;

  constructor(pattern: string) {
    const [start = toPart(""), ...parts] = pattern.split("*").map(toPart);
    this.#start = start;
    this.#end = parts.pop();
    this.#middle = parts.filter(({ length }) => length > 0);
  }

  matches(text: string): boolean {
    const start = this.#start;
    const end = this.#end;
    if (end === undefined) return text.length === start.length && standsAt(text, 0, start);
    const to = text.length - end.length;
    let from = start.length;
    if (from > to || !standsAt(text, 0, start) || !standsAt(text, to, end)) return false;
    for (const part of this.#middle) {
      const at = find(text, part, from, to);
      if (at === -1) return false;
      from = at + part.length;
    }
    return true;
  }
}

/** A part of a pattern without `*`. */
interface Part {
  readonly characters: string;
  readonly length: number;
  /** Without `?`. */
  readonly isPlain: boolean;
}

function toPart(characters: string): Part {
  return { characters, length: characters.length, isPlain: !characters.includes("?") };
}

/**
 * What may be left of a pattern once it has matched `start`: a text that starts so is matched by the pattern when the rest
 * of the text is matched by one of these.
 */
export function restsAfter(pattern: string, start: string): string[] {
  let places = withoutStars(pattern, new Set([0]));
  for (const character of start) {
    const next = new Set<number>();
    for (const place of places) {
      const wanted = pattern[place];
      if (wanted === "*") next.add(place);
      else if (wanted === "?" || wanted === character) next.add(place + 1);
    }
    places = withoutStars(pattern, next);
  }
  return [...places].map((place) => pattern.slice(place));
}

/** With the places that are reached when a `*` stands for nothing. */
function withoutStars(pattern: string, places: Set<number>): Set<number> {
  for (const place of places) if (pattern[place] === "*") places.add(place + 1);
  return places;
}

function standsAt(text: string, at: number, { characters, length, isPlain }: Part): boolean {
  if (isPlain) return text.startsWith(characters, at);
  for (let i = 0; i < length; i++) {
    const wanted = characters[i];
    if (wanted !== "?" && wanted !== text[at + i]) return false;
  }
  return true;
}

/** The first place of a part that ends at `to` or before, -1 when there is none. */
function find(text: string, part: Part, from: number, to: number): number {
  if (part.isPlain) {
    const at = text.indexOf(part.characters, from);
    return at + part.length <= to ? at : -1;
  }
  for (let at = from; at + part.length <= to; at++) if (standsAt(text, at, part)) return at;
  return -1;
}
