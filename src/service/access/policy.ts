import { type Action, ruleOf } from "./actions.ts";
import type { AddressRanges } from "./address-ranges.ts";
import type { Wildcard } from "./wildcard.ts";

/** What a policy says on a request; undefined: nothing. */
export type Decision = "allow" | "deny" | undefined;

/** Something that an access key asks for. */
export interface PolicyRequest {
  readonly action: Action;
  /** What it is done to. The namespace "" is the default one; absent: the action is on no namespace. */
  readonly resource: { readonly bucket: string; readonly index?: string; readonly namespace?: string };
  readonly keyId: string;
  /** The IP address that it came from. */
  readonly address: string;
  /** Whether it came over TLS. */
  readonly secure: boolean;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** The policy of one vector bucket, whichever of the policy languages it was written in. */
export interface Policy {
  readonly bucket: string;
  /** The bucket, and what an index in it starts with, as the patterns of the statements write them. */
  readonly bucketResource: string;
  readonly indexResourceStart: string;
  readonly statements: readonly Statement[];
}

/** Allows or denies what all its parts match. */
export interface Statement {
  /** Its name; undefined: none was given. */
  readonly sid: string | undefined;
  readonly effect: "allow" | "deny";
  /** Undefined: every access key. */
  readonly keyIds: ReadonlySet<string> | undefined;
  readonly actions: ReadonlySet<Action>;
  readonly resources: readonly Wildcard[];
  /** The statement is on all but `resources`. */
  readonly exceptResources: boolean;
  readonly conditions: readonly Condition[];
}

/** One of the facts of a request is one of the values; `negated`: is none of them, or is absent. */
export type Condition =
  | { readonly of: "keyId" | "namespace"; readonly values: readonly Wildcard[]; readonly negated: boolean }
  | { readonly of: "address"; readonly ranges: AddressRanges; readonly negated: boolean }
  | { readonly of: "secure"; readonly values: ReadonlySet<boolean> }
  /** Later than `after` and earlier than `before`, in milliseconds since 1970. */
  | { readonly of: "at"; readonly after: number; readonly before: number };

export function decide(policy: Policy, request: PolicyRequest): Decision {
  return decidingStatement(policy, request)?.effect;
}

/** A statement that denies wins over all that allow, in whichever order they stand. */
export function decidingStatement(policy: Policy, request: PolicyRequest): Statement | undefined {
  if (request.resource.bucket !== policy.bucket) return undefined;
  const resource = resourceOf(policy, request);
  let deciding: Statement | undefined;
  for (const statement of policy.statements) {
    if (statement.effect === deciding?.effect || !isOn(statement, request, resource)) continue;
    deciding = statement;
    if (statement.effect === "deny") break;
  }
  return deciding;
}

function resourceOf({ bucketResource, indexResourceStart }: Policy, { action, resource }: PolicyRequest): string {
  const { index } = resource;
  return index === undefined || ruleOf(action).on === "bucket" ? bucketResource : indexResourceStart + index;
}

function isOn(statement: Statement, request: PolicyRequest, resource: string): boolean {
  return (
    statement.actions.has(request.action) &&
    (statement.keyIds === undefined || statement.keyIds.has(request.keyId)) &&
    matchesAny(statement.resources, resource) !== statement.exceptResources &&
    statement.conditions.every((condition) => holds(condition, request))
  );
}

function holds(condition: Condition, request: PolicyRequest): boolean {
  switch (condition.of) {
    case "keyId":
      return matchesAny(condition.values, request.keyId) !== condition.negated;
    case "namespace": {
      const { namespace } = request.resource;
      return (namespace !== undefined && matchesAny(condition.values, namespace)) !== condition.negated;
    }
    case "address":
      return condition.ranges.has(request.address) !== condition.negated;
    case "secure":
      return condition.values.has(request.secure);
    case "at":
      return condition.after < request.at && request.at < condition.before;
  }
}

function matchesAny(patterns: readonly Wildcard[], text: string): boolean {
  return patterns.some((pattern) => pattern.matches(text));
}
