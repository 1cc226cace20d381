import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { S3VectorsClient, type S3VectorsClientConfig } from "@aws-sdk/client-s3vectors";
import { AccessRole } from "../../../gen/quiver/v1/admin_service_pb.ts";
import type { ServerParts } from "../../../src/server.ts";
import { type Clients, createClients, PROTOCOLS } from "../../support/protocols.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { startCompatServer } from "../support/compat-server.ts";

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What clients sign with on a server that asks for no signature: they cannot do without. */
export const ANY_CREDENTIALS: Credentials = { accessKeyId: "any", secretAccessKey: "any" };

/** Amazon's own client, which ends with the test. */
export function s3Client(
  t: Pick<TestContext, "after">,
  endpoint: string,
  config: S3VectorsClientConfig = {},
): S3VectorsClient {
  const client = new S3VectorsClient({ region: "us-east-1", endpoint, credentials: ANY_CREDENTIALS, ...config });
  t.after(() => client.destroy());
  return client;
}

/** The native API of the same server. */
export function nativeClients(url: string): Clients {
  return createClients((PROTOCOLS["Connect with JSON"] as NonNullable<typeof PROTOCOLS.Connect>)(url));
}

/** A server with an administrator's access key, which may sign. */
export async function startSigningServer(
  t: Pick<TestContext, "after">,
  parts: ServerParts = {},
  args: readonly string[] = [],
) {
  const file = join(temporaryDirectory(), "secrets-key");
  writeFileSync(file, randomBytes(32).toString("hex"), { mode: 0o600 });
  const url = await startCompatServer(t, ["--secrets-key-file", file, ...args], parts);
  const { admin } = nativeClients(url);
  const { accessKey, secretAccessKey, apiKey } = await admin.createAccessKey({
    role: AccessRole.ADMIN,
    allowSigning: true,
  });
  const credentials: Credentials = { accessKeyId: accessKey?.accessKeyId ?? "", secretAccessKey };
  return { url, admin, credentials, apiKey, by: { headers: { authorization: `Bearer ${apiKey}` } } };
}
