import { apiKeyOf } from "../rpc/api-key-header.ts";
import type { Service } from "../service/service.ts";
import { type Proof, proofOf, type RequestHead } from "./facade.ts";

/** Who calls by the api key in a header, as in the native API. Throws CREDENTIALS_MISSING or CREDENTIALS_INVALID. */
export function byApiKey({ callers }: Service, { headers, origin }: RequestHead): Proof {
  return proofOf(callers.identify(apiKeyOf(headers), origin));
}
