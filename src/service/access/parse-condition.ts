import { LIMITS } from "../limits.ts";
import { AddressRanges } from "./address-ranges.ts";
import { canMatchName } from "./can-match-name.ts";
import type { Condition } from "./policy.ts";
import { assertObject, readOneOrMore, refusePolicy } from "./policy-json.ts";
import { KEY_ID } from "./policy-language.ts";
import { Wildcard } from "./wildcard.ts";

/** What a key is compared as. */
type Kind = "string" | "address" | "truth" | "date";

interface Operator {
  readonly kind: Kind;
  readonly negated?: true;
  /** Its values may have `*` and `?`. */
  readonly like?: true;
  readonly before?: true;
}

const OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["StringEquals", { kind: "string" }],
  ["StringNotEquals", { kind: "string", negated: true }],
  ["StringLike", { kind: "string", like: true }],
  ["StringNotLike", { kind: "string", like: true, negated: true }],
  ["IpAddress", { kind: "address" }],
  ["NotIpAddress", { kind: "address", negated: true }],
  ["Bool", { kind: "truth" }],
  ["DateLessThan", { kind: "date", before: true }],
  ["DateGreaterThan", { kind: "date" }],
]);

interface Key {
  readonly name: string;
  readonly kind: Kind;
  readonly of: Condition["of"];
}

const KEYS: readonly Key[] = [
  { name: "aws:SourceIp", kind: "address", of: "address" },
  { name: "aws:SecureTransport", kind: "truth", of: "secure" },
  { name: "aws:CurrentTime", kind: "date", of: "at" },
  { name: "aws:username", kind: "string", of: "keyId" },
  { name: "s3vectors:namespace", kind: "string", of: "namespace" },
];

/** The default namespace has two spellings. */
const DEFAULT_NAMESPACES = ["", "__default__"];

/** The conditions of a statement: one for each key of each operator. Throws INVALID_FIELD. */
export function parseConditions(where: string, value: unknown): Condition[] {
  return membersOf(where, value).flatMap(([name, keys]) => {
    const operator = OPERATORS.get(name);
    if (operator === undefined) {
      throw refusePolicy(where, `have no other operators than ${[...OPERATORS.keys()].join(", ")}`, name);
    }
    const seen = new Set<string>();
    return membersOf(`${where}.${name}`, keys).map(([key, values]) => {
      // However it is written, it is the same key.
      if (seen.has(key.toLowerCase())) {
        throw refusePolicy(`${where}.${name}`, "name each key once, in whatever case", key);
      }
      seen.add(key.toLowerCase());
      return parseCondition(`${where}.${name}`, operator, key, values);
    });
  });
}

function parseCondition(operatorAt: string, operator: Operator, name: string, values: unknown): Condition {
  const usable = KEYS.filter(({ kind }) => kind === operator.kind);
  const key = usable.find((each) => each.name.toLowerCase() === name.toLowerCase());
  if (key === undefined) {
    throw refusePolicy(operatorAt, `have no other keys than ${usable.map((each) => each.name).join(", ")}`, name);
  }
  const where = `${operatorAt}[${JSON.stringify(key.name)}]`;
  const negated = operator.negated ?? false;
  switch (key.of) {
    case "keyId":
    case "namespace": {
      const readText = key.of === "keyId" ? readKeyId : readNamespace;
      const read = (at: string, value: unknown) => new Wildcard(readText(at, value, operator.like ?? false));
      return { of: key.of, values: readOneOrMore(where, values, read), negated };
    }
    case "address":
      return { of: "address", ranges: readRanges(where, values), negated };
    case "secure":
      return { of: "secure", values: new Set(readOneOrMore(where, values, readTruth)) };
    case "at": {
      const times = readOneOrMore(where, values, readTime);
      const never = operator.before ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
      return operator.before
        ? { of: "at", after: never, before: Math.max(...times) }
        : { of: "at", after: Math.min(...times), before: never };
    }
  }
}

function membersOf(where: string, value: unknown): [string, unknown][] {
  assertObject(where, value);
  const members = Object.entries(value);
  if (members.length === 0) throw refusePolicy(where, "have at least one member", value);
  return members;
}

const KEY_ID_PATTERN = /^[A-Za-z0-9_*?-]{1,128}$/;

function readKeyId(where: string, value: unknown, like: boolean): string {
  const allowed = like ? KEY_ID_PATTERN : KEY_ID;
  if (typeof value === "string" && allowed.test(value)) return value;
  throw refusePolicy(where, `be the identifier of an access key${wildcards(like)}`, value);
}

function readNamespace(where: string, value: unknown, like: boolean): string {
  if (typeof value === "string") {
    if (DEFAULT_NAMESPACES.includes(value)) return "";
    if (canMatchName(value) && (like || !/[*?]/.test(value))) return value;
  }
  const most = LIMITS.nameLengthMax;
  throw refusePolicy(where, `be "" or the name of a namespace, of at most ${most} characters${wildcards(like)}`, value);
}

function wildcards(like: boolean): string {
  return like ? `, with "*" and "?"` : `, without "*" and "?", which are for StringLike`;
}

function readRanges(where: string, values: unknown): AddressRanges {
  const ranges = new AddressRanges();
  readOneOrMore(where, values, (at, value) => {
    if (typeof value === "string" && ranges.add(value)) return;
    throw refusePolicy(at, 'be an IP address or a range such as "10.0.0.0/8" or "2001:db8::/32"', value);
  });
  return ranges;
}

function readTruth(where: string, value: unknown): boolean {
  if (value === true || value === "true") return true;
  if (value === false || value === "false") return false;
  throw refusePolicy(where, 'be "true" or "false"', value);
}

const TIME = /^(\d{4}-\d\d-\d\d)(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))?$/;

function readTime(where: string, value: unknown): number {
  const [, day = ""] = typeof value === "string" ? (TIME.exec(value) ?? []) : [];
  // Date.parse takes the 30th of February for a day in March.
  const midnight = Date.parse(day);
  if (typeof value === "string" && midnight >= 0 && new Date(midnight).toISOString().startsWith(day)) {
    return Date.parse(value);
  }
  throw refusePolicy(where, 'be a time since 1970 such as "2026-01-31" or "2026-01-31T12:00:00Z"', value);
}
