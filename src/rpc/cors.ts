import { cors } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "../node-http.ts";

const METHODS = cors.allowedMethods.join(", ");
const REQUEST_HEADERS = [...cors.allowedHeaders, "Authorization", "Api-Key", "X-Api-Key", "X-Request-Id"].join(", ");
const RESPONSE_HEADERS = [...cors.exposedHeaders, "X-Request-Id"].join(", ");
const PREFLIGHT_SECONDS = "7200";

/**
 * Lets pages of the given origins call the API from a browser; `*` stands for every origin. Sets the headers of the
 * response and answers preflights itself: true means that nothing is left to do.
 */
export function applyCors(origins: readonly string[], request: HttpRequest, response: HttpResponse): boolean {
  const { origin } = request.headers;
  if (origin === undefined || origins.length === 0) return false;
  response.setHeader("vary", "Origin");
  if (!origins.includes(origin) && !origins.includes("*")) return false;

  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-expose-headers", RESPONSE_HEADERS);
  if (request.method !== "OPTIONS" || request.headers["access-control-request-method"] === undefined) return false;
  response.setHeader("access-control-allow-methods", METHODS);
  response.setHeader("access-control-allow-headers", REQUEST_HEADERS);
  response.setHeader("access-control-max-age", PREFLIGHT_SECONDS);
  response.statusCode = 204;
  response.end();
  return true;
}
