import { invalidField, QuiverError } from "../errors.ts";

/**
 * Reads the members of a JSON object. A member that is absent or null is undefined; one of another type is refused with
 * MALFORMED_REQUEST and its path, such as `vectors[3].data`. Members that nobody asks for are passed over.
 */
export class JsonFields {
  readonly #members: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(value: unknown, path = "") {
    if (!isObject(value)) throw wrongType(path, "an object", value);
    this.#members = value;
    this.#path = path === "" ? "" : `${path}.`;
  }

  /** Whether there is such a member, also when it is null. */
  has(name: string): boolean {
    return Object.hasOwn(this.#members, name);
  }

  names(): string[] {
    return Object.keys(this.#members);
  }

  /** Of whatever type; null is told from what is absent. */
  value(name: string): unknown {
    // Not a member of the prototype, such as "constructor".
    return this.has(name) ? this.#members[name] : undefined;
  }

  string(name: string): string | undefined {
    return this.#typed(name, "a string", (value) => typeof value === "string");
  }

  /** Without a fraction, and exact. */
  integer(name: string): number | undefined {
    return this.#typed(name, "an integer", (value): value is number => Number.isSafeInteger(value));
  }

  number(name: string): number | undefined {
    return this.#typed(name, "a number", (value) => typeof value === "number");
  }

  boolean(name: string): boolean | undefined {
    return this.#typed(name, "a boolean", (value) => typeof value === "boolean");
  }

  object(name: string): Readonly<Record<string, unknown>> | undefined {
    return this.#typed(name, "an object", isObject);
  }

  fields(name: string): JsonFields | undefined {
    const value = this.object(name);
    return value && new JsonFields(value, this.pathOf(name));
  }

  list(name: string): readonly unknown[] | undefined {
    return this.#typed(name, "a list", (value): value is readonly unknown[] => Array.isArray(value));
  }

  strings(name: string): readonly string[] | undefined {
    const list = this.list(name);
    for (const [i, item] of (list ?? []).entries()) {
      if (typeof item !== "string") throw wrongType(`${this.pathOf(name)}[${i}]`, "a string", item);
    }
    return list as readonly string[] | undefined;
  }

  /** The members of each object of a list. */
  items(name: string): readonly JsonFields[] | undefined {
    return this.list(name)?.map((item, i) => new JsonFields(item, `${this.pathOf(name)}[${i}]`));
  }

  /** Numbers as float32, which is what they may be already; too large ones are infinite, which no vector may be. */
  floats(name: string): Float32Array | undefined {
    const value = this.value(name);
    if (value instanceof Float32Array) return value;
    const list = this.#numbers(name);
    return list && Float32Array.from(list);
  }

  /** Whole numbers of 32 bits. Throws INVALID_FIELD for others. */
  ordinals(name: string): Uint32Array | undefined {
    const list = this.#numbers(name);
    const wrong = (list ?? []).findIndex((value) => value >>> 0 !== value);
    if (wrong >= 0)
      throw invalidField(`${this.pathOf(name)}[${wrong}]`, `Must be 0 to 4294967295, got ${list?.[wrong]}`);
    return list && Uint32Array.from(list);
  }

  /** Where a member stands in the request. */
  pathOf(name: string): string {
    return `${this.#path}${name}`;
  }

  #numbers(name: string): readonly number[] | undefined {
    const list = this.list(name);
    if (list === undefined) return undefined;
    for (let i = 0; i < list.length; i++) {
      if (typeof list[i] !== "number") throw wrongType(`${this.pathOf(name)}[${i}]`, "a number", list[i]);
    }
    return list as readonly number[];
  }

  #typed<T>(name: string, type: string, is: (value: unknown) => value is T): T | undefined {
    const value = this.value(name);
    if (value === undefined || value === null) return undefined;
    if (!is(value)) throw wrongType(this.pathOf(name), type, value);
    return value;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrongType(path: string, type: string, value: unknown): QuiverError {
  const field = path === "" ? "body" : path;
  const given =
    value === undefined ? "nothing" : value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
  const description = `Must be ${type}, got ${given}`;
  return new QuiverError("MALFORMED_REQUEST", `${field}: ${description}`, { violations: [{ field, description }] });
}
