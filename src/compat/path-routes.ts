import type { RequestHead } from "./facade.ts";
import { percentDecoded } from "./percent-decoded.ts";

/** A route's handler, and what its path says where the pattern has a name in braces. */
export interface Match<Handler> {
  readonly handler: Handler;
  readonly names: Readonly<Record<string, string>>;
}

/** Finds the handler of a method and a path by patterns such as `GET /indexes/{index}`. */
export function createRoutes<Handler>(
  handlers: Readonly<Record<string, Handler>>,
): (method: string, path: string) => Match<Handler> | undefined {
  const routes = Object.entries(handlers).map(([pattern, handler]) => {
    const [method, path = ""] = pattern.split(" ");
    return { method, parts: path.split("/"), handler };
  });
  return (method, path) => {
    const given = path.split("/");
    for (const { parts, handler, ...route } of routes) {
      if (route.method !== method || parts.length !== given.length) continue;
      const names = namesOf(parts, given);
      if (names) return { handler, names };
    }
    return undefined;
  };
}

/** The path of a request below `prefix`, and without doubled or trailing slashes; undefined: it is not below it. */
export function pathBelow(prefix: string, { path }: RequestHead): string | undefined {
  if (!path.startsWith("/")) return undefined;
  const plain = `/${path.split("/").filter(Boolean).join("/")}`;
  if (plain === prefix) return "";
  return plain.startsWith(`${prefix}/`) ? plain.slice(prefix.length) : undefined;
}

/** Undefined: the parts do not fit. */
function namesOf(parts: readonly string[], given: readonly string[]): Record<string, string> | undefined {
  const names: Record<string, string> = {};
  for (const [i, part] of parts.entries()) {
    const text = given[i] as string;
    if (!part.startsWith("{")) {
      if (part !== text) return undefined;
      continue;
    }
    const name = percentDecoded(text);
    if (name === undefined) return undefined;
    names[part.slice(1, -1)] = name;
  }
  return names;
}
