import { invalidField, QuiverError, quote } from "../errors.ts";
import { admitBucket, type ServiceContext } from "./context.ts";
import { LIMITS } from "./limits.ts";
import type { BucketReference } from "./names.ts";

/** The access policies of vector buckets: put, get, delete. */
export class Policies {
  readonly #context: ServiceContext;

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  async put({ policy, ...reference }: BucketReference & { readonly policy: string }): Promise<void> {
    const bucket = admitBucket(this.#context, reference);
    assertPolicy(policy);
    await this.#context.engine.updateBucket(bucket, { policy });
  }

  /** As it was put. Throws POLICY_NOT_FOUND. */
  async get(reference: BucketReference): Promise<string> {
    const { name, policy } = await this.#context.engine.getBucket(admitBucket(this.#context, reference));
    if (policy !== undefined) return policy;
    throw new QuiverError("POLICY_NOT_FOUND", `Vector bucket "${name}" has no policy`, {
      resource: { type: "vector bucket policy", name },
    });
  }

  async delete(reference: BucketReference): Promise<void> {
    await this.#context.engine.updateBucket(admitBucket(this.#context, reference), { policy: null });
  }
}

const VERSION = "2012-10-17";
const MEMBERS = ["Version", "Id", "Statement"];
const STATEMENT_MEMBERS = [
  "Sid",
  "Effect",
  "Principal",
  "NotPrincipal",
  "Action",
  "NotAction",
  "Resource",
  "NotResource",
  "Condition",
];

/** Throws INVALID_FIELD for what is no policy: a misspelt one must not be kept as if it said something. */
function assertPolicy(policy: string): void {
  const bytes = Buffer.byteLength(policy);
  if (bytes > LIMITS.policyBytesMax || !policy.isWellFormed()) {
    throw invalidField("policy", `Must be at most ${LIMITS.policyBytesMax} bytes of valid UTF-8, got ${bytes}`);
  }
  const document = parse(policy);
  assertMembers("policy", document, MEMBERS);
  if (document.Version !== VERSION) throw invalidField("policy", `Version must be ${quote(VERSION)}`);
  const statements = document.Statement;
  if (!Array.isArray(statements)) throw invalidField("policy", "Statement must be a list");
  for (const [i, statement] of (statements as unknown[]).entries()) {
    const where = `Statement[${i}]`;
    if (!isObject(statement)) throw invalidField("policy", `${where} must be an object`);
    assertMembers(where, statement, STATEMENT_MEMBERS);
    if (statement.Effect !== "Allow" && statement.Effect !== "Deny") {
      throw invalidField("policy", `${where}.Effect must be "Allow" or "Deny"`);
    }
  }
}

function parse(policy: string): Record<string, unknown> {
  try {
    const document: unknown = JSON.parse(policy);
    if (isObject(document)) return document;
  } catch {
    // Said below.
  }
  throw invalidField("policy", "Must be a JSON object");
}

function assertMembers(where: string, value: Record<string, unknown>, known: readonly string[]): void {
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw invalidField("policy", `${where} must have no other members than ${known.join(", ")}, has ${quote(unknown)}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
