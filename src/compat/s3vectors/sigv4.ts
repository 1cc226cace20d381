import { createHash } from "node:crypto";
import { QuiverError } from "../../errors.ts";
import type { RequestHead } from "../facade.ts";
import { CLOCK_SKEW_MAX_MS, hmacChain, signerAmong, signingTimeOf } from "../signature.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";
const SERVICE = "s3vectors";
const TERMINATOR = "aws4_request";

export type SignedHead = Pick<RequestHead, "method" | "path" | "query" | "headers">;

/** Whether a request brings a signature of this kind, right or wrong. */
export function isSigned({ headers }: Pick<RequestHead, "headers">): boolean {
  return headers.authorization?.startsWith("AWS4-") ?? false;
}

/** The AWS Signature Version 4 of a request, as far as its head tells. */
export class SigV4 {
  readonly accessKeyId: string;
  readonly #head: SignedHead;
  readonly #date: string;
  readonly #scope: readonly [string, string, string, string];
  readonly #signedHeaders: readonly string[];
  readonly #signature: string;

  /** Throws CREDENTIALS_INVALID, which tells what is wrong. `now`: milliseconds since the epoch. */
  constructor(head: SignedHead, now: number) {
    const { headers } = head;
    const { Credential = "", SignedHeaders = "", Signature = "" } = partsOf(headers.authorization ?? "");
    const [accessKeyId = "", ...scope] = Credential.split("/");
    const [day = "", region = "", service = "", terminator = ""] = scope;
    if (accessKeyId === "" || region === "" || scope.length !== 4) {
      throw invalid("Its Credential must be <access key>/<date>/<region>/s3vectors/aws4_request");
    }
    if (service !== SERVICE || terminator !== TERMINATOR) {
      throw invalid(`It must be for the service ${SERVICE} and end in ${TERMINATOR}`);
    }
    const date = headerOf(headers, "x-amz-date") ?? "";
    const at = signingTimeOf(date);
    if (Number.isNaN(at)) throw invalid('It needs the header "x-amz-date", such as 20260131T235959Z');
    if (date.slice(0, 8) !== day) throw invalid("Its Credential must have the day of x-amz-date");
    if (Math.abs(now - at) > CLOCK_SKEW_MAX_MS) {
      throw invalid(`Its x-amz-date ${date} is more than 15 minutes from this server's ${new Date(now).toISOString()}`);
    }
    const names = SignedHeaders.split(";");
    for (const name of ["host", "x-amz-date"]) {
      if (!names.includes(name)) throw invalid(`It must cover the header "${name}"`);
    }
    // One that stands there a thousand times would be hashed as often, whoever asks.
    if (new Set(names).size < names.length) throw invalid("It covers a header twice");
    if (names.some((name) => headerOf(headers, name) === undefined)) {
      throw invalid("It covers headers that the request does not have");
    }
    if (headers["x-amz-security-token"] !== undefined) {
      throw invalid("There are no session tokens here: sign with an access key of this server");
    }
    const bodyHash = headers["x-amz-content-sha256"];
    if (bodyHash !== undefined && !HASH.test(`${bodyHash}`)) {
      throw invalid('It must cover the body: "x-amz-content-sha256" must be the SHA-256 of it, in hexadecimal');
    }
    if (!HASH.test(Signature)) throw invalid("It must have a Signature of 64 hexadecimal digits");
    this.accessKeyId = accessKeyId;
    this.#head = head;
    this.#date = date;
    this.#scope = [day, region, service, terminator];
    this.#signedHeaders = names;
    this.#signature = Signature;
  }

  /** Whether the head tells the SHA-256 of the body, so that the signature can be checked before there is one. */
  get tellsBody(): boolean {
    return this.#head.headers["x-amz-content-sha256"] !== undefined;
  }

  /** Throws CREDENTIALS_INVALID when the body is not the one that the head tells of. */
  assertBody(body: Uint8Array): void {
    if (!this.tellsBody || sha256(body) === this.#head.headers["x-amz-content-sha256"]) return;
    throw invalid('The body does not have the SHA-256 that "x-amz-content-sha256" says');
  }

  /**
   * The one of the candidates whose secret the request was signed with, with this body or, without one, with that of which
   * the head tells. Takes as long for none as for two. Throws CREDENTIALS_INVALID when the head tells of another body.
   */
  signer<Candidate extends { readonly secret: string }>(
    body: Uint8Array | undefined,
    candidates: readonly Candidate[],
  ): Candidate | undefined {
    if (body !== undefined) this.assertBody(body);
    const text = this.#stringToSign(body ?? new Uint8Array());
    const given = Buffer.from(this.#signature, "hex");
    return signerAmong(candidates, given, (secret) => hmacChain(`AWS4${secret}`, ...this.#scope, text));
  }

  #stringToSign(body: Uint8Array): string {
    const { method, path, query, headers } = this.#head;
    const bodyHash = headers["x-amz-content-sha256"] ?? sha256(body);
    const request = [
      method,
      canonicalPath(path),
      canonicalQuery(query),
      ...this.#signedHeaders.map((name) => `${name}:${canonicalValue(headerOf(headers, name) ?? "")}`),
      "",
      this.#signedHeaders.join(";"),
      bodyHash,
    ].join("\n");
    return [ALGORITHM, this.#date, this.#scope.join("/"), sha256(request)].join("\n");
  }
}

const HASH = /^[0-9a-f]{64}$/;

/** The parts of the header `authorization`. */
function partsOf(authorization: string): Partial<Record<"Credential" | "SignedHeaders" | "Signature", string>> {
  const space = authorization.indexOf(" ");
  if (authorization.slice(0, space) !== ALGORITHM) throw invalid(`It must be of the kind ${ALGORITHM}`);
  const parts = authorization.slice(space).split(",");
  return Object.fromEntries(
    parts.map((part) => {
      const at = part.indexOf("=");
      return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    }),
  );
}

/** A header's value; over HTTP/2 the host stands in a field of its own. */
function headerOf(headers: SignedHead["headers"], name: string): string | undefined {
  // Not a member of the prototype, such as "constructor".
  const value = Object.hasOwn(headers, name) ? headers[name] : name === "host" ? headers[":authority"] : undefined;
  return Array.isArray(value) ? value.join(",") : value;
}

function canonicalValue(value: string): string {
  return value.trim().replace(/\s+/g, " ");
}

/** The path as it was sent, encoded once more: only Amazon S3 itself does without. */
function canonicalPath(path: string): string {
  return path
    .split("/")
    .map(encode)
    .join("/")
    .replace(/\/{2,}/g, "/");
}

/** Of what is read from it, so that nothing else is signed than what is served: to others, a "+" is no space. */
function canonicalQuery(query: string): string {
  return (
    [...new URLSearchParams(query)]
      .map(([name, value]) => `${encode(name)} ${encode(value)}`)
      // A space sorts before all that a name may have.
      .sort()
      .map((pair) => pair.replace(" ", "="))
      .join("&")
  );
}

/** All but letters, digits and -._~ as %XX. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

function invalid(problem: string): QuiverError {
  return new QuiverError("CREDENTIALS_INVALID", `The request's signature cannot be accepted. ${problem}`);
}
