import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { QuiverError } from "../errors.ts";

/** Where a server is looked for unless told otherwise. */
export const DEFAULT_URL = "http://127.0.0.1:8080";

/** What TLS to a server is set up with, in PEM. */
export interface ClientTls {
  /** Certificates that are believed, those of CAs or the server's own; undefined: those that Node believes. */
  readonly ca: Buffer | undefined;
  /** The client's certificate and its key, for a server that wants them. */
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
}

/** A server, and what lets a command in. */
export interface ServerAccess {
  readonly url: string;
  /** Undefined: none, for a server that has no access keys. */
  readonly apiKey: string | undefined;
  readonly tls: ClientTls;
}

/** The flags of every command that calls a server. None takes the api key itself: every user of the machine would see it. */
export const SERVER_FLAGS = ["url", "api-key-file", "tls-ca", "tls-client-cert", "tls-client-key"] as const;

type ServerFlags = { readonly [Flag in (typeof SERVER_FLAGS)[number]]?: string };

export const SERVER_HELP = `  --url            Where the server is (default ${DEFAULT_URL})
  --api-key-file   File with the api key to call it with; else QUIVER_API_KEY in the environment
  --tls-ca         PEM file of the CA that signed its certificate, or of that itself; else QUIVER_TLS_CA
  --tls-client-cert, --tls-client-key
                   PEM files of the certificate to present and its key; else QUIVER_TLS_CLIENT_CERT, QUIVER_TLS_CLIENT_KEY
`;

/** What the flags and the environment say. Throws INVALID_FIELD, which does not show the api key. */
export function serverAccess(flags: ServerFlags, environment: NodeJS.ProcessEnv): ServerAccess {
  return {
    url: flags.url ?? DEFAULT_URL,
    apiKey: readApiKey(flags["api-key-file"], environment),
    tls: readTls(flags, environment),
  };
}

function readApiKey(file: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  if (file === undefined) return assertApiKey("QUIVER_API_KEY", environment.QUIVER_API_KEY);
  const where = `--api-key-file "${file}"`;
  return assertApiKey(where, read(where, file).toString("utf8"));
}

function assertApiKey(where: string, content: string | undefined): string | undefined {
  const apiKey = content?.trim();
  if (apiKey === undefined || /^[!-~]+$/.test(apiKey)) return apiKey;
  throw new QuiverError("INVALID_FIELD", `${where} must hold one api key and nothing else`);
}

function readTls(flags: ServerFlags, environment: NodeJS.ProcessEnv): ClientTls {
  const pem = (
    flag: "tls-ca" | "tls-client-cert" | "tls-client-key",
    what: string,
    parse: (pem: Buffer) => unknown,
  ) => {
    const variable = `QUIVER_${flag.toUpperCase().replaceAll("-", "_")}`;
    const [name, file] = flags[flag] === undefined ? [variable, environment[variable]] : [`--${flag}`, flags[flag]];
    if (file === undefined) return undefined;
    const where = `${name} "${file}"`;
    const content = read(where, file);
    try {
      parse(content);
    } catch (cause) {
      throw new QuiverError("INVALID_FIELD", `${where} must hold ${what} in PEM`, { cause });
    }
    return content;
  };
  const ca = pem("tls-ca", "a certificate", (content) => new X509Certificate(content));
  const cert = pem("tls-client-cert", "a certificate", (content) => new X509Certificate(content));
  const key = pem("tls-client-key", "a private key without a passphrase", createPrivateKey);
  if ((cert === undefined) !== (key === undefined)) {
    throw new QuiverError("INVALID_FIELD", "--tls-client-cert and --tls-client-key must be given together");
  }
  if (cert && key && !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new QuiverError("INVALID_FIELD", "--tls-client-key is not the key of the certificate in --tls-client-cert");
  }
  return { ca, cert, key };
}

function read(where: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new QuiverError("INVALID_FIELD", `Cannot read ${where}: ${(cause as Error).message}`, { cause });
  }
}
