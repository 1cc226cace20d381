import { resolve } from "node:path";
import {
  createRequestToJson,
  type IssuedJson,
  issuedToJson,
  type ListJson,
  listToJson,
} from "../rpc/convert-access-key.ts";
import { readSecretsKey } from "../secrets-key-option.ts";
import type { AccessKeyRequest } from "../service/access/access-keys.ts";
import type { Caller } from "../service/access/caller.ts";
import { createService } from "../service/service.ts";
import { callServer } from "./call-server.ts";
import { openData } from "./data-directory.ts";
import type { ServerAccess } from "./server-access.ts";

/** Where the access keys are: a server, or data that no server uses. Answers as AdminService does in JSON. */
export interface KeyHolder {
  create(request: AccessKeyRequest): Promise<IssuedJson>;
  rotate(id: string, overlapSeconds: number): Promise<IssuedJson>;
  list(nextToken: string): Promise<ListJson>;
  delete(id: string): Promise<void>;
  close(): Promise<void>;
}

export function serverHolder(server: ServerAccess): KeyHolder {
  const call = (method: string, message: object) => callServer(server, `AdminService/${method}`, message);
  return {
    create: async (request) => (await call("CreateAccessKey", createRequestToJson(request))) as IssuedJson,
    rotate: async (accessKeyId, overlapSeconds) =>
      (await call("RotateAccessKey", { accessKeyId, overlapSeconds })) as IssuedJson,
    list: async (nextToken) => (await call("ListAccessKeys", { maxResults: PAGE, nextToken })) as ListJson,
    async delete(accessKeyId) {
      await call("DeleteAccessKey", { accessKeyId });
    },
    async close() {},
  };
}

/** `create`: makes the data directory where there is none: the first access key may come before the first start. */
export async function dataHolder(
  directory: string,
  { create, secretsKeyFile }: { readonly create: boolean; readonly secretsKeyFile: string | undefined },
): Promise<KeyHolder> {
  const secretsKey = readSecretsKey(secretsKeyFile ?? process.env.QUIVER_SECRETS_KEY_FILE, process.env);
  const data = resolve(directory);
  const engine = await openData(data, { create, hint: "call it with --url instead" });
  const { accessKeys } = createService(engine, {
    // Nothing that stands in ARNs is asked for.
    scope: { region: "", account: "" },
    secretsKey,
    opensWithoutKeys: true,
    onBackgroundError: (message) => void process.stderr.write(`quiver: ${message}\n`),
  });
  const close = () => engine.close({ withinMs: 0 });
  await accessKeys.load().catch(async (error: unknown) => {
    await close();
    throw error;
  });
  return {
    create: async (request) => issuedToJson(await accessKeys.create(OWNER, request)),
    rotate: async (id, overlapSeconds) => issuedToJson(await accessKeys.rotate(OWNER, { id, overlapSeconds })),
    list: async (nextToken) => listToJson(await accessKeys.list(OWNER, { prefix: "", maxResults: PAGE, nextToken })),
    delete: (id) => accessKeys.delete(OWNER, id, { evenLast: true }),
    close,
  };
}

const PAGE = 1_000;

/** Whoever can read the data may do everything. */
const OWNER: Caller = {
  keyId: undefined,
  role: "admin",
  scopes: [],
  address: "",
  secure: true,
  signal: new AbortController().signal,
};
