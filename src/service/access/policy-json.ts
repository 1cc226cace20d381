import { invalidField, type QuiverError, quote } from "../../errors.ts";
import { LIMITS } from "../limits.ts";

/** Objects and lists in one another: the document, Statement, a statement, Condition, an operator, the values of a key. */
const DEPTH_MAX = 6;

export type JsonMembers = Readonly<Record<string, unknown>>;

/** The JSON object that a policy is. Throws INVALID_FIELD, also for a member that is there twice. */
export function readPolicyDocument(text: string): JsonMembers {
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.policyBytesMax || !text.isWellFormed()) {
    throw invalidField("policy", `Must be at most ${LIMITS.policyBytesMax} bytes of valid UTF-8, got ${bytes}`);
  }
  const document = parseJson(text);
  if (!isMembers(document)) throw invalidField("policy", "Must be a JSON object");
  if (countMembers(document, 1) !== countMembersWritten(text)) {
    throw invalidField("policy", "Must not have a member twice in one object");
  }
  return document;
}

/** `where` is a path such as `Statement[0].Action[2]`; `must` says what is allowed there. */
export function refusePolicy(where: string, must: string, given: unknown): QuiverError {
  return invalidField("policy", `${where} must ${must}, got ${show(given)}`);
}

export function assertMembers(where: string, value: JsonMembers, known: readonly string[]): void {
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) throw refusePolicy(where, `have no other members than ${known.join(", ")}`, unknown);
}

export function assertObject(where: string, value: unknown): asserts value is JsonMembers {
  if (!isMembers(value)) throw refusePolicy(where, "be an object", value);
}

/** What `read` makes of a value, or of each in a list of at least one. */
export function readOneOrMore<Item>(
  where: string,
  value: unknown,
  read: (where: string, value: unknown) => Item,
): Item[] {
  if (!Array.isArray(value)) return [read(where, value)];
  if (value.length === 0) throw refusePolicy(where, "have at least one value", value);
  return (value as unknown[]).map((item, i) => read(`${where}[${i}]`, item));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function countMembers(value: unknown, depth: number): number {
  if (typeof value !== "object" || value === null) return 0;
  if (depth > DEPTH_MAX) throw invalidField("policy", `Must have at most ${DEPTH_MAX} levels of objects and lists`);
  const below = Object.values(value).map((member) => countMembers(member, depth + 1));
  const own = Array.isArray(value) ? 0 : below.length;
  return below.reduce((sum, count) => sum + count, own);
}

/** In text that is JSON every member has one colon outside of strings. */
function countMembersWritten(json: string): number {
  return json.replace(/"[^"\\]*(?:\\.[^"\\]*)*"/g, "").split(":").length - 1;
}

function isMembers(value: unknown): value is JsonMembers {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  const json = JSON.stringify(value);
  return json.length > 200 ? `${json.slice(0, 200)}...` : json;
}
