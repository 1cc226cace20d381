import type { DescMessage } from "@bufbuild/protobuf";
import { QuiverError } from "../errors.ts";
import { ElementCount, type ElementLimits } from "./element-count.ts";
import { isNumberList } from "./wire-scan.ts";

/** What the scan must know of a message type: by JSON name, the fields to look into and the lists of numbers. */
interface Plan {
  readonly nested: Pick<ReadonlyMap<string, Plan>, "get">;
  readonly numbers: ReadonlySet<string>;
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
 * Counts the fields and elements of a message in JSON, at every depth, without parsing it; lists of bare numbers count
 * apart. It is to JSON what createFieldScan is to the binary format: two bytes, `1,` in metadata, become a message of
 * more than a hundred bytes, so that a bound on bytes alone would let one request take all memory.
 *
 * The scan throws REQUEST_TOO_LARGE when there are too many, and MALFORMED_REQUEST at a bracket that closes nothing. It
 * takes time in proportion to the text, whatever the text is. Other text that is not JSON passes: parsing will refuse it.
 */
export function createJsonScan(desc: DescMessage): (text: Uint8Array, limits: ElementLimits) => void {
  const plan = planOf(desc, new Map());
  return (text, limits) => scanElements(text, plan, new ElementCount(limits));
}

/** The same for JSON of which only the names of the lists of numbers are known, at whatever depth they stand. */
export function createPlainJsonScan(numbers: ReadonlySet<string>): (text: Uint8Array, limits: ElementLimits) => void {
  const plan: Plan = { nested: { get: () => plan }, numbers };
  return (text, limits) => scanElements(text, plan, new ElementCount(limits));
}

function scanElements(text: Uint8Array, root: Plan, count: ElementCount): void {
  const frames: Frame[] = [];
  let frame: Frame | undefined;
  let expectsKey = false;
  const open = (plan: Plan | undefined, object: boolean) => {
    frame = { plan, object, key: "" };
    frames.push(frame);
    expectsKey = object;
  };

  for (let at = 0; at < text.length; at += 1) {
    const byte = text[at];
    switch (byte) {
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
        count.addField();
        expectsKey = frame?.object === true;
        break;
      case OPEN_OBJECT:
        count.addField();
        open(frame === undefined ? root : childPlan(frame), true);
        break;
      case OPEN_LIST: {
        count.addField();
        const mayBeNumbers = frame?.object === true && frame.plan?.numbers.has(frame.key) === true;
        const end = mayBeNumbers ? endOfNumbers(text, at, count) : undefined;
        if (end === undefined) open(frame && childPlan(frame), false);
        else at = end;
        expectsKey = false;
        break;
      }
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        if (frame?.object !== (byte === CLOSE_OBJECT)) throw closesNothing(byte, at);
        frames.pop();
        frame = frames.at(-1);
        expectsKey = false;
    }
  }
}

function closesNothing(byte: number, at: number): QuiverError {
  const bracket = String.fromCharCode(byte);
  return new QuiverError("MALFORMED_REQUEST", `Request is not valid JSON: "${bracket}" at byte ${at} closes nothing`);
}

/** The plan of a value in this frame: of an object's last key, or the one that all elements of a list share. */
function childPlan(frame: Frame): Plan | undefined {
  return frame.object ? frame.plan?.nested.get(frame.key) : frame.plan;
}

/** The place of the quote that closes the string that opens at `start`. */
function endOfString(text: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== QUOTE) at += text[at] === BACKSLASH ? 2 : 1;
  return at;
}

/**
 * The place of the bracket that closes a list of bare numbers, which it counts; undefined when anything else stands in
 * the list. It stops there: a search for the bracket, started by each list, would take quadratic time.
 */
function endOfNumbers(text: Uint8Array, start: number, count: ElementCount): number | undefined {
  let commas = 0;
  let at = start + 1;
  for (; at < text.length; at += 1) {
    const byte = text[at] ?? 0;
    if (byte === COMMA) commas += 1;
    else if (IN_NUMBERS[byte] === 0) break;
  }
  if (text[at] !== CLOSE_LIST) return undefined;
  count.addNumbers(commas + 1);
  return at;
}

/** 1 for each byte that numbers and the space around them consist of. */
const IN_NUMBERS = new Uint8Array(256);
for (const character of "0123456789+-.eE \t\r\n") IN_NUMBERS[character.charCodeAt(0)] = 1;

const KEY_MAX = 100;

/** A key as the parser will see it. What cannot be the name of a field is "". */
function textOf(text: Uint8Array, start: number, end: number): string {
  if (end - start > KEY_MAX) return "";
  const key = Buffer.from(text.buffer, text.byteOffset + start + 1, end - start - 1).toString("latin1");
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
  const [nested, numbers] = [new Map<string, Plan>(), new Set<string>()];
  const plan: Plan = { nested, numbers };
  known.set(desc.typeName, plan);
  // Well-known types have a JSON form of their own; whatever they contain counts.
  if (desc.typeName.startsWith("google.protobuf.")) return plan;
  for (const field of desc.fields) {
    for (const name of [field.name, field.jsonName]) {
      if (field.message !== undefined && field.fieldKind !== "map") nested.set(name, planOf(field.message, known));
      if (isNumberList(field)) numbers.add(name);
    }
  }
  return plan;
}
