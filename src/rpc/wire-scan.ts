import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** What the scan must know of a message type: the fields to look into, and the lists that are cheap to decode. */
interface Plan {
  readonly nested: Map<number, Plan>;
  readonly numbers: Set<number>;
}

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;
const MAX_DEPTH = 100;

/**
 * Counts the fields of an encoded message, at every depth, without decoding it; numbers in lists do not count. Decoding
 * costs about a microsecond and a hundred bytes a field, however small: one megabyte of empty elements blocks the event
 * loop for over half a second, so a bound on bytes alone is not enough.
 *
 * Stops and answers what it has counted when the count passes `max`, and at bytes that are not valid: the decoder stops
 * at the same place.
 */
export function createFieldCounter(desc: DescMessage): (bytes: Uint8Array, max: number) => number {
  const plan = planOf(desc, new Map());
  return (bytes, max) => {
    const scan = new Scan(bytes, max);
    scan.message(plan, bytes.length, 0);
    return scan.count;
  };
}

class Scan {
  count = 0;
  private position = 0;
  private readonly bytes: Uint8Array;
  private readonly max: number;

  constructor(bytes: Uint8Array, max: number) {
    this.bytes = bytes;
    this.max = max;
  }

  /** Walks a message up to `end`; false when the scan is over. */
  message(plan: Plan | undefined, end: number, depth: number): boolean {
    while (this.position < end) {
      const tag = this.varint();
      const field = tag >>> 3;
      if (plan === undefined || !plan.numbers.has(field)) {
        this.count += 1;
        if (this.count > this.max) return false;
      }
      if (!this.value(plan, tag & 7, field, end, depth)) return false;
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
        this.position = next;
        return true;
      }
      default:
        // The start and end of a group have no value; what is between them is counted like the rest.
        return wireType === 3 || wireType === 4;
    }
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
  const plan: Plan = { nested: new Map(), numbers: new Set() };
  known.set(desc.typeName, plan);
  for (const field of desc.fields) {
    const nested = nestedPlan(field, known);
    if (nested !== undefined) plan.nested.set(field.number, nested);
    if (isNumberList(field)) plan.numbers.add(field.number);
  }
  return plan;
}

function nestedPlan(field: DescField, known: Map<string, Plan>): Plan | undefined {
  if (field.message !== undefined && field.fieldKind !== "map") return planOf(field.message, known);
  if (field.fieldKind !== "map") return undefined;
  // A map entry is a message with the key as field 1 and the value as field 2.
  const entry: Plan = { nested: new Map(), numbers: new Set() };
  if (field.mapKind === "message") entry.nested.set(2, planOf(field.message, known));
  return entry;
}

/** Whether a field is a list whose elements are decoded into plain numbers or booleans. */
export function isNumberList(field: DescField): boolean {
  if (field.fieldKind !== "list") return false;
  if (field.listKind === "enum") return true;
  return field.listKind === "scalar" && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES;
}
