import type { HttpRequest, HttpResponse } from "../node-http.ts";
import type { HttpHandler } from "./types.ts";

/** Whether the server can take calls, and what it waits for: one word per index, such as `ready` or `loading`. */
export interface Readiness {
  readonly ready: boolean;
  /** `healthy`, `read_only` or `failed`, and why. */
  readonly storage: string;
  readonly problems: readonly { readonly reason: string; readonly message: string }[];
  readonly indexes: Readonly<Record<string, string>>;
}

export interface RoutesOptions {
  name: string;
  version: string;
  /** What this request may know of it. */
  readiness(request: HttpRequest): Readiness;
  /** Whether browsers are told to use this host over TLS only, at every port. Default: they are not. */
  securesBrowsers?: boolean;
  /** Why a request is refused, whatever its path but /livez. Default: none is. */
  refuse?(request: HttpRequest): RouteRefusal | undefined;
}

/** A status of HTTP and a body in JSON. */
export interface RouteRefusal {
  readonly status: number;
  readonly body: unknown;
}

/** Tells nothing, also to those who are refused. */
const ALWAYS_ANSWERED = "/livez";

type Route = (request: HttpRequest, response: HttpResponse) => void;

/** Serves the plain HTTP paths that stand beside the RPCs: `/`, `/livez`, `/readyz`; all else is 404 in JSON. */
export function createRoutes(options: RoutesOptions): HttpHandler {
  const routes = new Map<string, Route>([
    ["/", (request, response) => send(request, response, 200, "text/plain; charset=utf-8", welcome(options))],
    ["/livez", (request, response) => send(request, response, 200, "text/plain; charset=utf-8", "ok\n")],
    [
      "/readyz",
      (request, response) => {
        const readiness = options.readiness(request);
        sendJson(request, response, readiness.ready ? 200 : 503, readiness);
      },
    ],
  ]);

  return (request, response) => {
    for (const [name, value] of FOR_BROWSERS) response.setHeader(name, value);
    if (options.securesBrowsers) response.setHeader("strict-transport-security", "max-age=31536000");
    // A body has no meaning here, and unread it would stay in memory.
    request.resume();
    const path = pathOf(request);
    const refusal = path === ALWAYS_ANSWERED ? undefined : options.refuse?.(request);
    if (refusal !== undefined) return sendJson(request, response, refusal.status, refusal.body);
    const route = routes.get(path);
    if (route === undefined) {
      sendJson(request, response, 404, { code: "not_found", message: `No such path: "${path.slice(0, 200)}"` });
      return;
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      const message = `Path "${path}" takes GET and HEAD, not "${request.method}"`;
      sendJson(request, response, 405, { code: "unimplemented", message });
      return;
    }
    route(request, response);
  };
}

/** The path of a request without its query; "" for requests that have none. */
export function pathOf(request: HttpRequest): string {
  return (request.url ?? "").split("?", 1)[0] ?? "";
}

/** No page is served: nothing may run in what a browser shows of an answer, put it into a frame, or keep it. */
const FOR_BROWSERS = [
  ["cache-control", "no-store"],
  ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
  ["referrer-policy", "no-referrer"],
  ["x-content-type-options", "nosniff"],
  ["x-frame-options", "DENY"],
] as const;

/** Sends a JSON body; the body is left out for HEAD. */
export function sendJson(request: HttpRequest, response: HttpResponse, status: number, body: unknown): void {
  send(request, response, status, "application/json", `${JSON.stringify(body)}\n`);
}

function send(request: HttpRequest, response: HttpResponse, status: number, type: string, body: string): void {
  response.statusCode = status;
  response.setHeader("content-type", type);
  response.setHeader("content-length", Buffer.byteLength(body));
  response.end(request.method === "HEAD" ? "" : body);
}

function welcome({ name, version }: RoutesOptions): string {
  return `${name} ${version}: a self-hosted vector store

The API is quiver.v1 over gRPC, gRPC-Web and Connect on this port. Try:
  grpcurl -plaintext HOST:PORT list
  curl -d '{}' -H 'content-type: application/json' http://HOST:PORT/quiver.v1.BucketService/ListVectorBuckets
  curl http://HOST:PORT/readyz
`;
}
