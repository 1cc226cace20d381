import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const page = readFileSync(resolve(import.meta.dirname, "../../docs/reference/unimplemented.md"), "utf8");
const ROWS = page.split("\n").filter((line) => line.startsWith("| `"));

/**
 * Whether the server serves a method, "VectorService/PutVectors", or a field of one, "VectorService/PutVectors
 * vectors.sparse": both as docs/reference/unimplemented.md names what it does not. That page is tested both ways.
 */
export function isServed(what: string): boolean {
  const [method = "", field = ""] = what.split(" ");
  return !ROWS.some((row) => row.startsWith(`| \`${method}\``) && isOf(row, field));
}

/** A row of two cells is about the whole method, one of three about a field. */
function isOf(row: string, field: string): boolean {
  return row.split(" | ").length === 2 || (field !== "" && row.includes(` | \`${field}\``));
}
