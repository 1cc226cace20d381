import type { AccessKeyRecord } from "../../engine/engine.ts";
import type { Role } from "./actions.ts";

/** Where an access key works. `*` at the end of a name stands for any characters, also for none. */
export type AccessScope = AccessKeyRecord["scopes"][number];

/** Who calls. */
export interface Caller {
  /** The access key; undefined on a server that has none, where everybody may do everything. */
  readonly keyId: string | undefined;
  readonly role: Role;
  /** Empty: everywhere. */
  readonly scopes: readonly AccessScope[];
  /** The IP address that the call came from. */
  readonly address: string;
  /** Whether it came over TLS. */
  readonly secure: boolean;
  /** Aborted, with the error for the caller, once the key is no longer valid: streams end then. */
  readonly signal: AbortSignal;
}
