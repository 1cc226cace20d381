import { QuiverError, quote } from "../../errors.ts";
import type { CallKind } from "../../rpc/admission.ts";
import type { FacadeAnswer, FacadeRequest, Operation, RequestHead } from "../facade.ts";
import { createRoutes } from "../path-routes.ts";
import type { MoorchehContext } from "./context.ts";
import { MOORCHEH_LIMITS } from "./limits.ts";

/** What stands for `{namespace}` and `{id}` in the path; "" where the route has none. */
export interface RouteParameters {
  readonly namespace: string;
  readonly id: string;
}

/** The pattern's path is below the API's own one: `GET /namespaces/{namespace}/files`. */
export type Route = readonly [pattern: string, name: string, kind: CallKind, serve: Serve];

export type Serve = (
  context: MoorchehContext,
  request: FacadeRequest,
  parameters: RouteParameters,
) => FacadeAnswer | Promise<FacadeAnswer>;

/** Finds the operation for a request, whose path is `path` below the API's own one; one that answers 404 where there is none. */
export function createFind(
  routes: readonly Route[],
  context: MoorchehContext,
): (head: RequestHead, path: string) => Operation {
  const route = createRoutes(Object.fromEntries(routes.map(([pattern, ...handler]) => [pattern, handler])));
  return (head, path) => {
    const maxBytes = head.method === "GET" ? 0 : MOORCHEH_LIMITS.requestBytesMax;
    const match = route(head.method, path);
    if (match === undefined) return { name: "Unknown", kind: "read", maxBytes, serve: unknown };
    const [name, kind, serve] = match.handler;
    const parameters = { namespace: "", id: "", ...match.names };
    return { name, kind, maxBytes, serve: (request) => serve(context, request, parameters) };
  };
}

function unknown({ head: { method, path } }: FacadeRequest): never {
  throw new QuiverError("SERVICE_NOT_FOUND", `There is no ${method} ${quote(path)}`);
}
