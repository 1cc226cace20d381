import { createHash, randomInt } from "node:crypto";

/**
 * An access key has an id, which looks like those of AWS so that clients that sign take it, and a secret:
 *
 *     id       "QK" and 18 of A-Z and 2-7
 *     secret   40 of A-Z, a-z and 0-9: 238 random bits
 *     api key  "qk_" id "_" secret
 */
const ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const API_KEY = /^qk_(QK[A-Z2-7]{18})_([A-Za-z0-9]{40})$/;

export function createAccessKeyId(): string {
  return `QK${randomText(ID_ALPHABET, 18)}`;
}

export function createSecret(): string {
  return randomText(SECRET_ALPHABET, 40);
}

export function apiKeyOf(id: string, secret: string): string {
  return `qk_${id}_${secret}`;
}

/** Undefined when it is none. */
export function parseApiKey(apiKey: string): { readonly id: string; readonly secret: string } | undefined {
  const [, id, secret] = API_KEY.exec(apiKey) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

/** SHA-256: what is compared and stored instead of the secret. */
export function hashSecret(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** randomInt is cryptographically strong, and favours none. */
function randomText(alphabet: string, length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join("");
}
