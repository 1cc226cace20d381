import assert from "node:assert/strict";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

/** Sends one request below /moorcheh; a body that is no string as JSON. */
export async function send(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<HttpAnswer> {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(`${url}/moorcheh/${path}`, {
    method,
    headers: { ...(text !== undefined && { "content-type": "application/json" }), ...headers },
    ...(text !== undefined && { body: text }),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body: answer };
}

/** Calls a method of the native API. */
export async function callNative(
  url: string,
  method: string,
  message: unknown,
  apiKey?: string,
): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/quiver.v1.${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(apiKey !== undefined && { "api-key": apiKey }) },
    body: JSON.stringify(message),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

/** Makes an access key; resolves to its api key. */
export async function createKey(url: string, role: string, apiKey?: string): Promise<string> {
  return `${(await callNative(url, "AdminService/CreateAccessKey", { role }, apiKey)).apiKey}`;
}
