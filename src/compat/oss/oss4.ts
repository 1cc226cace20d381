import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { SigningSecret } from "../../service/access/access-keys.ts";
import { CLOCK_SKEW_MAX_MS, hmacChain, signerAmong, signingTimeOf } from "../signature.ts";
import { ossError } from "./errors.ts";
import type { OssHost } from "./host.ts";

const ALGORITHM = "OSS4-HMAC-SHA256";
const AUTHORIZATION =
  /^OSS4-HMAC-SHA256 +Credential=([^/,\s]+)\/(\d{8})\/([^/,\s]+)\/oss\/aliyun_v4_request(?: *, *AdditionalHeaders=([^,\s]*))? *, *Signature=([0-9a-f]{64}) *$/;
const UNSIGNED = "UNSIGNED-PAYLOAD";

/** What is signed of a request; the body is not. */
export interface SignedRequest {
  readonly method: string;
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** Undefined: it is about no bucket. */
  readonly bucket: OssHost["bucket"];
}

/** Whether a request brings a signature of OSS, right or wrong. */
export function isSignedOss4({ authorization = "" }: IncomingHttpHeaders): boolean {
  return authorization.startsWith(ALGORITHM);
}

/**
 * The secret that a request is signed with, of those of the access key that it names. Throws CREDENTIALS_INVALID; an
 * unknown access key takes as much work as a wrong signature.
 */
export function verifyOss4(
  request: SignedRequest,
  secretsOf: (accessKeyId: string) => readonly SigningSecret[],
  now: number,
): SigningSecret {
  const { headers } = request;
  const [, id = "", date = "", region = "", additional = "", given = ""] =
    AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  if (id === "") {
    throw refuse(
      "InvalidArgument",
      `The header authorization must be "${ALGORITHM} Credential=<access key id>/<date>/<region>/oss/aliyun_v4_request,Signature=<hex>"`,
    );
  }
  const signedAt = `${headers["x-oss-date"]}`;
  assertTime(signedAt, date, now);
  if ((headers["x-oss-content-sha256"] ?? UNSIGNED) !== UNSIGNED) {
    throw refuse("InvalidArgument", `The header x-oss-content-sha256 must be "${UNSIGNED}"`);
  }
  const scope = `${date}/${region}/oss/aliyun_v4_request`;
  const canonical = canonicalRequest(request, region, additional);
  const text = [ALGORITHM, signedAt, scope, createHash("sha256").update(canonical).digest("hex")].join("\n");
  const signature = Buffer.from(given, "hex");
  const secrets = secretsOf(id);
  const found = signerAmong(secrets, signature, (secret) =>
    hmacChain(`aliyun_v4${secret}`, date, region, "oss", "aliyun_v4_request", text),
  );
  if (found !== undefined) return found;
  if (secrets.length === 0) {
    throw refuse("InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.");
  }
  throw refuse(
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
  );
}

/** Throws InvalidDigest unless the body is the one that the header Content-MD5 tells of, if there is one. */
export function assertContentMd5(headers: IncomingHttpHeaders, body: Uint8Array): void {
  const given = headers["content-md5"];
  if (given === undefined || given === createHash("md5").update(body).digest("base64")) return;
  throw ossError("MALFORMED_REQUEST", "InvalidDigest", "The Content-MD5 you specified is not that of the body.");
}

function assertTime(signedAt: string, date: string, now: number): void {
  const time = signingTimeOf(signedAt);
  if (Number.isNaN(time) || !signedAt.startsWith(date)) {
    throw refuse(
      "AccessDenied",
      "OSS authentication requires a valid x-oss-date, such as 20260102T030405Z, of the day that is in the credential",
    );
  }
  if (Math.abs(now - time) > CLOCK_SKEW_MAX_MS) {
    throw refuse("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.");
  }
}

function canonicalRequest({ method, query, headers, bucket }: SignedRequest, region: string, additional: string) {
  const resource = `acs:ossvector:${region}:${bucket ? `${bucket.account}:${bucket.name}` : ":"}`;
  const alsoSigned = ["content-type", "content-md5", ...additional.split(";")];
  const names = Object.keys(headers).filter((name) => name.startsWith("x-oss-") || alsoSigned.includes(name));
  return [
    method,
    `/${encodeURIComponent(resource)}/`,
    canonicalQuery(query),
    names
      .sort()
      .map((name) => `${name}:${headers[name]}\n`)
      .join(""),
    additional,
    UNSIGNED,
  ].join("\n");
}

/** Sorted by name, then value; as it was sent, but without the "=" before nothing. */
function canonicalQuery(query: string): string {
  const pairs = query.split("&").map((pair) => {
    const at = pair.indexOf("=");
    return at < 0 ? { name: pair, value: "" } : { name: pair.slice(0, at), value: pair.slice(at + 1) };
  });
  pairs.sort((a, b) => compare(a.name, b.name) || compare(a.value, b.value));
  return pairs.map(({ name, value }) => (value === "" ? name : `${name}=${value}`)).join("&");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function refuse(code: Parameters<typeof ossError>[1], message: string) {
  return ossError("CREDENTIALS_INVALID", code, message);
}
