import type { SigningSecret } from "../service/access/access-keys.ts";
import type { Service } from "../service/service.ts";
import { byApiKey } from "./by-api-key.ts";
import type { Proof, RequestHead } from "./facade.ts";

/**
 * Finds the secret that a request is signed with, of those that an access key may sign with: as far as the head tells at
 * once, and the rest by the body. Throws CREDENTIALS_INVALID.
 */
export type FindSigner = (
  secretsOf: (accessKeyId: string) => readonly SigningSecret[],
) => (body: Uint8Array) => SigningSecret;

/**
 * Who calls, by the signature of a request that bears one, and else by the api key in a header. A server that is open lets in
 * whatever a request brings: clients that sign cannot be told to bring nothing.
 */
export function bySignature(service: Service, head: RequestHead, isSigned: boolean, findSigner: FindSigner): Proof {
  const { callers, accessKeys } = service;
  if (callers.isOpen) {
    const caller = callers.identify(undefined, head.origin);
    return () => caller;
  }
  if (!isSigned) return byApiKey(service, head);
  const signerOf = findSigner((id) => accessKeys.signingSecrets(id));
  return (body) => {
    const { credential } = signerOf(body);
    accessKeys.noteUse(credential);
    return { ...head.origin, ...credential };
  };
}
