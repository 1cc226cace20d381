import { readFileSync } from "node:fs";
import { QuiverError } from "../errors.ts";

/** Where a server is looked for unless told otherwise. */
export const DEFAULT_URL = "http://127.0.0.1:8080";

/** A server, and what lets a command in. */
export interface ServerAccess {
  readonly url: string;
  /** Undefined: none, for a server that has no access keys. */
  readonly apiKey: string | undefined;
}

/** The flags of every command that calls a server. None takes the api key itself: every user of the machine would see it. */
export const SERVER_FLAGS = ["url", "api-key-file"] as const;

export const SERVER_HELP = `  --url            Where the server is (default ${DEFAULT_URL})
  --api-key-file   File with the api key to call it with; else QUIVER_API_KEY in the environment
`;

/** What the flags and the environment say. Throws INVALID_FIELD, which does not show the api key. */
export function serverAccess(
  { url = DEFAULT_URL, "api-key-file": file }: { readonly [Flag in (typeof SERVER_FLAGS)[number]]?: string },
  environment: NodeJS.ProcessEnv,
): ServerAccess {
  if (file === undefined) return { url, apiKey: check("QUIVER_API_KEY", environment.QUIVER_API_KEY) };
  try {
    return { url, apiKey: check(`--api-key-file "${file}"`, readFileSync(file, "utf8")) };
  } catch (cause) {
    if (cause instanceof QuiverError) throw cause;
    const message = `Cannot read --api-key-file "${file}": ${(cause as Error).message}`;
    throw new QuiverError("INVALID_FIELD", message, { cause });
  }
}

function check(where: string, content: string | undefined): string | undefined {
  const apiKey = content?.trim();
  if (apiKey === undefined || /^[!-~]+$/.test(apiKey)) return apiKey;
  throw new QuiverError("INVALID_FIELD", `${where} must hold one api key and nothing else`);
}
