import type { DescMessage } from "@bufbuild/protobuf";
import { isNumberList } from "./wire-scan.ts";

/** What the scan must know of a message type: by JSON name, the fields to look into and the lists of numbers. */
interface Plan {
  readonly nested: Map<string, Plan>;
  readonly numbers: Set<string>;
}

interface Frame {
  /** Of the object that is open; undefined when nothing is known of it, and in lists of what is no message. */
  readonly plan: Plan | undefined;
  readonly object: boolean;
  /** The last key of the object. */
  key: string;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Counts the fields and elements of a message in JSON, at every depth, without parsing it; numbers in lists do not
 * count. It is to JSON what createFieldCounter is to the binary format: two bytes, `1,` in metadata, become a message of
 * more than a hundred bytes, so that a bound on bytes alone would let one request take all memory.
 *
 * Stops and answers what it has counted when the count passes `max`. Text that is not JSON gets some count: parsing will
 * refuse it.
 */
export function createJsonCounter(desc: DescMessage): (text: Uint8Array, max: number) => number {
  const plan = planOf(desc, new Map());
  return (text, max) => countElements(Buffer.from(text.buffer, text.byteOffset, text.byteLength), plan, max);
}

function countElements(text: Buffer, root: Plan, max: number): number {
  const frames: Frame[] = [];
  let count = 0;
  let expectsKey = false;

  for (let at = 0; at < text.length && count <= max; at += 1) {
    const frame = frames.at(-1);
    switch (text[at]) {
      case QUOTE: {
        const end = endOfString(text, at);
        if (frame !== undefined && expectsKey) frame.key = textOf(text, at, end);
        at = end;
        break;
      }
      case COLON:
        expectsKey = false;
        break;
      case COMMA:
        count += 1;
        expectsKey = frame?.object === true;
        break;
      case OPEN_OBJECT:
        count += 1;
        frames.push({ plan: frame === undefined ? root : childPlan(frame), object: true, key: "" });
        expectsKey = true;
        break;
      case OPEN_LIST: {
        count += 1;
        const end = frame?.object === true && frame.plan?.numbers.has(frame.key) ? endOfNumbers(text, at) : undefined;
        if (end === undefined) frames.push({ plan: frame && childPlan(frame), object: false, key: "" });
        else at = end;
        expectsKey = false;
        break;
      }
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        frames.pop();
        expectsKey = false;
    }
  }
  return count;
}

/** The plan of a value in this frame: of an object's last key, or the one that all elements of a list share. */
function childPlan(frame: Frame): Plan | undefined {
  return frame.object ? frame.plan?.nested.get(frame.key) : frame.plan;
}

/** The place of the quote that closes the string that opens at `start`. */
function endOfString(text: Buffer, start: number): number {
  for (let end = text.indexOf(QUOTE, start + 1); end !== -1; end = text.indexOf(QUOTE, end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

/** The place of the bracket that closes a list of bare numbers; undefined when anything else stands in the list. */
function endOfNumbers(text: Buffer, start: number): number | undefined {
  const end = text.indexOf(CLOSE_LIST, start + 1);
  const inside = text.subarray(start + 1, end === -1 ? start + 1 : end);
  const bare = end !== -1 && [QUOTE, OPEN_LIST, OPEN_OBJECT].every((byte) => !inside.includes(byte));
  return bare ? end : undefined;
}

const KEY_MAX = 100;

/** A key as the parser will see it. What cannot be the name of a field is "". */
function textOf(text: Buffer, start: number, end: number): string {
  if (end - start > KEY_MAX) return "";
  const key = text.toString("latin1", start + 1, end);
  if (!key.includes("\\")) return key;
  try {
    return JSON.parse(`"${key}"`);
  } catch {
    return "";
  }
}

function planOf(desc: DescMessage, known: Map<string, Plan>): Plan {
  const seen = known.get(desc.typeName);
  if (seen !== undefined) return seen;
  const plan: Plan = { nested: new Map(), numbers: new Set() };
  known.set(desc.typeName, plan);
  // Well-known types have a JSON form of their own; whatever they contain counts.
  if (desc.typeName.startsWith("google.protobuf.")) return plan;
  for (const field of desc.fields) {
    for (const name of [field.name, field.jsonName]) {
      if (field.message !== undefined && field.fieldKind !== "map") plan.nested.set(name, planOf(field.message, known));
      if (isNumberList(field)) plan.numbers.add(name);
    }
  }
  return plan;
}
