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
export async function callServer({ url, apiKey }: ServerAccess, method: string, message: object): Promise<unknown> {
  const { status, body } = await post(urlOf(url, method), apiKey, JSON.stringify(message)).catch((cause: unknown) => {
    throw noServer(url, (cause as Error).message || String((cause as NodeJS.ErrnoException).code), cause);
  });
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (cause) {
    throw noServer(url, `the answer with status ${status} is no JSON`, cause);
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

function isReason(reason: string): reason is Reason {
  return Object.hasOwn(REASONS, reason);
}

function post(url: URL, apiKey: string | undefined, body: string): Promise<{ status: number; body: string }> {
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
    };
    const request = send(url, { method: "POST", headers }, (response) => {
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
