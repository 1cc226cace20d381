import { ACTIONS, type Action } from "../../src/service/access/actions.ts";
import type { Decision, PolicyRequest } from "../../src/service/access/policy.ts";
import type { ArnScope } from "../../src/service/names.ts";

/** A policy as JSON, of the members that the generator writes. */
export interface RawPolicy {
  Version: "2012-10-17" | "1";
  Statement: RawStatement[];
}

export interface RawStatement {
  Effect: "Allow" | "Deny";
  Principal: "*" | { AWS: string[] } | string[];
  Action?: string[];
  NotAction?: string[];
  Resource?: string[];
  NotResource?: string[];
  Condition?: Record<string, Record<string, string[]>>;
}

const OSS_NAMES = [
  ["CreateVectorBucket", "PutVectorBucket"],
  ["PutVectorBucketPolicy", "PutBucketPolicy"],
  ["GetVectorBucketPolicy", "GetBucketPolicy"],
  ["DeleteVectorBucketPolicy", "DeleteBucketPolicy"],
  ["CreateIndex", "PutVectorIndex"],
  ["GetIndex", "GetVectorIndex"],
  ["ListIndexes", "ListVectorIndexes"],
  ["DeleteIndex", "DeleteVectorIndex"],
] as const;

const TAGS = ["TagResource", "UntagResource", "ListTagsForResource"];

/** Decides by the JSON itself, by what docs/guides/policies.md says, in the plainest way. */
export class PolicyOracle {
  readonly #scope: ArnScope;
  readonly #bucket: string;

  constructor(scope: ArnScope, bucket: string) {
    this.#scope = scope;
    this.#bucket = bucket;
  }

  decide(policy: RawPolicy, request: PolicyRequest): Decision {
    if (request.resource.bucket !== this.#bucket || ACTIONS[request.action].on === "server") return undefined;
    const effects = new Set<string>();
    for (const statement of policy.Statement) {
      if (this.#isOn(policy.Version, statement, request)) effects.add(statement.Effect);
    }
    if (effects.has("Deny")) return "deny";
    return effects.has("Allow") ? "allow" : undefined;
  }

  /** Whether every pattern can be on something, and every statement. The rest of what is generated is right. */
  isValid({ Version: version, Statement: statements }: RawPolicy): boolean {
    return statements.every((statement) => {
      const patterns = statement.Action ?? statement.NotAction ?? [];
      const known = bucketActions();
      if (!patterns.every((pattern) => known.some((action) => isAction(version, pattern, action)))) return false;
      const resources = statement.Resource ?? statement.NotResource ?? [];
      const onBucket = (each: string) => this.#matches(each, this.#nameOf(version, undefined));
      const onIndexes = (each: string) => this.#canBeIndex(version, each);
      if (!resources.every((each) => onBucket(each) || onIndexes(each))) return false;
      if (statement.NotResource !== undefined) return true;
      const actions = known.filter((action) => isActionOf(version, statement, action));
      return actions.some((action) => {
        const isOnBucket = ACTIONS[action].on === "bucket";
        if (isOnBucket || TAGS.includes(action)) if (resources.some(onBucket)) return true;
        return !isOnBucket && resources.some(onIndexes);
      });
    });
  }

  #isOn(version: string, statement: RawStatement, request: PolicyRequest): boolean {
    const { action, resource } = request;
    if (!this.#isPrincipal(statement.Principal, request.keyId)) return false;
    if (!isActionOf(version, statement, action)) return false;
    const index = ACTIONS[action].on === "bucket" ? undefined : resource.index;
    const asked = this.#nameOf(version, index);
    if (statement.Resource && !statement.Resource.some((pattern) => this.#matches(pattern, asked))) return false;
    if (statement.NotResource?.some((pattern) => this.#matches(pattern, asked))) return false;
    for (const [operator, keys] of Object.entries(statement.Condition ?? {})) {
      for (const [key, values] of Object.entries(keys)) if (!holds(operator, key, values, request)) return false;
    }
    return true;
  }

  #isPrincipal(principal: RawStatement["Principal"], keyId: string): boolean {
    if (principal === "*") return true;
    const { account } = this.#scope;
    const user = `arn:aws:iam::${account}:user/${keyId}`;
    const names = ["*", account, `arn:aws:iam::${account}:root`, user, keyId];
    return (Array.isArray(principal) ? principal : principal.AWS).some((each) => names.includes(each));
  }

  #nameOf(version: string, index: string | undefined): string {
    const { region, account } = this.#scope;
    if (version === "1") {
      return `acs:ossvector:${region}:${account}:${this.#bucket}${index === undefined ? "" : `/${index}`}`;
    }
    const bucket = `arn:aws:s3vectors:${region}:${account}:bucket/${this.#bucket}`;
    return index === undefined ? bucket : `${bucket}/index/${index}`;
  }

  #matches(pattern: string, name: string): boolean {
    if (pattern === "*") return true;
    const parts = name.split(":");
    const patterns = pattern.split(":");
    return parts.length === patterns.length && parts.every((part, i) => isLike(patterns[i] ?? "", part));
  }

  /** Tries the names that the ends of the pattern suggest. */
  #canBeIndex(version: string, pattern: string): boolean {
    for (let start = 0; start < pattern.length; start++) {
      const end = pattern.slice(start).replaceAll("?", "a");
      for (const name of [end.replaceAll("*", ""), end.replaceAll("*", "a")]) {
        if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) continue;
        if (this.#matches(pattern, this.#nameOf(version, name))) return true;
      }
    }
    return false;
  }
}

function bucketActions(): Action[] {
  return (Object.keys(ACTIONS) as Action[]).filter((action) => ACTIONS[action].on !== "server");
}

function isActionOf(version: string, { Action: given, NotAction: not }: RawStatement, action: Action): boolean {
  if (given) return given.some((pattern) => isAction(version, pattern, action));
  return !(not ?? []).some((pattern) => isAction(version, pattern, action));
}

function isAction(version: string, pattern: string, action: Action): boolean {
  if (pattern === "*") return true;
  let name: string = action;
  if (version === "1") for (const [ours, theirs] of OSS_NAMES) if (ours === action) name = theirs;
  const prefixes = version === "1" ? ["oss", "ossvector"] : ["s3vectors"];
  return prefixes.some((prefix) => isLike(pattern.toUpperCase(), `${prefix}:${name}`.toUpperCase()));
}

/** Tries each length for each star. */
function isLike(pattern: string, text: string, i = 0, j = 0): boolean {
  if (i === pattern.length) return j === text.length;
  if (pattern[i] === "*")
    return isLike(pattern, text, i + 1, j) || (j < text.length && isLike(pattern, text, i, j + 1));
  return j < text.length && (pattern[i] === "?" || pattern[i] === text[j]) && isLike(pattern, text, i + 1, j + 1);
}

function holds(operator: string, key: string, values: string[], request: PolicyRequest): boolean {
  const { namespace } = request.resource;
  const text = key.toLowerCase() === "aws:username" ? request.keyId : namespace;
  const wanted = values.map((value) => (value === "__default__" ? "" : value));
  switch (operator) {
    case "StringEquals":
      return text !== undefined && wanted.includes(text);
    case "StringNotEquals":
      return text === undefined || !wanted.includes(text);
    case "StringLike":
      return text !== undefined && wanted.some((value) => isLike(value, text));
    case "StringNotLike":
      return text === undefined || !wanted.some((value) => isLike(value, text));
    case "IpAddress":
      return values.some((range) => isInRange(request.address, range));
    case "NotIpAddress":
      return !values.some((range) => isInRange(request.address, range));
    case "Bool":
      return values.includes(`${request.secure}`);
    case "DateLessThan":
      return values.some((value) => request.at < Date.parse(value));
    case "DateGreaterThan":
      return values.some((value) => request.at > Date.parse(value));
    default:
      throw new Error(operator);
  }
}

function isInRange(address: string, range: string): boolean {
  const [network = "", length] = range.split("/");
  const a = bitsOf(address);
  const b = bitsOf(network);
  return a.length === b.length && a.slice(0, Number(length ?? a.length)) === b.slice(0, Number(length ?? a.length));
}

/** As text of 0 and 1: 32 of IPv4, also when it is written as IPv6, and 128 of IPv6. */
function bitsOf(address: string): string {
  if (!address.includes(":")) return address.split(".").map(byteBits).join("");
  const [start = "", end] = address.replace(/\d+\.\d+\.\d+\.\d+$/, hexOf).split("::");
  const before = start.split(":").filter(Boolean);
  const after = (end ?? "").split(":").filter(Boolean);
  const groups = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  const bits = groups.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0")).join("");
  const mapped = "0".repeat(80) + "1".repeat(16);
  return bits.startsWith(mapped) ? bits.slice(96) : bits;
}

function byteBits(byte: string): string {
  return Number(byte).toString(2).padStart(8, "0");
}

function hexOf(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split(".").map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}
