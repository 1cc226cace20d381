import { type FieldViolation, QuiverError } from "../../errors.ts";
import { JsonFields } from "../json-fields.ts";
import type { Range } from "./limits.ts";

interface Demands {
  readonly length?: Range;
  /** The model's pattern, as messages quote it; the whole of the text must match it. */
  readonly pattern?: string;
  readonly isRequired?: boolean;
}

/**
 * Reads a request's members. What breaks the service's model, or a rule beyond it, is gathered and thrown at once by
 * `assertValid`, in the words of the service; of what is wrong with a member, its value is read all the same.
 */
export class Input {
  readonly fields: JsonFields;
  readonly #path: string;
  readonly #found: Found;

  constructor(body: unknown, path = "", found: Found = { broken: [] }) {
    this.fields = new JsonFields(body, path.slice(1).replace(/\//g, "."));
    this.#path = path;
    this.#found = found;
  }

  /** "" when it is absent, which breaks the model if it is required. */
  string(name: string, demands: Demands = {}): string {
    const text = this.fields.string(name);
    this.require(name, text !== undefined || !demands.isRequired);
    return text === undefined ? "" : this.text(name, text, demands);
  }

  /** Holds a text that is no member's value to the demands. */
  text(name: string, text: string, { length, pattern }: Demands): string {
    if (!text.isWellFormed()) throw new QuiverError("MALFORMED_REQUEST", `${this.#at(name)}: Must be valid Unicode`);
    if (length) this.#assertLength(name, countOf(text), length);
    if (pattern !== undefined && !regExpOf(pattern).test(text)) {
      this.#breaks(name, "Value", `Member must satisfy regular expression pattern: ${pattern}`);
    }
    return text;
  }

  integer(name: string, range: Range, isRequired = false): number | undefined {
    const value = this.fields.integer(name);
    this.require(name, value !== undefined || !isRequired);
    const { min, max } = range;
    if (value === undefined || (value >= min && value <= (max ?? value))) return value;
    this.#breaks(name, "Value", `Member must be between ${min} and ${max}, inclusive`);
    return value;
  }

  boolean(name: string): boolean {
    return this.fields.boolean(name) ?? false;
  }

  /** Undefined when it is absent or another. */
  choice<Value extends string>(name: string, values: readonly Value[], isRequired = false): Value | undefined {
    const text = this.fields.string(name);
    this.require(name, text !== undefined || !isRequired);
    const found = values.find((value) => value === text);
    if (text !== undefined && found === undefined) {
      this.#breaks(name, "Value", `Member must satisfy enum value set: [${values.join(", ")}]`);
    }
    return found;
  }

  strings(name: string, length: Range, ofEach: Range): readonly string[] {
    const list = this.fields.strings(name);
    this.require(name, list !== undefined);
    if (list === undefined || !this.#assertLength(name, list.length, length)) return [];
    return list.map((text, i) => this.text(`${name}/${i}`, text, { length: ofEach }));
  }

  /** The members of each object of a list; of a list that is too long, of none. */
  items(name: string, length: Range): readonly Input[] {
    const list = this.fields.list(name);
    this.require(name, list !== undefined);
    if (list === undefined || !this.#assertLength(name, list.length, length)) return [];
    return list.map((item, i) => new Input(item, this.#at(`${name}/${i}`), this.#found));
  }

  /** The members of an object. */
  input(name: string): Input | undefined {
    const value = this.fields.object(name);
    return value && new Input(value, this.#at(name), this.#found);
  }

  require(name: string, isThere: boolean): void {
    if (!isThere) this.#breaks(name, "Value null", "Member must not be null");
  }

  /** A rule beyond the model, told only of a request that breaks nothing of the model. */
  rule(isMet: boolean, field: string, message: string): void {
    if (!isMet) this.#found.rule ??= { field, description: message };
  }

  /** Throws INVALID_FIELD. */
  assertValid(): void {
    const { broken, rule } = this.#found;
    if (broken.length > 0) {
      const count = `${broken.length} validation error${broken.length > 1 ? "s" : ""} detected. `;
      const message = count + broken.map(({ description }) => description).join("; ");
      throw new QuiverError("INVALID_FIELD", message, { violations: broken });
    }
    if (rule) throw new QuiverError("INVALID_FIELD", rule.description, { violations: [rule] });
  }

  #assertLength(name: string, length: number, { min, max = length }: Range): boolean {
    if (length >= min && length <= max) return true;
    this.#breaks(name, `Value with length ${length}`, `Member must have length between ${min} and ${max}, inclusive`);
    return false;
  }

  #breaks(name: string, value: string, must: string): void {
    const { broken } = this.#found;
    const field = this.#at(name);
    const description = `${value} at '${field}' failed to satisfy constraint: ${must}`;
    if (broken.length < BROKEN_MAX) broken.push({ field, description });
  }

  #at(name: string): string {
    return `${this.#path}/${name}`;
  }
}

interface Found {
  readonly broken: FieldViolation[];
  /** The first rule that is not met. */
  rule?: FieldViolation;
}

/** More are not told. */
const BROKEN_MAX = 20;

/** Characters of a well-formed text, of which a surrogate pair is one. It may be as long as a request: an iterator takes ten times as long. */
function countOf(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if (isHighSurrogate(text.charCodeAt(i))) count--;
  return count;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

const REG_EXPS = new Map<string, RegExp>();

/** For patterns of the model, of which there are few. */
function regExpOf(pattern: string): RegExp {
  const known = REG_EXPS.get(pattern) ?? new RegExp(`^(?:${pattern})$`, "u");
  REG_EXPS.set(pattern, known);
  return known;
}
