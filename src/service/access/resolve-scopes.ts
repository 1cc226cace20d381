import { invalidField } from "../../errors.ts";
import { LIMITS } from "../limits.ts";
import { assertName, resolveNamespace } from "../names.ts";
import type { Role } from "./actions.ts";
import type { AccessScope } from "./caller.ts";

/** The scopes of a new access key, checked; "__default__" is the default namespace. Throws INVALID_FIELD. */
export function resolveScopes(role: Role, scopes: readonly AccessScope[]): readonly AccessScope[] {
  if (role === "admin" && scopes.length > 0) {
    throw invalidField("scopes", `Must be none with the role admin, which works everywhere, got ${scopes.length}`);
  }
  if (scopes.length > LIMITS.accessScopesMax) {
    throw invalidField("scopes", `Must be at most ${LIMITS.accessScopesMax}, got ${scopes.length}`);
  }
  return scopes.map(({ bucket, index, namespace }, i) => {
    const field = `scopes[${i}]`;
    if (bucket !== undefined) assertPattern(`${field}.vector_bucket_name`, bucket);
    if (index !== undefined) assertPattern(`${field}.index_name`, index);
    return {
      ...(bucket !== undefined && { bucket }),
      ...(index !== undefined && { index }),
      ...(namespace !== undefined && { namespace: namespacePattern(`${field}.namespace`, namespace) }),
    };
  });
}

function namespacePattern(field: string, namespace: string): string {
  if (!namespace.endsWith("*")) return resolveNamespace(namespace, field);
  assertPattern(field, namespace);
  return namespace;
}

/** A name, or the start of one and "*". */
function assertPattern(field: string, pattern: string): void {
  const name = pattern.endsWith("*") ? pattern.slice(0, -1) : pattern;
  if (name !== "" || pattern === "") assertName(field, name);
}
