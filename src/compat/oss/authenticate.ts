import type { Service } from "../../service/service.ts";
import { bySignature } from "../by-signature.ts";
import type { Proof, RequestHead } from "../facade.ts";
import type { OssHost } from "./host.ts";
import { assertContentMd5, isSignedOss4, verifyOss4 } from "./oss4.ts";

export interface AuthenticateOptions {
  /** The bucket that is signed with the request; undefined: it is about none. */
  readonly bucket: OssHost["bucket"];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Who calls, by a signature of OSS, version 4, or an api key. */
export function authenticate(service: Service, head: RequestHead, { bucket, now }: AuthenticateOptions): Proof {
  const { headers } = head;
  const { caller, check } = bySignature(service, head, isSignedOss4(headers), (secretsOf) => {
    const known = verifyOss4({ ...head, bucket }, secretsOf, now);
    return { known, check: () => known };
  });
  return {
    caller,
    check(body) {
      assertContentMd5(headers, body);
      return check(body);
    },
  };
}
