import { invalidField, type QuiverError, quote } from "../errors.ts";
import type { Bounds, Filter, FilterValue } from "./filter.ts";
import { FILTER_LIMITS } from "./limits.ts";

export interface ParseFilterOptions {
  /** Where the filter stands in the request, for the paths of errors: "filter". */
  readonly field: string;
  /** The index's metadata keys that a filter must not name. */
  readonly nonFilterableKeys: readonly string[];
}

/**
 * Reads a filter from JSON, or throws FILTER_INVALID with the path of what is wrong: `filter.$and[1]["year"].$gt`.
 *
 * A level is an object within an object: the filter itself is level 1, an object under a key or an operator, or in the
 * list of one, is one level deeper than the object around it. A node is a JSON value at any depth: the filter itself, the
 * value of each key and operator, each element of a list. Names count in neither, but do count in the bytes.
 */
export function parseFilter(value: unknown, { field, nonFilterableKeys }: ParseFilterOptions): Filter {
  const filter = new Parser(field, nonFilterableKeys).filter(field, value, 1);
  // Now that nothing nests deeply, turning it into JSON cannot exhaust the stack.
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes > FILTER_LIMITS.filterBytesMax) {
    throw invalid(field, `Must be at most ${FILTER_LIMITS.filterBytesMax} bytes as JSON, has ${bytes}`);
  }
  return filter;
}

const LOGICAL_OPERATORS = ["$and", "$or", "$not"];
const KEY_OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"];

class Parser {
  readonly #field: string;
  readonly #nonFilterableKeys: readonly string[];
  #nodes = 1;

  constructor(field: string, nonFilterableKeys: readonly string[]) {
    this.#field = field;
    this.#nonFilterableKeys = nonFilterableKeys;
  }

  /** What stands at the top, under `$not`, and in the lists of `$and` and `$or`. */
  filter(path: string, value: unknown, depth: number): Filter {
    const members = this.#members(path, value, depth);
    return allOf(
      members.map(([name, operand]) =>
        name.startsWith("$")
          ? this.#logical(path, name, operand, depth)
          : this.#condition(`${path}[${quote(name)}]`, name, operand, depth),
      ),
    );
  }

  #logical(parent: string, operator: string, operand: unknown, depth: number): Filter {
    const path = operatorPath(parent, operator);
    switch (operator) {
      case "$and":
        return allOf(this.#filters(path, operand, depth));
      case "$or": {
        const filters = this.#filters(path, operand, depth);
        return filters.length === 1 && filters[0] ? filters[0] : { kind: "or", filters };
      }
      case "$not":
        return { kind: "not", filter: this.filter(path, operand, depth + 1) };
      default:
        throw unknownOperator(path, operator, "beside keys", LOGICAL_OPERATORS);
    }
  }

  #filters(path: string, value: unknown, depth: number): Filter[] {
    return this.#elements(path, value).map((each, i) => this.filter(`${path}[${i}]`, each, depth + 1));
  }

  #condition(path: string, key: string, operand: unknown, depth: number): Filter {
    if (!key.isWellFormed()) throw invalid(path, "Must be valid Unicode");
    if (this.#nonFilterableKeys.includes(key)) {
      throw invalid(path, "Must not be one of the index's non-filterable metadata keys", { non_filterable_key: key });
    }
    if (isObject(operand)) return this.#operators(path, key, operand, depth + 1);
    return oneOf(key, [scalar(path, operand, "a string, a number, a boolean or an object of operators")]);
  }

  /** What stands under a key, and under a `$not` there. */
  #operators(path: string, key: string, value: unknown, depth: number): Filter {
    const filters: Filter[] = [];
    const bounds: { -readonly [Bound in keyof Bounds]: number } = {};
    for (const [operator, operand] of this.#members(path, value, depth)) {
      const operandPath = operatorPath(path, operator);
      switch (operator) {
        case "$gt":
          bounds.gt = finite(operandPath, operand);
          break;
        case "$gte":
          bounds.gte = finite(operandPath, operand);
          break;
        case "$lt":
          bounds.lt = finite(operandPath, operand);
          break;
        case "$lte":
          bounds.lte = finite(operandPath, operand);
          break;
        case "$not":
          filters.push({ kind: "not", filter: this.#operators(operandPath, key, operand, depth + 1) });
          break;
        default:
          filters.push(this.#comparison(operandPath, key, operator, operand));
      }
    }
    if (Object.keys(bounds).length > 0) filters.push({ kind: "range", key, bounds: tightest(bounds) });
    return allOf(filters);
  }

  #comparison(path: string, key: string, operator: string, operand: unknown): Filter {
    switch (operator) {
      case "$eq":
        return oneOf(key, [scalar(path, operand)]);
      case "$ne":
        return { kind: "not", filter: oneOf(key, [scalar(path, operand)]) };
      case "$in":
        return oneOf(key, this.#scalars(path, operand));
      case "$nin":
        return { kind: "not", filter: oneOf(key, this.#scalars(path, operand)) };
      case "$exists": {
        if (typeof operand !== "boolean") throw invalid(path, `Must be true or false, got ${describe(operand)}`);
        return operand ? { kind: "exists", key } : { kind: "not", filter: { kind: "exists", key } };
      }
      default:
        throw unknownOperator(path, operator, "under a key", KEY_OPERATORS);
    }
  }

  #scalars(path: string, value: unknown): FilterValue[] {
    return this.#elements(path, value).map((each, i) => scalar(`${path}[${i}]`, each));
  }

  #members(path: string, value: unknown, depth: number): [string, unknown][] {
    if (!isObject(value)) throw invalid(path, `Must be an object, got ${describe(value)}`);
    if (depth > FILTER_LIMITS.filterDepthMax) {
      throw invalid(path, `Must be at most ${FILTER_LIMITS.filterDepthMax} levels deep`);
    }
    const members = Object.entries(value);
    if (members.length === 0) throw invalid(path, "Must have at least one member");
    this.#count(members.length);
    return members;
  }

  #elements(path: string, value: unknown): readonly unknown[] {
    if (!Array.isArray(value)) throw invalid(path, `Must be a list, got ${describe(value)}`);
    if (value.length === 0) throw invalid(path, "Must not be an empty list");
    this.#count(value.length);
    return value;
  }

  #count(nodes: number): void {
    this.#nodes += nodes;
    if (this.#nodes <= FILTER_LIMITS.filterNodesMax) return;
    throw invalid(this.#field, `Must have at most ${FILTER_LIMITS.filterNodesMax} nodes, has ${this.#nodes} or more`);
  }
}

function allOf(filters: readonly Filter[]): Filter {
  return filters.length === 1 && filters[0] ? filters[0] : { kind: "and", filters };
}

function oneOf(key: string, values: readonly FilterValue[]): Filter {
  return { kind: "in", key, values: [...new Set(values)] };
}

function tightest({ gt, gte, lt, lte }: Bounds): Bounds {
  return {
    ...(gt !== undefined && (gte === undefined || gt >= gte) ? { gt } : gte !== undefined && { gte }),
    ...(lt !== undefined && (lte === undefined || lt <= lte) ? { lt } : lte !== undefined && { lte }),
  };
}

function scalar(path: string, value: unknown, allowed = "a string, a number or a boolean"): FilterValue {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return finite(path, value);
  if (typeof value !== "string") throw invalid(path, `Must be ${allowed}, got ${describe(value)}`);
  if (!value.isWellFormed()) throw invalid(path, "Must be valid Unicode");
  return value;
}

function finite(path: string, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw invalid(path, `Must be a finite number, got ${describe(value)}`);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isObject(value)) return "an object";
  return typeof value === "string" ? quote(value) : String(value);
}

/** Quoted like a key when it is no plausible name of an operator. */
function operatorPath(path: string, operator: string): string {
  return /^\$[a-zA-Z]{1,32}$/.test(operator) ? `${path}.${operator}` : `${path}[${quote(operator)}]`;
}

function unknownOperator(path: string, operator: string, where: string, known: readonly string[]): QuiverError {
  return invalid(path, `Must be one of the operators ${where}, ${known.join(" ")}, got ${quote(operator)}`);
}

function invalid(path: string, description: string, metadata?: Readonly<Record<string, string>>): QuiverError {
  return invalidField(path, description, "FILTER_INVALID", metadata);
}
