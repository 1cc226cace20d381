import type { Engine } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";
import type { ArnScope } from "../names.ts";
import { type Action, type Resource, ROLES, ruleOf } from "./actions.ts";
import type { AccessScope, Caller } from "./caller.ts";
import { NO_KEY } from "./callers.ts";
import { parsePolicy } from "./parse-policy.ts";
import { decidingStatement, type Policy, type Statement } from "./policy.ts";

/** So that an administrator can mend a policy that denies everything. */
const POLICY_ACTIONS: ReadonlySet<Action> = new Set([
  "PutVectorBucketPolicy",
  "GetVectorBucketPolicy",
  "DeleteVectorBucketPolicy",
]);

/** A policy that cannot be read any more must not be taken for none. */
type StoredPolicy = Policy | "unreadable";

/** What a policy says on a request. */
type Said = Pick<Statement, "effect" | "sid">;

/** Longer ones, which may be as long as the policy, are not told. */
const SID_LENGTH_MAX = 128;

/**
 * Decides who may do what. Nothing is allowed unless the key's role and scopes allow it, or the bucket's policy; what the
 * policy denies is denied. Asked before anything else is told, also whether the bucket or index exists.
 */
export class Authorizer {
  readonly #engine: Engine;
  readonly #scope: ArnScope;
  /** By bucket, with the text that it was parsed from. */
  readonly #policies = new Map<string, { readonly text: string; readonly policy: StoredPolicy }>();

  readonly #onUnreadable: (message: string, error: unknown) => void;

  /** `onUnreadable` is told once of each policy that cannot be read. */
  constructor(engine: Engine, scope: ArnScope, onUnreadable: (message: string, error: unknown) => void) {
    this.#engine = engine;
    this.#scope = scope;
    this.#onUnreadable = onUnreadable;
  }

  /** Throws NOT_ALLOWED; what ended the caller's key, once it has ended. */
  async authorize(caller: Caller, action: Action, resource: Resource): Promise<void> {
    const refusal = await this.#refusalOf(caller, action, resource);
    if (refusal !== undefined) throw new QuiverError("NOT_ALLOWED", refusal, { metadata: { action } });
  }

  /** Throws what ended the caller's key, once it has ended. */
  async may(caller: Caller, action: Action, resource: Resource): Promise<boolean> {
    return (await this.#refusalOf(caller, action, resource)) === undefined;
  }

  /** Undefined: it is allowed. Only those whom role and scopes would let in learn that there is a policy. */
  async #refusalOf(caller: Caller, action: Action, resource: Resource): Promise<string | undefined> {
    const { keyId } = caller;
    // The key may have ended while the request came.
    caller.signal.throwIfAborted();
    if (keyId === undefined) return undefined;
    // Written only for a refusal: most calls are allowed.
    const byKey = () => `The access key does not allow ${action} ${describe(resource)}`;
    if (keyId === NO_KEY) return byKey();
    const said = await this.#askPolicy(keyId, caller, action, resource);
    const isAllowedByKey = isAllowed(caller, action, resource);
    if (said?.effect !== "deny") return said?.effect === "allow" || isAllowedByKey ? undefined : byKey();
    if (caller.role === "admin" && POLICY_ACTIONS.has(action)) return undefined;
    if (!isAllowedByKey) return byKey();
    return `The policy of vector bucket "${resource.bucket}" denies ${action} ${describe(resource)}${named(said)}`;
  }

  async #askPolicy(
    keyId: string,
    { address, secure }: Caller,
    action: Action,
    resource: Resource,
  ): Promise<Said | undefined> {
    const { bucket } = resource;
    if (bucket === undefined) return undefined;
    const policy = await this.#policyOf(bucket);
    if (policy === undefined) return undefined;
    if (policy === "unreadable") return { effect: "deny", sid: undefined };
    const request = { action, resource: { ...resource, bucket }, keyId, address, secure, at: Date.now() };
    return decidingStatement(policy, request);
  }

  async #policyOf(bucket: string): Promise<StoredPolicy | undefined> {
    const text = await this.#engine.getBucket(bucket).then(
      (found) => found.policy,
      (error: unknown) => {
        // Any other error must not be taken for a bucket without a policy.
        if (error instanceof QuiverError && error.reason === "BUCKET_NOT_FOUND") return undefined;
        throw error;
      },
    );
    if (text === undefined) {
      this.#policies.delete(bucket);
      return undefined;
    }
    const known = this.#policies.get(bucket);
    if (known?.text === text) return known.policy;
    const policy = this.#parse(text, bucket);
    this.#policies.set(bucket, { text, policy });
    return policy;
  }

  #parse(text: string, bucket: string): StoredPolicy {
    try {
      return parsePolicy(text, this.#scope, bucket);
    } catch (error) {
      const message = `The policy of vector bucket "${bucket}" cannot be read: it is closed to all but administrators, who may replace it`;
      this.#onUnreadable(message, error);
      return "unreadable";
    }
  }
}

function isAllowed({ role, scopes }: Caller, action: Action, resource: Resource): boolean {
  const rule = ruleOf(action);
  if (ROLES.indexOf(role) < ROLES.indexOf(rule.role)) return false;
  if (scopes.length === 0) return true;
  return scopes.some((scope) => covers(scope, resource, rule.within ?? false));
}

/** Whether the resource lies in the scope, or, `within`, the scope may lie in the resource. */
function covers(scope: AccessScope, resource: Resource, within: boolean): boolean {
  return (["bucket", "index", "namespace"] as const).every((level) => {
    const wanted = scope[level];
    const given = resource[level];
    if (wanted === undefined) return true;
    return given === undefined ? within : matches(wanted, given);
  });
}

/** `*` at the end stands for any characters. */
function matches(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

function named({ sid = "" }: Said): string {
  return sid === "" || sid.length > SID_LENGTH_MAX ? "" : `: statement ${JSON.stringify(sid)}`;
}

function describe({ bucket, index, namespace }: Resource): string {
  if (bucket === undefined) return "on this server";
  if (index === undefined) return `on vector bucket "${bucket}"`;
  const place = `on index "${bucket}/${index}"`;
  return namespace === undefined || namespace === "" ? place : `${place}, namespace "${namespace}"`;
}
