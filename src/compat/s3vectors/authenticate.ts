import { QuiverError } from "../../errors.ts";
import type { Service } from "../../service/service.ts";
import { bySignature } from "../by-signature.ts";
import type { Proof, RequestHead } from "../facade.ts";
import { isSigned, SigV4 } from "./sigv4.ts";

/** Who calls, by AWS Signature Version 4 or an api key. `now`: milliseconds since the epoch. */
export function authenticate(service: Service, head: RequestHead, now: number): Proof {
  return bySignature(service, head, isSigned(head), (secretsOf) => {
    const signature = new SigV4(head, now);
    const secrets = secretsOf(signature.accessKeyId);
    const signerBy = (body?: Uint8Array) => {
      const signer = signature.signer(body, secrets);
      if (signer === undefined) throw refused();
      return signer;
    };
    // No body is read of whoever has no key: it would take the memory of others.
    if (!signature.tellsBody) {
      if (secrets.length === 0) throw refused();
      return { known: undefined, check: signerBy };
    }
    const known = signerBy();
    return {
      known,
      check(body) {
        signature.assertBody(body);
        return known;
      },
    };
  });
}

function refused(): QuiverError {
  const message =
    "The access key is unknown, expired or not allowed to sign, or the signature was not made with its secret";
  return new QuiverError("CREDENTIALS_INVALID", message);
}
