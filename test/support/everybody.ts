import type { Engine } from "../../src/engine/engine.ts";
import { Authorizer } from "../../src/service/access/authorizer.ts";
import type { Caller } from "../../src/service/access/caller.ts";

/** Who calls a server that has no access keys. */
export const EVERYBODY: Caller = {
  keyId: undefined,
  role: "admin",
  scopes: [],
  address: "127.0.0.1",
  secure: false,
  signal: new AbortController().signal,
};

/** Of a server that has no access keys. */
export function openAuthorizer(engine: Engine, onUnreadable = (_message: string) => {}): Authorizer {
  return new Authorizer(engine, { region: "us-east-1", account: "000000000000" }, onUnreadable);
}
