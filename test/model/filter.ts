import type { JsonObject, JsonValue } from "@bufbuild/protobuf";

/**
 * What a filter means, said as plainly as the contract says it: every sentence is a line, nothing is normalised, shared
 * or fast. The server's evaluator is no part of this.
 */
export function matches(filter: JsonObject, metadata: JsonObject): boolean {
  return Object.entries(filter).every(([key, condition]) => {
    if (key === "$and") return filtersOf(condition).every((each) => matches(each, metadata));
    if (key === "$or") return filtersOf(condition).some((each) => matches(each, metadata));
    if (key === "$not") return !matches(condition as JsonObject, metadata);
    const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
    return isOperators(condition) ? matchesAll(condition, value) : equals(value, condition);
  });
}

function matchesAll(operators: JsonObject, value: JsonValue | undefined): boolean {
  return Object.entries(operators).every(([operator, operand]) => matchesOne(operator, operand as JsonValue, value));
}

function matchesOne(operator: string, operand: JsonValue, value: JsonValue | undefined): boolean {
  switch (operator) {
    case "$eq":
      return equals(value, operand);
    case "$ne":
      return !equals(value, operand);
    case "$in":
      return (operand as JsonValue[]).some((each) => equals(value, each));
    case "$nin":
      return !(operand as JsonValue[]).some((each) => equals(value, each));
    case "$exists":
      return (value !== undefined) === operand;
    case "$gt":
      return typeof value === "number" && value > (operand as number);
    case "$gte":
      return typeof value === "number" && value >= (operand as number);
    case "$lt":
      return typeof value === "number" && value < (operand as number);
    case "$lte":
      return typeof value === "number" && value <= (operand as number);
    default:
      throw new Error(`No operator ${operator}`);
  }
}

/** The value itself, or any element of a list; values of different types are never equal. */
function equals(value: JsonValue | undefined, operand: JsonValue | undefined): boolean {
  if (Array.isArray(value)) return value.includes(operand as JsonValue);
  return value !== undefined && value === operand;
}

function isOperators(condition: JsonValue | undefined): condition is JsonObject {
  return typeof condition === "object" && condition !== null && !Array.isArray(condition);
}

function filtersOf(condition: JsonValue | undefined): readonly JsonObject[] {
  return condition as JsonObject[];
}
