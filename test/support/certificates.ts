import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "selfsigned";

/** A certificate and its key, in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;

/** Makes a CA. */
export async function createCa(name: string): Promise<Pair> {
  const { cert, private: key } = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, critical: true },
    ],
  });
  return { cert, key };
}

/** Makes a certificate for 127.0.0.1, signed by a CA, or by itself without one. */
export async function createCertificate(name: string, ca?: Pair, days = 365): Promise<Pair> {
  const { cert, private: key } = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 2 * 365 * DAY_MS),
    notAfterDate: new Date(Date.now() + days * DAY_MS),
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] }],
    ...(ca && { ca }),
  });
  return { cert, key };
}

/** Writes `cert.pem` and `key.pem` into a directory, as they are; resolves to the options that name them. */
export function writePair(directory: string, { cert, key }: Pair): string[] {
  const paths = { cert: join(directory, "cert.pem"), key: join(directory, "key.pem") };
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key);
  return ["--tls-cert", paths.cert, "--tls-key", paths.key];
}
