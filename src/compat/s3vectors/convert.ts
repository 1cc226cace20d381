import { QuiverError } from "../../errors.ts";
import type { Input } from "./input.ts";

/** Seconds since the epoch, from milliseconds. */
export function toTimestamp(ms: number): number {
  return ms / 1_000;
}

/** How clients write what JSON has no numbers for. No vector may have them: they are read so as to be refused as such. */
const NOT_FINITE = new Map<unknown, number>([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

/** The `{ float32: [...] }` under a name; undefined, which breaks the model, when it is absent. */
export function vectorDataOf(input: Input, name: string): Float32Array | undefined {
  const data = input.input(name);
  input.require(name, data !== undefined);
  const list = data?.fields.list("float32");
  if (data === undefined) return undefined;
  data.require("float32", list !== undefined);
  if (list === undefined) return undefined;
  const floats = new Float32Array(list.length);
  for (let i = 0; i < list.length; i++) {
    const value = list[i];
    const number = typeof value === "number" ? value : NOT_FINITE.get(value);
    if (number === undefined) {
      const path = `${data.fields.pathOf("float32")}[${i}]`;
      throw new QuiverError(
        "MALFORMED_REQUEST",
        `${path}: Must be a number, got ${value === null ? "null" : typeof value}`,
      );
    }
    floats[i] = number;
  }
  return floats;
}
