import type { Metadata } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";

/** What is wrong with metadata whatever the index, as Amazon says it; undefined: nothing. Throws MALFORMED_REQUEST for a lone surrogate. */
export function metadataProblem(metadata: unknown): string | undefined {
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) {
    return "Metadata must be an object";
  }
  for (const [key, value] of Object.entries(metadata as Metadata)) {
    assertWellFormed(key);
    const problem = Array.isArray(value) ? listProblem(value) : valueProblem(value);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function valueProblem(value: unknown): string | undefined {
  if (typeof value === "string") assertWellFormed(value);
  return isScalar(value) ? undefined : "Metadata values must be strings, numbers, booleans, or arrays";
}

function listProblem(list: readonly unknown[]): string | undefined {
  if (list.length === 0) return "Empty arrays are not allowed in metadata";
  const type = typeof list[0];
  for (const element of list) {
    if (typeof element !== type || (type !== "string" && type !== "number")) {
      return "Metadata array values must be strings or numbers";
    }
    if (typeof element === "string") assertWellFormed(element);
  }
  return undefined;
}

function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function assertWellFormed(text: string): void {
  if (text.isWellFormed()) return;
  throw new QuiverError("MALFORMED_REQUEST", "The request's body has a string that is not valid Unicode");
}
