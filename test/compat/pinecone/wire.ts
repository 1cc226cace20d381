/** What the server answers to a request without a client. */
export interface WireAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of whatever shape, which the tests look at.
  readonly body: any;
}

/** Sends JSON, or text as it is; a GET when there is nothing to send. */
export async function ask(
  url: string,
  path: string,
  body?: unknown,
  { method = body === undefined ? "GET" : "POST", headers = {} }: RequestInit = {},
): Promise<WireAnswer> {
  const answer = await fetch(`${url}/pinecone${path}`, {
    method,
    headers: { "content-type": "application/json", ...(headers as Record<string, string>) },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : JSON.parse(text) };
}

export const SPEC = { serverless: { cloud: "aws", region: "us-east-1" } };

/** Creates index "i"; returns its place. */
export async function createIndex(url: string, options: object = {}): Promise<string> {
  await ask(url, "/indexes", { name: "i", dimension: 3, metric: "cosine", spec: SPEC, ...options });
  return "/i/i";
}
