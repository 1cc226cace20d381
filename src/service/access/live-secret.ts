import { randomBytes, timingSafeEqual } from "node:crypto";
import type { AccessKeyRecord, StoredSecret } from "../../engine/engine.ts";
import { QuiverError } from "../../errors.ts";
import type { Role } from "./actions.ts";
import { atTime } from "./at-time.ts";
import type { AccessScope } from "./caller.ts";

/** What a secret that was recognized lets its holder do. The same object each time. */
export interface Credential {
  readonly keyId: string;
  readonly role: Role;
  /** Empty: everywhere. */
  readonly scopes: readonly AccessScope[];
  /** Aborted, with the CREDENTIALS_INVALID for the caller, once the secret is no longer let in. */
  readonly signal: AbortSignal;
}

/** A secret that is let in until it ends: by its time, or by `end`. */
export class LiveSecret {
  readonly stored: StoredSecret;
  readonly credential: Credential;
  readonly #hash: Buffer;
  readonly #ended = new AbortController();
  #endsAt = Number.POSITIVE_INFINITY;
  #timer: { cancel(): void } | undefined;

  constructor({ id: keyId, role, scopes, expiresAt }: AccessKeyRecord, stored: StoredSecret) {
    this.stored = stored;
    this.credential = { keyId, role, scopes, signal: this.#ended.signal };
    this.#hash = Buffer.from(stored.hash, "base64");
    if (expiresAt !== undefined) this.endAt(expiresAt, "The access key has expired");
  }

  /** In a time that does not depend on where they differ. */
  hasHash(hash: Buffer): boolean {
    return timingSafeEqual(this.#hash, hash);
  }

  /** By the clock, for timers are late where the process was stopped. */
  get isLetIn(): boolean {
    return !this.#ended.signal.aborted && Date.now() < this.#endsAt;
  }

  /** Ends it at a time, unless it ends before. */
  endAt(time: number, why: string): void {
    if (time >= this.#endsAt) return;
    this.#endsAt = time;
    this.#timer?.cancel();
    this.#timer = atTime(time, () => this.end(why));
  }

  /** Ends it now, and what was begun with it. */
  end(why: string): void {
    this.#timer?.cancel();
    this.#ended.abort(new QuiverError("CREDENTIALS_INVALID", why));
  }
}

/** One that nobody knows and that is not let in: what is compared where there is no other takes as long. */
export const NO_SECRET = new LiveSecret(
  { id: "", displayName: "", role: "read-only", scopes: [], createdAt: 0, expiresAt: 0, secret: { hash: "" } },
  { hash: randomBytes(32).toString("base64") },
);
