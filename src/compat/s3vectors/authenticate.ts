import { QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { bySignature } from "../by-signature.ts";
import type { Proof, RequestHead } from "../facade.ts";
import { isSigned, SigV4 } from "./sigv4.ts";

/** Who calls, by AWS Signature Version 4 or an api key. `now`: milliseconds since the epoch. */
export function authenticate(service: Service, head: RequestHead, now: number): Proof {
  return bySignature(service, head, isSigned(head), (secretsOf) => {
    const signature = new SigV4(head, now);
    return (body) => {
      const signer = signature.signer(body, secretsOf(signature.accessKeyId));
      if (signer !== undefined) return signer;
      throw new QuiverError(
        "CREDENTIALS_INVALID",
        "The access key is unknown, expired or not allowed to sign, or the signature was not made with its secret",
      );
    };
  });
}
