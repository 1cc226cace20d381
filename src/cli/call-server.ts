import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { QuiverError, REASONS, type Reason } from "../errors.ts";
import { DEFAULT_URL, type ServerAccess } from "./server-access.ts";

interface ErrorAnswer {
  readonly message?: string;
  readonly details?: readonly { readonly type?: string; readonly debug?: { readonly reason?: string } }[];
}

/**
 * Calls a method ("AdminService/CreateBackup") of a running server, as Connect with JSON, and waits as long as it takes:
 * fetch gives up after five minutes. Fails with the server's error, or with INVALID_FIELD when no server answers there.
 */
export async function callServer(server: ServerAccess, method: string, message: object): Promise<unknown> {
  const { status, body } = await post(server, urlOf(server.url, method), JSON.stringify(message)).catch(
    (cause: NodeJS.ErrnoException) => {
      const problem = tlsProblem(server, cause);
      if (problem !== undefined) throw new QuiverError("INVALID_FIELD", `Cannot call ${server.url}: ${problem}`);
      throw noServer(server.url, cause.message || `${cause.code}`, cause);
    },
  );
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (cause) {
    throw noServer(server.url, `the answer with status ${status} is no JSON`, cause);
  }
  if (status === 200) return answer;
  const { message: sentence, details } = answer as ErrorAnswer;
  const reason = details?.find(({ type }) => type === "google.rpc.ErrorInfo")?.debug?.reason ?? "";
  throw new QuiverError(
    isReason(reason) ? reason : "INTERNAL",
    sentence ?? `The server answered with status ${status}`,
  );
}

function urlOf(base: string, method: string): URL {
  const url = URL.parse(`quiver.v1.${method}`, base.endsWith("/") ? base : `${base}/`);
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new QuiverError("INVALID_FIELD", `--url must be a URL such as ${DEFAULT_URL}, got ${JSON.stringify(base)}`);
}

function noServer(url: string, problem: string, cause: unknown): QuiverError {
  return new QuiverError(
    "INVALID_FIELD",
    `No Quiver server answers at ${url}: ${problem}; say where it is with --url`,
    {
      cause,
    },
  );
}

const UNTRUSTED =
  /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(GET_ISSUER_CERT|GET_ISSUER_CERT_LOCALLY|VERIFY_LEAF_SIGNATURE))$/;
const WANTS_CERTIFICATE = /ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/;
const REFUSES_CERTIFICATE = /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN)$/;

/** What a person can mend, instead of OpenSSL's words; undefined: something else. */
function tlsProblem({ url, tls }: ServerAccess, { code = "" }: NodeJS.ErrnoException): string | undefined {
  if (UNTRUSTED.test(code)) {
    return "its certificate is not trusted: name a PEM file of the CA that signed it, or of that certificate itself, with --tls-ca";
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return "its certificate is not for that name: say in --url one that it is for";
  }
  if (code === "CERT_HAS_EXPIRED") return "its certificate has expired";
  const isTls = URL.parse(url)?.protocol === "https:";
  if (tls.cert === undefined && WANTS_CERTIFICATE.test(code)) {
    return "it wants a certificate of the client: name PEM files with --tls-client-cert and --tls-client-key";
  }
  // A server on Node ends the connection without an alert when it does not know the CA.
  if (tls.cert !== undefined && (REFUSES_CERTIFICATE.test(code) || (isTls && code === "ECONNRESET"))) {
    return "it ended the connection: it may not accept the certificate of --tls-client-cert";
  }
  if (isTls && code === "EPROTO") return "it does not speak TLS there: say http:// in --url";
  if (!isTls && code === "ECONNRESET") return "it ended the connection: if it speaks TLS, say https:// in --url";
  return undefined;
}

function isReason(reason: string): reason is Reason {
  return Object.hasOwn(REASONS, reason);
}

function post({ apiKey, tls }: ServerAccess, url: URL, body: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
    };
    const options = { method: "POST", headers };
    const isTls = url.protocol === "https:";
    const request = isTls ? requestHttps(url, { ...options, ...tls }) : requestHttp(url, options);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}
