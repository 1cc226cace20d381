import { readFileSync } from "node:fs";
import { QuiverError } from "./errors.ts";
import { SecretsKey } from "./service/access/secrets-key.ts";

const KEY_BYTES = 32;
const HEX = /^[0-9a-f]{64}$/i;
const BASE64 = /^[A-Za-z0-9+/]{43}=?$/;

/**
 * The secrets key: the content of `file`, or of QUIVER_SECRETS_KEY in the environment; undefined: there is none. Throws
 * INVALID_FIELD, which never shows what was read.
 */
export function readSecretsKey(file: string | undefined, environment: NodeJS.ProcessEnv): SecretsKey | undefined {
  const given = environment.QUIVER_SECRETS_KEY;
  if (file === undefined) return given === undefined ? undefined : decode("QUIVER_SECRETS_KEY", given);
  if (given !== undefined) throw invalid("--secrets-key-file and QUIVER_SECRETS_KEY must not be given together");
  let content: string;
  try {
    content = readFileSync(file, "utf8");
  } catch (cause) {
    throw invalid(`Cannot read --secrets-key-file "${file}": ${(cause as Error).message}`, cause);
  }
  return decode(`--secrets-key-file "${file}"`, content);
}

function decode(where: string, content: string): SecretsKey {
  const text = content.trim();
  const bytes = HEX.test(text) ? Buffer.from(text, "hex") : BASE64.test(text) ? Buffer.from(text, "base64") : undefined;
  if (bytes?.length === KEY_BYTES) return new SecretsKey(bytes);
  throw invalid(`${where} must hold ${KEY_BYTES} bytes in base64 or hex, such as "openssl rand -base64 32" prints`);
}

function invalid(message: string, cause?: unknown): QuiverError {
  return new QuiverError("INVALID_FIELD", message, { cause });
}
