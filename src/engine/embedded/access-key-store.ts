import { QuiverError } from "../../errors.ts";
import type { AccessKeyRecord, AccessKeyStore, SealedSecret } from "../engine.ts";
import { ACCESS_KEY_KIND, json, keyAt, storeKey, text, utf8, valueAt } from "./layout.ts";
import { scanRange } from "./scan.ts";
import { CATALOG, readFailed, type Store } from "./storage/store.ts";

/** The records of access keys in the default column family. */
export class EmbeddedAccessKeyStore implements AccessKeyStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(): Promise<AccessKeyRecord[]> {
    const range = {
      columnFamily: CATALOG,
      from: Uint8Array.of(ACCESS_KEY_KIND),
      to: Uint8Array.of(ACCESS_KEY_KIND + 1),
    };
    const accessKeys: AccessKeyRecord[] = [];
    try {
      for await (const chunk of scanRange(this.#store.database, range)) {
        for (let i = 0; i < chunk.entries.length / 4; i++) {
          accessKeys.push(decodeAccessKey(keyAt(chunk, i), valueAt(chunk, i)));
        }
      }
    } catch (error) {
      throw readFailed(error);
    }
    return accessKeys;
  }

  async put({ id, ...record }: AccessKeyRecord): Promise<void> {
    const value = utf8(JSON.stringify(record));
    await this.#store.commit("grow", (batch) => batch.put(CATALOG, storeKey(ACCESS_KEY_KIND, id), value));
  }

  async delete(id: string): Promise<void> {
    await this.#store.commit("shrink", (batch) => batch.delete(CATALOG, storeKey(ACCESS_KEY_KIND, id)));
  }
}

const HASH_BYTES = 32;

/** Throws CORRUPTION for what was not written by us: an access key must not allow more than it was created for. */
export function decodeAccessKey(key: Uint8Array, value: Uint8Array): AccessKeyRecord {
  const id = text(key.subarray(1));
  const record = json(value);
  if (isRecord(record)) return { ...record, id };
  throw new QuiverError("CORRUPTION", `The stored access key "${id}" is damaged; stop the server and restore a backup`);
}

function isRecord(value: unknown): value is Omit<AccessKeyRecord, "id"> {
  if (!isObject(value)) return false;
  const { displayName, role, scopes, createdAt, expiresAt, lastUsedAt, secret, previous } = value;
  return (
    typeof displayName === "string" &&
    typeof role === "string" &&
    ["read-only", "read-write", "admin"].includes(role) &&
    Array.isArray(scopes) &&
    scopes.every(isScope) &&
    typeof createdAt === "number" &&
    isNumberOrAbsent(expiresAt) &&
    isNumberOrAbsent(lastUsedAt) &&
    isSecret(secret) &&
    (previous === undefined || (isSecret(previous) && typeof (previous as { until?: unknown }).until === "number"))
  );
}

function isScope(value: unknown): boolean {
  if (!isObject(value)) return false;
  const levels = Object.entries(value);
  return levels.every(([level, name]) => ["bucket", "index", "namespace"].includes(level) && typeof name === "string");
}

function isSecret(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { hash, sealed } = value;
  const isHash = typeof hash === "string" && Buffer.from(hash, "base64").length === HASH_BYTES;
  return isHash && (sealed === undefined || isSealed(sealed));
}

function isSealed(value: unknown): value is SealedSecret {
  return isObject(value) && ["nonce", "ciphertext", "tag"].every((part) => typeof value[part] === "string");
}

function isNumberOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === "number";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
