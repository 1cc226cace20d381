import type { Metadata } from "../../engine/engine.ts";
import { invalidField, type QuiverError, quote } from "../../errors.ts";
import { FILTER_LIMITS } from "../../filter/limits.ts";

/**
 * The filter of a query; undefined: none. Throws FILTER_INVALID for what the service would take and Amazon does not: an
 * object with several keys, several operators under one key, `$not`, and all that is no filter here either.
 */
export function filterOf(value: unknown): Metadata | undefined {
  if (value === undefined) return undefined;
  assertFilter("filter", value, 1);
  return value as Metadata;
}

function assertFilter(path: string, value: unknown, depth: number): void {
  if (depth > FILTER_LIMITS.filterDepthMax) throw invalid(path, "Must not be so deep");
  const [name, operand] = onlyMember(path, value);
  if (name === "$and" || name === "$or") {
    const filters = listOf(`${path}.${name}`, operand);
    for (const [i, filter] of filters.entries()) assertFilter(`${path}.${name}[${i}]`, filter, depth + 1);
  } else if (name.startsWith("$")) {
    throw invalid(path, `Must have a key, $and or $or, got ${quote(name)}`);
  } else if (!isScalar(operand)) {
    assertCondition(`${path}[${quote(name)}]`, operand);
  }
}

function assertCondition(path: string, value: unknown): void {
  const [operator, operand] = onlyMember(path, value);
  switch (operator) {
    case "$eq":
    case "$ne":
      if (!isScalar(operand)) throw invalid(path, `${operator} needs a string, a number or a boolean`);
      return;
    case "$gt":
    case "$gte":
    case "$lt":
    case "$lte":
      if (typeof operand !== "number") throw invalid(path, `${operator} needs a number`);
      return;
    case "$in":
    case "$nin":
      if (listOf(path, operand).every(isScalar)) return;
      throw invalid(path, `${operator} needs a list of strings, numbers and booleans`);
    case "$exists":
      if (typeof operand !== "boolean") throw invalid(path, "$exists needs true or false");
      return;
    default:
      throw invalid(path, `Must have an operator, got ${quote(operator)}`);
  }
}

function onlyMember(path: string, value: unknown): [name: string, value: unknown] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(path, "Must be an object");
  const [first, ...others] = Object.entries(value);
  if (first === undefined || others.length > 0) {
    throw invalid(path, `Must have exactly one member, got ${others.length + (first ? 1 : 0)}: join several by $and`);
  }
  return first;
}

function listOf(path: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw invalid(path, "Must be a list that is not empty");
}

function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function invalid(path: string, description: string): QuiverError {
  return invalidField(path, description, "FILTER_INVALID");
}
