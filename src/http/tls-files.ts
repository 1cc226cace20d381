import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { QuiverError } from "../errors.ts";
import type { Log } from "../log.ts";

/** What TLS is set up with, in PEM. */
export interface TlsMaterial {
  /** The server's certificate, and after it those that lead to its CA. */
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** Certificates of CAs; with them, every client must present a certificate that one of them has signed. */
  readonly clientCa?: string | Buffer | undefined;
}

/** Where it stands. */
export interface TlsPaths {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
}

export interface TlsFiles {
  /** What was read last and is in order. */
  readonly material: TlsMaterial;
  /** Tells, until `close`, of files that have changed and are in order; others leave what there was, and the log says why. */
  watch(replace: (material: TlsMaterial) => void): void;
  /** Looks for changes now. Never rejects. */
  reload(): Promise<void>;
  close(): void;
}

const POLL_MS = 2_000;
const DAY_MS = 86_400_000;
/** Renewals are usually a month early. */
const WARNING_DAYS = 14;

const OPTIONS: Readonly<Record<keyof TlsPaths, string>> = {
  cert: "--tls-cert",
  key: "--tls-key",
  clientCa: "--tls-client-ca",
};

/** Reads the files of TLS; throws INVALID_FIELD, with option and file, for what cannot be read or does not fit together. */
export async function openTlsFiles(paths: TlsPaths, log: Log): Promise<TlsFiles> {
  let seen = await stateOf(paths);
  let material = await readMaterial(paths);
  let problem = "";
  let replace: (material: TlsMaterial) => void = () => {};
  let running: Promise<void> | undefined;
  warnOfExpiry(material, paths, log);

  const look = async () => {
    const state = await stateOf(paths);
    // What failed may work the next time though no file changes.
    if (state === seen && problem === "") return;
    seen = state;
    try {
      material = await readMaterial(paths);
      problem = "";
      replace(material);
      log.info({ files: paths }, "The files of TLS have changed: new connections use the new ones");
      warnOfExpiry(material, paths, log);
    } catch (error) {
      const { message } = error as Error;
      if (message !== problem)
        log.error({ problem: message }, "The files of TLS have changed: the old ones stay in use");
      problem = message;
    }
  };
  const reload = () => {
    running ??= look().finally(() => {
      running = undefined;
    });
    return running;
  };
  const timers = [setInterval(reload, POLL_MS), setInterval(() => warnOfExpiry(material, paths, log), DAY_MS)];
  for (const timer of timers) timer.unref();

  return {
    get material() {
      return material;
    },
    watch(next) {
      replace = next;
    },
    reload,
    close() {
      for (const timer of timers) clearInterval(timer);
      replace = () => {};
    },
  };
}

/** TLS 1.2 is the least also where Node was told otherwise; ciphers are Node's own. */
export function secureContextOptions({ cert, key, clientCa }: TlsMaterial): SecureContextOptions {
  return { cert, key, ...(clientCa !== undefined && { ca: clientCa }), minVersion: "TLSv1.2" };
}

/** Changes when a file is written, replaced, or may be read at last. */
async function stateOf(paths: TlsPaths): Promise<string> {
  const states = Object.values(paths).map(async (path: string | undefined) => {
    if (path === undefined) return "";
    const { ino, size, mtimeMs, ctimeMs } = await stat(path).catch(() => NO_FILE);
    return [ino, size, mtimeMs, ctimeMs].join();
  });
  return (await Promise.all(states)).join(" ");
}

const NO_FILE = { ino: 0, size: 0, mtimeMs: 0, ctimeMs: 0 };

async function readMaterial(paths: TlsPaths): Promise<TlsMaterial> {
  const read = async (what: keyof TlsPaths) => {
    const path = paths[what];
    if (path === undefined) return undefined;
    return readFile(path).catch((cause: Error) => {
      throw new QuiverError("INVALID_FIELD", `Cannot read ${nameOf(what, paths)}: ${cause.message}`, { cause });
    });
  };
  const [cert = NOTHING, key = NOTHING, clientCa] = await Promise.all([read("cert"), read("key"), read("clientCa")]);
  const material = { cert, key, clientCa };
  assertUsable(material, paths);
  return material;
}

const NOTHING = Buffer.alloc(0);

function assertUsable(material: TlsMaterial, paths: TlsPaths): void {
  const [leaf] = certificatesOf("cert", material, paths);
  if (material.clientCa !== undefined) certificatesOf("clientCa", material, paths);
  if (!leaf?.checkPrivateKey(privateKeyOf(material, paths))) {
    throw invalid(`${nameOf("key", paths)} is not the key of the certificate in ${nameOf("cert", paths)}`);
  }
  try {
    createSecureContext(secureContextOptions(material));
  } catch (cause) {
    throw invalid(`TLS does not take ${nameOf("cert", paths)}: ${(cause as Error).message}`, cause);
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function certificatesOf(what: "cert" | "clientCa", material: TlsMaterial, paths: TlsPaths): X509Certificate[] {
  try {
    const blocks = `${material[what]}`.match(CERTIFICATE) ?? [];
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw invalid(`${nameOf(what, paths)} has a broken certificate: ${(cause as Error).message}`, cause);
  }
  throw invalid(`${nameOf(what, paths)} must hold a certificate in PEM`);
}

function privateKeyOf({ key }: TlsMaterial, paths: TlsPaths): KeyObject {
  try {
    return createPrivateKey(key);
  } catch (cause) {
    const isLocked = `${key}`.includes("ENCRYPTED");
    throw invalid(
      `${nameOf("key", paths)} must hold a private key in PEM${isLocked ? " without a passphrase" : ""}`,
      cause,
    );
  }
}

function warnOfExpiry(material: TlsMaterial, paths: TlsPaths, log: Log): void {
  for (const what of ["cert", "clientCa"] as const) {
    if (material[what] === undefined) continue;
    for (const { subject, validTo } of certificatesOf(what, material, paths)) {
      const days = (Date.parse(validTo) - Date.now()) / DAY_MS;
      const facts = { file: paths[what], subject, validTo };
      if (days < 0) log.warn(facts, `A certificate of ${OPTIONS[what]} has expired`);
      else if (days < WARNING_DAYS) log.warn(facts, `A certificate of ${OPTIONS[what]} expires soon`);
    }
  }
}

function nameOf(what: keyof TlsPaths, paths: TlsPaths): string {
  return `${OPTIONS[what]} "${paths[what]}"`;
}

function invalid(message: string, cause?: unknown): QuiverError {
  return new QuiverError("INVALID_FIELD", message, { cause });
}
