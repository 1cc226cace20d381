import { QuiverError } from "../../errors.ts";
import type { Caller } from "./caller.ts";

/** Where a call came from. */
export interface Origin {
  /** IP address. */
  readonly address: string;
  /** Whether over TLS. */
  readonly secure: boolean;
}

/** The `keyId` of who brings no valid key, and may do nothing: policies that allow every access key do not mean it. */
export const NO_KEY = "";
const NEVER = new AbortController().signal;

/** The access keys of a server. */
export interface KnownKeys {
  readonly isEmpty: boolean;
  /** Aborted once there is one. */
  readonly open: AbortSignal;
  /** Whose api key it is. Throws CREDENTIALS_INVALID. */
  authenticate(apiKey: string): Pick<Caller, "keyId" | "role" | "scopes" | "signal">;
}

/** Tells who calls, by the api key that a call brings. */
export class Callers {
  readonly #keys: KnownKeys;
  readonly #isOpen: boolean;

  /** `isOpen`: as long as there is no access key, everybody may do everything. */
  constructor(keys: KnownKeys, { isOpen }: { readonly isOpen: boolean }) {
    this.#keys = keys;
    this.#isOpen = isOpen;
  }

  /** Whether everybody may do everything now. */
  get isOpen(): boolean {
    return this.#isOpen && this.#keys.isEmpty;
  }

  /** Throws CREDENTIALS_MISSING or CREDENTIALS_INVALID. */
  identify(apiKey: string | undefined, origin: Origin): Caller {
    if (this.isOpen) {
      return { ...origin, keyId: undefined, role: "admin", scopes: [], signal: this.#keys.open };
    }
    if (apiKey === undefined) {
      const hint = 'send an access key as "authorization: Bearer <api key>"; `quiver keys create` makes one';
      throw new QuiverError("CREDENTIALS_MISSING", `The call brings no credentials: ${hint}`);
    }
    return { ...origin, ...this.#keys.authenticate(apiKey) };
  }
}

/** Who calls what is open to everybody, such as health checks, and brings no valid key. */
export function nobody(origin: Origin): Caller {
  return { ...origin, keyId: NO_KEY, role: "read-only", scopes: [], signal: NEVER };
}
