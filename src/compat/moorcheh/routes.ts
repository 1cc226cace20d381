import { QuiverError, quote } from "../../errors.ts";
import type { CallKind } from "../../rpc/admission.ts";
import type { FacadeAnswer, FacadeRequest, Operation, RequestHead } from "../facade.ts";
import type { MoorchehContext } from "./context.ts";
import { MOORCHEH_LIMITS } from "./limits.ts";

/** What stands for `:namespace` and `:id` in the path; "" where the route has none. */
export interface RouteParameters {
  readonly namespace: string;
  readonly id: string;
}

/** The path is below the API's own one, such as `namespaces/:namespace/vectors`. */
export type Route = readonly [method: string, path: string, name: string, kind: CallKind, serve: Serve];

export type Serve = (
  context: MoorchehContext,
  request: FacadeRequest,
  parameters: RouteParameters,
) => FacadeAnswer | Promise<FacadeAnswer>;

/** The operation for a method and the segments of a path; one that answers 404 where there is none. */
export function findRoute(
  routes: readonly Route[],
  context: MoorchehContext,
  { method, path }: RequestHead,
  segments: readonly string[],
): Operation {
  const maxBytes = method === "GET" ? 0 : MOORCHEH_LIMITS.requestBytesMax;
  for (const [routeMethod, pattern, name, kind, serve] of routes) {
    const parameters = routeMethod === method ? match(pattern.split("/"), segments) : undefined;
    if (parameters) return { name, kind, maxBytes, serve: (request) => serve(context, request, parameters) };
  }
  return {
    name: "Unknown",
    kind: "read",
    maxBytes,
    serve: () => {
      throw new QuiverError("SERVICE_NOT_FOUND", `There is no ${method} ${quote(path)}`);
    },
  };
}

function match(pattern: readonly string[], segments: readonly string[]): RouteParameters | undefined {
  if (pattern.length !== segments.length) return undefined;
  const parameters = { namespace: "", id: "" };
  for (const [i, part] of pattern.entries()) {
    const segment = segments[i] as string;
    if (part === ":namespace") parameters.namespace = decoded(segment);
    else if (part === ":id") parameters.id = decoded(segment);
    else if (part !== segment) return undefined;
  }
  return parameters;
}

/** As it is where it is encoded wrongly: nothing has such a name. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
