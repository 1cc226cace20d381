import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { QuiverError } from "../errors.ts";
import { ElementCount, type ElementLimits } from "./element-count.ts";

/** What the scan must know of a message type: the fields to look into, and the packed lists of varints, whose elements it counts. */
interface Plan {
  readonly nested: Map<number, Plan>;
  readonly varints: Set<number>;
}

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_START_GROUP = 3;
const WIRE_END_GROUP = 4;
const WIRE_FIXED32 = 5;
const MAX_DEPTH = 100;

const FIXED_SIZE: ReadonlySet<ScalarType | undefined> = new Set([
  ScalarType.FLOAT,
  ScalarType.DOUBLE,
  ScalarType.FIXED32,
  ScalarType.FIXED64,
  ScalarType.SFIXED32,
  ScalarType.SFIXED64,
]);

/**
 * Counts the fields of an encoded message, at every depth, without decoding it; varints in packed lists count
 * apart, and elements of fixed size not at all, as the bound on bytes bounds them. Decoding costs about a microsecond
 * and a hundred bytes a field, two hundred and fifty for one that is not known, however small: one megabyte of empty
 * elements blocks the event loop for over half a second, so a bound on bytes alone is not enough.
 *
 * The scan throws REQUEST_TOO_LARGE when there are too many, and MALFORMED_REQUEST at a group, which no message here
 * has and which the decoder would walk field by field. It stops at bytes that are not valid: the decoder stops at the
 * same place.
 */
export function createFieldScan(desc: DescMessage): (bytes: Uint8Array, limits: ElementLimits) => void {
  const plan = planOf(desc, new Map());
  return (bytes, limits) => {
    new Scan(bytes, new ElementCount(limits)).message(plan, bytes.length, 0);
  };
}

class Scan {
  private position = 0;
  private readonly bytes: Uint8Array;
  private readonly count: ElementCount;

  constructor(bytes: Uint8Array, count: ElementCount) {
    this.bytes = bytes;
    this.count = count;
  }

  /** Walks a message up to `end`; false when the scan is over. */
  message(plan: Plan | undefined, end: number, depth: number): boolean {
    while (this.position < end) {
      const tag = this.varint();
      this.count.addField();
      if (!this.value(plan, tag & 7, tag >>> 3, end, depth)) return false;
    }
    return this.position === end;
  }

  private value(plan: Plan | undefined, wireType: number, field: number, end: number, depth: number): boolean {
    switch (wireType) {
      case WIRE_VARINT:
        this.varint();
        return true;
      case WIRE_FIXED64:
        this.position += 8;
        return true;
      case WIRE_FIXED32:
        this.position += 4;
        return true;
      case WIRE_BYTES: {
        const length = this.varint();
        const next = this.position + length;
        if (next > end) return false;
        const nested = plan?.nested.get(field);
        if (nested !== undefined && depth < MAX_DEPTH) return this.message(nested, next, depth + 1);
        if (plan?.varints.has(field)) this.count.addNumbers(this.varintsUntil(next));
        this.position = next;
        return true;
      }
      case WIRE_START_GROUP:
      case WIRE_END_GROUP:
        throw new QuiverError(
          "MALFORMED_REQUEST",
          `Request has a group, under field ${field}; groups are not accepted`,
        );
      default:
        return false;
    }
  }

  /** How many varints end before `end`. */
  private varintsUntil(end: number): number {
    let count = 0;
    for (let at = this.position; at < end; at += 1) if ((this.bytes[at] ?? 0) < 0x80) count += 1;
    return count;
  }

  /** The lower 32 bits of a varint, unsigned. Past the end of the bytes it reads zeros. */
  private varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.bytes[this.position] ?? 0;
      this.position += 1;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value >>> 0;
  }
}

function planOf(desc: DescMessage, known: Map<string, Plan>): Plan {
  const seen = known.get(desc.typeName);
  if (seen !== undefined) return seen;
  const plan: Plan = { nested: new Map(), varints: new Set() };
  known.set(desc.typeName, plan);
  for (const field of desc.fields) {
    const nested = nestedPlan(field, known);
    if (nested !== undefined) plan.nested.set(field.number, nested);
    if (isNumberList(field) && !FIXED_SIZE.has(field.scalar)) plan.varints.add(field.number);
  }
  return plan;
}

function nestedPlan(field: DescField, known: Map<string, Plan>): Plan | undefined {
  if (field.message !== undefined && field.fieldKind !== "map") return planOf(field.message, known);
  if (field.fieldKind !== "map") return undefined;
  // A map entry is a message with the key as field 1 and the value as field 2.
  const entry: Plan = { nested: new Map(), varints: new Set() };
  if (field.mapKind === "message") entry.nested.set(2, planOf(field.message, known));
  return entry;
}

/** Whether a field is a list whose elements are decoded into plain numbers or booleans. */
export function isNumberList(field: DescField): boolean {
  if (field.fieldKind !== "list") return false;
  if (field.listKind === "enum") return true;
  return field.listKind === "scalar" && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES;
}
