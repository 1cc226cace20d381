import { LIMITS } from "../limits.ts";
import type { ArnScope } from "../names.ts";
import { type Action, ruleOf } from "./actions.ts";
import { canMatchName } from "./can-match-name.ts";
import { parseConditions } from "./parse-condition.ts";
import type { Policy, Statement } from "./policy.ts";
import {
  assertMembers,
  assertObject,
  type JsonMembers,
  readOneOrMore,
  readPolicyDocument,
  refusePolicy,
} from "./policy-json.ts";
import { POLICY_LANGUAGES, type PolicyLanguage } from "./policy-language.ts";
import { restsAfter, Wildcard } from "./wildcard.ts";

/** Whose policy it is, and in which language. */
interface Setting {
  readonly language: PolicyLanguage;
  readonly scope: ArnScope;
  readonly bucket: string;
}

/** Both may be done to a bucket as well as to an index. */
const TAG_ACTIONS: ReadonlySet<Action> = new Set(["TagResource", "UntagResource", "ListTagsForResource"]);

/**
 * The policy of a bucket, from its JSON. What it does not know it refuses: a policy that is kept means what it says.
 * Throws INVALID_FIELD, which tells the place in the JSON, what is allowed there and what was given.
 */
export function parsePolicy(text: string, scope: ArnScope, bucket: string): Policy {
  const document = readPolicyDocument(text);
  const setting = { language: languageOf(document.Version), scope, bucket };
  const { members, bucketResource, indexResource } = setting.language;
  assertMembers("policy", document, members);
  if ("Id" in document) assertText("Id", document.Id);
  return {
    bucket,
    bucketResource: bucketResource(bucket),
    indexResourceStart: indexResource(bucket, ""),
    statements: parseStatements(setting, document.Statement),
  };
}

function languageOf(version: unknown): PolicyLanguage {
  const language = POLICY_LANGUAGES.find((each) => each.version === version);
  if (language !== undefined) return language;
  const versions = POLICY_LANGUAGES.map((each) => `"${each.version}"`).join(" or ");
  throw refusePolicy("Version", `be ${versions}`, version);
}

function parseStatements(setting: Setting, value: unknown): Statement[] {
  const read = (where: string, statement: unknown) => parseStatement(setting, where, statement);
  if (!Array.isArray(value)) {
    assertObject("Statement", value);
    return [read("Statement", value)];
  }
  const most = LIMITS.policyStatementsMax;
  if (value.length > most) throw refusePolicy("Statement", `have at most ${most} statements`, value.length);
  return value.length === 0 ? [] : readOneOrMore("Statement", value, read);
}

function parseStatement(setting: Setting, where: string, statement: unknown): Statement {
  assertObject(where, statement);
  assertMembers(where, statement, setting.language.statementMembers);
  if ("NotPrincipal" in statement) {
    throw refusePolicy(
      where,
      `have no NotPrincipal: use Principal "*" and the condition StringNotEquals on aws:username`,
      "NotPrincipal",
    );
  }
  const { Sid: sid, Effect: effect, Principal: principal } = statement;
  if (sid !== undefined) assertText(`${where}.Sid`, sid);
  if (effect !== "Allow" && effect !== "Deny") throw refusePolicy(`${where}.Effect`, 'be "Allow" or "Deny"', effect);
  const actions = parseActions(setting, where, statement);
  const hasCondition = "Condition" in statement;
  return {
    sid,
    effect: effect === "Allow" ? "allow" : "deny",
    keyIds: parsePrincipals(setting, `${where}.Principal`, principal),
    actions,
    ...parseResources(setting, where, statement, actions),
    conditions: hasCondition ? parseConditions(`${where}.Condition`, statement.Condition) : [],
  };
}

/** Undefined: every access key. */
function parsePrincipals({ language, scope }: Setting, where: string, value: unknown): ReadonlySet<string> | undefined {
  const { principalMember: member } = language;
  let at = where;
  let principals = value;
  if (member !== undefined && value !== "*") {
    if (typeof value !== "object" || value === null) throw refusePolicy(where, `be "*" or { "${member}": ... }`, value);
    assertObject(where, value);
    assertMembers(where, value, [member]);
    at = `${where}.${member}`;
    principals = value[member];
  }
  const keyIds = readOneOrMore(at, principals, (each, principal) => {
    const keyId = typeof principal === "string" ? language.keyIdOf(principal, scope) : undefined;
    if (keyId !== undefined) return keyId;
    const user = member === undefined ? "" : `, "arn:aws:iam::${scope.account}:user/<access key>"`;
    throw refusePolicy(
      each,
      `be "*", the account "${scope.account}" or the identifier of an access key${user}`,
      principal,
    );
  });
  return keyIds.includes("*") ? undefined : new Set(keyIds);
}

function parseActions(setting: Setting, where: string, statement: JsonMembers): ReadonlySet<Action> {
  const name = oneOf(setting, where, statement, "Action", "NotAction");
  const read = (at: string, pattern: unknown) => actionsOf(setting, at, pattern);
  const named = new Set(readOneOrMore(`${where}.${name}`, statement[name], read).flat());
  if (name === "Action") return named;
  return new Set([...setting.language.actionNames.values()].filter((action) => !named.has(action)));
}

function actionsOf({ language }: Setting, where: string, pattern: unknown): Action[] {
  const names = [...language.actionNames];
  if (pattern === "*") return names.map(([, action]) => action);
  if (typeof pattern === "string") {
    const lower = pattern.toLowerCase();
    const prefix = language.actionPrefixes.find((each) => lower.startsWith(`${each}:`));
    if (prefix !== undefined) {
      const wildcard = new Wildcard(lower.slice(prefix.length + 1));
      const found = names.filter(([name]) => wildcard.matches(name.toLowerCase()));
      if (found.length > 0) return found.map(([, action]) => action);
    }
  }
  const prefixes = language.actionPrefixes.map((prefix) => `"${prefix}:"`).join(" or ");
  const list = names.map(([name]) => name).join(", ");
  throw refusePolicy(where, `be "*", or ${prefixes} and one of ${list}, with "*" and "?"`, pattern);
}

function parseResources(setting: Setting, where: string, statement: JsonMembers, actions: ReadonlySet<Action>) {
  const name = oneOf(setting, where, statement, "Resource", "NotResource");
  const resources = readOneOrMore(`${where}.${name}`, statement[name], (at, pattern) =>
    parseResource(setting, at, pattern),
  );
  if (name === "Resource") assertRelated(setting, where, resources, actions);
  return { resources: resources.map(({ wildcard }) => wildcard), exceptResources: name === "NotResource" };
}

interface ResourcePattern {
  readonly wildcard: Wildcard;
  readonly ofBucket: boolean;
  readonly ofIndexes: boolean;
}

function parseResource({ language, scope, bucket }: Setting, where: string, value: unknown): ResourcePattern {
  const known = language.resourceParts(scope);
  const pattern = typeof value === "string" ? resourceName(value, known) : undefined;
  const bucketResource = language.bucketResource(bucket);
  if (pattern !== undefined) {
    const wildcard = new Wildcard(pattern);
    const ofBucket = wildcard.matches(bucketResource);
    const ofIndexes = restsAfter(pattern, language.indexResource(bucket, "")).some(canMatchName);
    if (ofBucket || ofIndexes) return { wildcard, ofBucket, ofIndexes };
  }
  const start = known.join(":");
  const forms = [bucketResource, language.indexResource(bucket, "<index>")].map((form) => `"${start}:${form}"`);
  throw refusePolicy(where, `be "*" or match something in this bucket: ${forms.join(" or ")}, with "*" and "?"`, value);
}

/** The last part of a resource, when those before it match. A pattern longer than any resource is none. */
function resourceName(value: string, known: readonly string[]): string | undefined {
  if (value === "*") return value;
  const parts = value.split(":");
  const last = parts.pop() ?? "";
  if (parts.length !== known.length || !parts.every((part, i) => new Wildcard(part).matches(known[i] ?? "")))
    return undefined;
  const pattern = last.replace(/\*+/g, "*");
  return pattern.length > RESOURCE_LENGTH_MAX ? undefined : pattern;
}

/** The longest that may match: two names of 63 characters and `bucket/.../index/...`, each character after a `*`. */
const RESOURCE_LENGTH_MAX = 2 * (2 * LIMITS.nameLengthMax + "bucket//index/".length) + 1;

/** A statement on vectors whose only resource is the bucket would never be on anything. */
function assertRelated(
  { language, bucket }: Setting,
  where: string,
  resources: readonly ResourcePattern[],
  actions: ReadonlySet<Action>,
): void {
  const related = [...actions].some((action) =>
    resources.some(({ ofBucket, ofIndexes }) => {
      const onBucket = ruleOf(action).on === "bucket";
      return (ofBucket && (onBucket || TAG_ACTIONS.has(action))) || (ofIndexes && !onBucket);
    }),
  );
  if (related) return;
  const { bucketResource, indexResource } = language;
  const advice = `"${bucketResource(bucket)}" for those on the bucket, "${indexResource(bucket, "<index>")}" for the others`;
  throw refusePolicy(where, `have a resource that one of its actions can be done to: ${advice}`, [...actions]);
}

/** Which of the two members the statement has. */
function oneOf({ language }: Setting, where: string, statement: JsonMembers, name: string, opposite: string): string {
  const names = [name, opposite].filter((each) => language.statementMembers.includes(each));
  const [given, another] = names.filter((each) => each in statement);
  if (given !== undefined && another === undefined) return given;
  throw refusePolicy(
    where,
    `have ${names.length > 1 ? `exactly one of ${names.join(" and ")}` : name}`,
    Object.keys(statement),
  );
}

function assertText(where: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw refusePolicy(where, "be a string", value);
}
