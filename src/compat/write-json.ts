import { workTurns } from "../work-turns.ts";

/** Parts of an answer are written in one turn of the event loop until they have so many characters. */
const PART_LENGTH = 64 * 1024;

/**
 * An answer as JSON, as JSON.stringify writes it: a long one, which would take a second, in turns of the event loop. It is
 * parted between the elements of its members, such as the vectors of `{ vectors: [...] }`.
 */
export async function writeJson(body: object): Promise<Buffer> {
  const written: Buffer[] = [];
  let part = "";
  for (const piece of pieces(body)) {
    part += piece;
    if (part.length < PART_LENGTH) continue;
    written.push(Buffer.from(part));
    await workTurns.next(part.length);
    part = "";
  }
  if (written.length === 0) return Buffer.from(part);
  return Buffer.concat([...written, Buffer.from(part)]);
}

function* pieces(value: unknown, depth = 0): Generator<string> {
  if (typeof value !== "object" || value === null || depth === 2) {
    yield JSON.stringify(value) ?? "null";
    return;
  }
  const isList = Array.isArray(value);
  let before = isList ? "[" : "{";
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined && !isList) continue;
    yield isList ? before : `${before}${JSON.stringify(name)}:`;
    yield* pieces(member, depth + 1);
    before = ",";
  }
  if (before !== ",") yield before;
  yield isList ? "]" : "}";
}
