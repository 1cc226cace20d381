import type { SigningSecret } from "../service/access/access-keys.ts";
import type { Service } from "../service/service.ts";
import { byApiKey } from "./by-api-key.ts";
import { type Proof, proofOf, type RequestHead } from "./facade.ts";

/** The secret that a request is signed with. */
export interface Signer {
  /** Undefined: the head alone does not tell. */
  readonly known: SigningSecret | undefined;
  /** Throws CREDENTIALS_INVALID when the body is not the one that was signed. */
  check(body: Uint8Array): SigningSecret;
}

/** Finds it among those that an access key may sign with. Throws CREDENTIALS_INVALID. */
export type FindSigner = (secretsOf: (accessKeyId: string) => readonly SigningSecret[]) => Signer;

/**
 * Who calls, by the signature of a request that bears one, and else by the api key in a header. A server that is open lets in
 * whatever a request brings: clients that sign cannot be told to bring nothing.
 */
export function bySignature(service: Service, head: RequestHead, isSigned: boolean, findSigner: FindSigner): Proof {
  const { callers, accessKeys } = service;
  if (callers.isOpen) return proofOf(callers.identify(undefined, head.origin));
  if (!isSigned) return byApiKey(service, head);
  const signer = findSigner((id) => accessKeys.signingSecrets(id));
  const callerOf = ({ credential }: SigningSecret) => {
    accessKeys.noteUse(credential);
    return { ...head.origin, ...credential };
  };
  const caller = signer.known && callerOf(signer.known);
  return {
    caller,
    check(body) {
      const found = signer.check(body);
      return caller ?? callerOf(found);
    },
  };
}
