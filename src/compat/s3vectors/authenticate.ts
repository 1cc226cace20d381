import { QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { byApiKey } from "../api-key.ts";
import type { Proof, RequestHead } from "../facade.ts";
import { isSigned, SigV4 } from "./sigv4.ts";

/**
 * Who calls, by AWS Signature Version 4, or else by the api key in a header. A server that is open lets in whatever a
 * request brings: clients of Amazon's cannot be told to bring nothing.
 */
export function authenticate(service: Service, head: RequestHead, now: number): Proof {
  const { callers, accessKeys } = service;
  if (callers.isOpen) {
    const caller = callers.identify(undefined, head.origin);
    return () => caller;
  }
  if (!isSigned(head)) return byApiKey(service, head);
  const signature = new SigV4(head, now);
  return (body) => {
    const signer = signature.signer(body, accessKeys.signingSecrets(signature.accessKeyId));
    if (signer === undefined) {
      throw new QuiverError(
        "CREDENTIALS_INVALID",
        "The access key is unknown, expired or not allowed to sign, or the signature was not made with its secret",
      );
    }
    accessKeys.noteUse(signer.credential);
    return { ...head.origin, ...signer.credential };
  };
}
