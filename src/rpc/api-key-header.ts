import type { IncomingHttpHeaders } from "node:http";
import { QuiverError } from "../errors.ts";

const BEARER = /^bearer +(\S+) *$/i;

/**
 * The api key that a request brings, in `authorization: Bearer <api key>`, `api-key` or `x-api-key`; undefined when it has
 * none of them. Throws CREDENTIALS_INVALID for another scheme, and for two different ones.
 */
export function apiKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const { authorization, "api-key": apiKey, "x-api-key": xApiKey } = headers;
  const given = [apiKey, xApiKey].flatMap((value) => value ?? []);
  if (authorization !== undefined) {
    const [, bearer] = BEARER.exec(authorization) ?? [];
    if (bearer === undefined) throw invalid('The header "authorization" must be "Bearer <api key>"');
    given.push(bearer);
  }
  if (new Set(given).size > 1) throw invalid("The request brings different api keys: send one");
  return given[0];
}

function invalid(message: string): QuiverError {
  return new QuiverError("CREDENTIALS_INVALID", message);
}
