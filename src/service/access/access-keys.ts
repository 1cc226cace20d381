import type { AccessKeyRecord, AccessKeyStore, Page, PageOptions, StoredSecret } from "../../engine/engine.ts";
import { invalidField, QuiverError, quote } from "../../errors.ts";
import { OneAtATime } from "../../one-at-a-time.ts";
import type { ServiceContext } from "../context.ts";
import { LIMITS } from "../limits.ts";
import { listPage, type PageRequest, type PageResult } from "../listing.ts";
import type { Role } from "./actions.ts";
import { apiKeyOf, createAccessKeyId, createSecret, hashSecret, parseApiKey } from "./api-key.ts";
import type { AccessScope, Caller } from "./caller.ts";
import { type Credential, LiveSecret, NO_SECRET } from "./live-secret.ts";
import { resolveScopes } from "./resolve-scopes.ts";
import type { SecretsKey } from "./secrets-key.ts";

/** An access key without its secrets. Times in milliseconds since the epoch. */
export interface AccessKey {
  readonly id: string;
  readonly displayName: string;
  readonly role: Role;
  /** Empty: everywhere. */
  readonly scopes: readonly AccessScope[];
  readonly createdAt: number;
  /** Undefined: it never expires. */
  readonly expiresAt: number | undefined;
  /** To the hour; undefined: never. */
  readonly lastUsedAt: number | undefined;
  readonly allowSigning: boolean;
  /** Until when the secret from before the last rotation is let in; undefined: it is not. */
  readonly previousUntil: number | undefined;
}

/** An access key with its secret, which nobody can ask for again. */
export interface IssuedAccessKey {
  readonly accessKey: AccessKey;
  readonly secret: string;
  readonly apiKey: string;
}

export interface AccessKeyRequest {
  readonly displayName: string;
  /** Undefined, which is refused: not given. */
  readonly role: Role | undefined;
  readonly scopes: readonly AccessScope[];
  readonly expiresAt: number | undefined;
  readonly allowSigning: boolean;
}

/** A secret that signatures are checked with, and what a right one lets do. */
export interface SigningSecret {
  readonly secret: string;
  readonly credential: Credential;
}

export interface AccessKeysOptions extends ServiceContext {
  /** Undefined: no access key can sign. */
  readonly secretsKey: SecretsKey | undefined;
  /** Hears of background work that failed and what that means. */
  readonly onError: (message: string, error: unknown) => void;
}

interface LiveKey {
  record: AccessKeyRecord;
  current: LiveSecret;
  previous: LiveSecret | undefined;
}

const HOUR_MS = 3_600_000;

/** 9999-12-31T23:59:59Z: what a Timestamp can hold. */
const EXPIRY_MAX_MS = 253_402_300_799_000;

const ROTATED = "The access key has a new secret";

/** The access keys: create, rotate, list, delete, and who a secret belongs to. Call `load` before anything else. */
export class AccessKeys {
  readonly #context: ServiceContext;
  readonly #store: AccessKeyStore;
  readonly #secretsKey: SecretsKey | undefined;
  readonly #onError: AccessKeysOptions["onError"];
  readonly #keys = new Map<string, LiveKey>();
  readonly #open = new AbortController();
  #isLoaded = false;
  /** What a change decides by is what is stored. */
  readonly #changes = new OneAtATime();

  constructor(options: AccessKeysOptions) {
    this.#context = options;
    this.#store = options.engine.accessKeys;
    this.#secretsKey = options.secretsKey;
    this.#onError = options.onError;
  }

  /** Throws INVALID_FIELD when the secrets key is not the one that a stored secret was sealed with. */
  async load(): Promise<void> {
    for (const record of await this.#store.load()) {
      const { id, secret, previous } = record;
      for (const stored of [secret, previous]) if (stored?.sealed) this.#secretsKey?.open(id, stored.sealed);
      this.#keys.set(id, liveKeyOf(record));
    }
    this.#isLoaded = true;
  }

  /** True: there are none, and everybody may do everything. False until they are loaded. */
  get isEmpty(): boolean {
    return this.#isLoaded && this.#keys.size === 0;
  }

  /** Aborted once there is a key: who was let in without one no longer is. */
  get open(): AbortSignal {
    return this.#open.signal;
  }

  /** Throws CREDENTIALS_INVALID, which does not tell why, after the same work for every api key. */
  authenticate(apiKey: string): Credential {
    const { id, secret } = parseApiKey(apiKey) ?? { id: "", secret: apiKey };
    const hash = hashSecret(secret);
    const key = this.#keys.get(id);
    // Both are compared, and where there is none, too.
    const known = [key?.current ?? NO_SECRET, key?.previous ?? NO_SECRET].filter((live) => live.hasHash(hash));
    const found = known.find((live) => live.isLetIn);
    if (!key || !found) {
      throw new QuiverError("CREDENTIALS_INVALID", "The access key is unknown, wrong or expired");
    }
    this.#noteUse(key);
    return found.credential;
  }

  /**
   * The secrets that a request of this access key may be signed with, the newest first: none when it is unknown, was
   * created without `allowSigning`, or the server has no secrets key. Notes no use: the signature may be wrong.
   */
  signingSecrets(id: string): readonly SigningSecret[] {
    const key = this.#keys.get(id);
    return [key?.current, key?.previous].flatMap((live) => {
      const sealed = live?.stored.sealed;
      if (!live?.isLetIn || !sealed || !this.#secretsKey) return [];
      return [{ secret: this.#secretsKey.open(id, sealed), credential: live.credential }];
    });
  }

  /** Notes that a right signature came; `authenticate` does so by itself. */
  noteUse({ keyId }: Credential): void {
    const key = this.#keys.get(keyId);
    if (key) this.#noteUse(key);
  }

  async create(caller: Caller, request: AccessKeyRequest): Promise<IssuedAccessKey> {
    await this.#context.authorizer.authorize(caller, "CreateAccessKey", {});
    const { displayName, role, expiresAt } = request;
    if (displayName.length > LIMITS.displayNameLengthMax) {
      throw invalidField(
        "display_name",
        `Must be at most ${LIMITS.displayNameLengthMax} characters, got ${displayName.length}`,
      );
    }
    if (role === undefined) throw invalidField("role", "Must be read-only, read-write or admin");
    const scopes = resolveScopes(role, request.scopes);
    if (expiresAt !== undefined && !(expiresAt > Date.now() && expiresAt <= EXPIRY_MAX_MS)) {
      throw invalidField("expire_time", "Must be in the future, and before the year 10000");
    }
    return this.#change(caller, async () => {
      this.#assertMayAdd({ role, expiresAt });
      const id = createAccessKeyId();
      const { secret, stored } = this.#createSecret(id, request.allowSigning);
      const record = { id, displayName, role, scopes, createdAt: Date.now(), expiresAt, secret: stored };
      await this.#store.put(record);
      const key = liveKeyOf(record);
      this.#keys.set(id, key);
      this.#open.abort(new QuiverError("CREDENTIALS_MISSING", "The server has access keys now: call again with one"));
      return { accessKey: accessKeyOf(key), secret, apiKey: apiKeyOf(id, secret) };
    });
  }

  /** The secret that it has now is let in for as long as `overlapSeconds` says; one from before that ends. */
  async rotate(
    caller: Caller,
    { id, overlapSeconds }: { readonly id: string; readonly overlapSeconds: number },
  ): Promise<IssuedAccessKey> {
    await this.#context.authorizer.authorize(caller, "RotateAccessKey", {});
    assertGiven(id);
    const { accessKeyOverlapSecondsMax: max } = LIMITS;
    if (overlapSeconds > max) throw invalidField("overlap_seconds", `Must be 0 to ${max}, got ${overlapSeconds}`);
    return this.#change(caller, async () => {
      const key = this.#find(id);
      if (!key.current.isLetIn)
        throw invalidField("access_key_id", `Access key "${id}" has expired; create another one`);
      const { secret, stored } = this.#createSecret(id, key.record.secret.sealed !== undefined);
      const until = Date.now() + 1_000 * overlapSeconds;
      const previous = overlapSeconds > 0 ? { ...key.record.secret, until } : undefined;
      const record = { ...key.record, secret: stored, previous };
      await this.#store.put(record);
      key.previous?.end(ROTATED);
      if (previous) key.current.endAt(until, ROTATED);
      else key.current.end(ROTATED);
      key.previous = previous && key.current;
      key.current = new LiveSecret(record, stored);
      // It may have been used meanwhile.
      key.record = { ...record, lastUsedAt: key.record.lastUsedAt };
      return { accessKey: accessKeyOf(key), secret, apiKey: apiKeyOf(id, secret) };
    });
  }

  /** By id; expired ones too. */
  async list(caller: Caller, request: PageRequest): Promise<PageResult<AccessKey>> {
    await this.#context.authorizer.authorize(caller, "ListAccessKeys", {});
    return listPage(
      ["access-keys"],
      request,
      async (options) => this.#page(options),
      ({ id }) => id,
    );
  }

  /** `evenLast`: also the last administrator that never expires, after which nobody may be let in, or everybody. */
  async delete(caller: Caller, id: string, { evenLast = false }: { readonly evenLast?: boolean } = {}): Promise<void> {
    await this.#context.authorizer.authorize(caller, "DeleteAccessKey", {});
    assertGiven(id);
    await this.#change(caller, async () => {
      const key = this.#find(id);
      const administrators = [...this.#keys.values()].filter(({ record }) => isLastingAdministrator(record));
      if (!evenLast && administrators.length === 1 && administrators[0] === key) {
        throw new QuiverError(
          "LAST_ADMIN_KEY",
          `Cannot delete access key "${id}": it is the last one of the role admin that never expires; create another first`,
          { resource: resourceOf(id) },
        );
      }
      await this.#store.delete(id);
      this.#keys.delete(id);
      for (const live of [key.current, key.previous]) live?.end("The access key was deleted");
    });
  }

  /** One after the other. The caller's key may have ended by the change before. */
  #change<T>({ signal }: Caller, change: () => Promise<T>): Promise<T> {
    return this.#changes.run(async () => {
      signal.throwIfAborted();
      return change();
    });
  }

  #assertMayAdd(added: Pick<AccessKeyRecord, "role" | "expiresAt">): void {
    const { accessKeysMax } = LIMITS;
    if (this.#keys.size >= accessKeysMax) {
      throw new QuiverError(
        "ACCESS_KEY_LIMIT",
        `Cannot create an access key: there are ${this.#keys.size}, at most ${accessKeysMax} are allowed; delete some`,
        { metadata: { max: `${accessKeysMax}` } },
      );
    }
    if (this.#keys.size === 0 && !isLastingAdministrator(added)) {
      const message =
        "The first access key must be of the role admin and never expire: from then on nobody else may create others";
      throw new QuiverError("LAST_ADMIN_KEY", message);
    }
  }

  #createSecret(id: string, allowSigning: boolean): { secret: string; stored: StoredSecret } {
    const secret = createSecret();
    const hash = hashSecret(secret).toString("base64");
    if (!allowSigning) return { secret, stored: { hash } };
    if (this.#secretsKey) return { secret, stored: { hash, sealed: this.#secretsKey.seal(id, secret) } };
    throw new QuiverError(
      "SECRETS_KEY_MISSING",
      "The server has no secrets key to keep the secret with, which checking signatures needs; start it with --secrets-key-file",
    );
  }

  #page({ prefix, after, maxResults }: PageOptions): Page<AccessKey> {
    const ids = [...this.#keys.keys()].filter((id) => id.startsWith(prefix) && (after === undefined || id > after));
    const items = ids
      .sort()
      .slice(0, maxResults)
      .map((id) => accessKeyOf(this.#find(id)));
    return { items, more: ids.length > items.length };
  }

  #find(id: string): LiveKey {
    const key = this.#keys.get(id);
    if (key) return key;
    throw new QuiverError("ACCESS_KEY_NOT_FOUND", `Access key ${quote(id)} does not exist`, {
      resource: resourceOf(id),
    });
  }

  /** At most one write an hour, which the call does not wait for. */
  #noteUse(key: LiveKey): void {
    const { id, lastUsedAt = 0 } = key.record;
    const now = Date.now();
    const hour = now - (now % HOUR_MS);
    if (lastUsedAt >= hour) return;
    key.record = { ...key.record, lastUsedAt: hour };
    this.#changes
      .run(async () => {
        if (this.#keys.get(id) === key) await this.#store.put(key.record);
      })
      .catch((error: unknown) => {
        if (error instanceof QuiverError && error.reason === "SHUTTING_DOWN") return;
        this.#onError(`When access key "${id}" was last used could not be stored`, error);
      });
  }
}

function liveKeyOf(record: AccessKeyRecord): LiveKey {
  const { secret, previous } = record;
  const live = previous && previous.until > Date.now() ? new LiveSecret(record, previous) : undefined;
  if (previous) live?.endAt(previous.until, ROTATED);
  return { record, current: new LiveSecret(record, secret), previous: live };
}

function accessKeyOf({ record, previous }: LiveKey): AccessKey {
  const { id, displayName, role, scopes, createdAt, expiresAt, lastUsedAt } = record;
  return {
    id,
    displayName,
    role,
    scopes,
    createdAt,
    expiresAt,
    lastUsedAt,
    allowSigning: record.secret.sealed !== undefined,
    previousUntil: previous?.isLetIn ? record.previous?.until : undefined,
  };
}

function isLastingAdministrator({ role, expiresAt }: Pick<AccessKeyRecord, "role" | "expiresAt">): boolean {
  return role === "admin" && expiresAt === undefined;
}

function assertGiven(id: string): void {
  if (id === "") throw invalidField("access_key_id", "Must not be empty");
}

function resourceOf(id: string): { type: string; name: string } {
  return { type: "access key", name: id };
}
