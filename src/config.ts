import { readFileSync } from "node:fs";
import { isAbsolute, relative, resolve, sep } from "node:path";
import { parseArgs } from "node:util";
import { QuiverError } from "./errors.ts";
import { LOG_LEVELS, type LogLevel } from "./log.ts";

/** What a server runs with. Every field is set and checked. */
export interface Config {
  /** Address to listen on. */
  readonly host: string;
  /** TCP port; 0 takes a free one. */
  readonly port: number;
  /** Allows a host beyond loopback without access keys or TLS, and web pages of other origins without access keys. */
  readonly insecure: boolean;
  /** Directory of the stored data; made when it does not exist, but its parent must. */
  readonly data: string;
  /** Directory of the backups; undefined: "backups" in the data directory. Made when it does not exist, but its parent must. */
  readonly backups: string | undefined;
  /** Bytes of memory that the process may hold. */
  readonly memoryLimit: number;
  /** Bytes of writes that the store keeps in memory; it logs up to twice as many. The disk's reserve follows from it. */
  readonly writeBuffer: number;
  /** Open TCP connections. */
  readonly maxConnections: number;
  /** PEM files; both or neither. */
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  /** PEM file of the CA that must have signed every client's certificate; undefined: clients need none. */
  readonly tlsClientCa: string | undefined;
  /** File of the key that encrypts the secrets which check signatures; undefined: QUIVER_SECRETS_KEY has it, or there is none. */
  readonly secretsKeyFile: string | undefined;
  /** Origins whose pages may call this server, such as "https://app.example"; "*" for all. Empty: none. */
  readonly corsOrigins: readonly string[];
  /** Names by which a server without access keys may be called besides those of its own machine; "*" for all. Empty: none. */
  readonly hosts: readonly string[];
  readonly logLevel: LogLevel;
  /** File that keeps who did what; undefined: none does. */
  readonly auditLog: string | undefined;
  /** The vector bucket of those whose clients know no buckets: Pinecone's indexes and Moorcheh's namespaces are its indexes. */
  readonly defaultBucket: string;
  /** Vectors that the default bucket may hold for an upload of Moorcheh's on-prem clients to start; 0 is no limit. */
  readonly moorchehMaxItems: number;
  /** Region and account that stand in ARNs. */
  readonly region: string;
  readonly account: string;
  /** How much may be stored, see Quotas; 0 is no limit. */
  readonly maxVectorsPerServer: number;
  readonly maxVectorsPerBucket: number;
  readonly maxVectorsPerIndex: number;
  readonly maxBytesPerServer: number;
  readonly maxBytesPerBucket: number;
  readonly maxBytesPerIndex: number;
  readonly maxIndexesPerServer: number;
  readonly maxIndexesPerBucket: number;
  /** How fast callers may go; 0 is no limit. */
  readonly requestsPerSecond: number;
  readonly requestsPerSecondPerBucket: number;
  readonly requestsPerSecondPerIndex: number;
  readonly vectorsPerSecond: number;
  readonly vectorsPerSecondPerBucket: number;
  readonly vectorsPerSecondPerIndex: number;
}

interface Option<Value> {
  readonly flag: string;
  readonly environment: string;
  readonly default: Value;
  /** Makes the value from text, or throws a sentence that says what is allowed. */
  readonly parse: (text: string) => Value;
  readonly help: string;
}

const MIB = 1024 ** 2;

/** Every option: its key here and in a configuration file, its flag, its environment variable, its default. */
export const OPTIONS: { readonly [Key in keyof Config]: Option<Config[Key]> } = {
  host: {
    flag: "host",
    environment: "QUIVER_HOST",
    default: "127.0.0.1",
    parse: nonEmpty,
    help: "Address to listen on",
  },
  port: {
    flag: "port",
    environment: "QUIVER_PORT",
    default: 8080,
    parse: (text) => {
      const port = /^\d{1,5}$/.test(text) ? Number(text) : -1;
      if (port < 0 || port > 65535) throw new Error("must be 0 to 65535");
      return port;
    },
    help: "TCP port; 0 takes a free one",
  },
  insecure: {
    flag: "insecure",
    environment: "QUIVER_INSECURE",
    default: false,
    parse: (text) => {
      if (text !== "true" && text !== "false") throw new Error("must be true or false");
      return text === "true";
    },
    help: "Listen beyond loopback without access keys or TLS: --insecure true",
  },
  data: {
    flag: "data",
    environment: "QUIVER_DATA",
    default: "./data",
    parse: nonEmpty,
    help: "Directory of the stored data",
  },
  backups: {
    flag: "backups",
    environment: "QUIVER_BACKUPS",
    default: undefined,
    parse: nonEmpty,
    help: 'Directory of the backups, better on another disk; "backups" in the data directory unless given',
  },
  memoryLimit: {
    flag: "memory-limit",
    environment: "QUIVER_MEMORY_LIMIT",
    default: 0,
    parse: (text) => (text === "0" ? 0 : bytes(text, { min: 256 * MIB })),
    help: "Memory that the process may hold, such as 4GiB; 0 for 80 percent of what the machine or its container has",
  },
  writeBuffer: {
    flag: "write-buffer",
    environment: "QUIVER_WRITE_BUFFER",
    default: 128 * MIB,
    parse: (text) => bytes(text, { min: 4 * MIB, max: 1024 * MIB }),
    help: "Writes that the store keeps in memory, such as 128MiB; six times as much and 64 MiB stay free on the disk",
  },
  maxConnections: {
    flag: "max-connections",
    environment: "QUIVER_MAX_CONNECTIONS",
    default: 1024,
    parse: (text) => {
      if (!/^[1-9]\d{0,4}$/.test(text)) throw new Error("must be 1 to 99999");
      return Number(text);
    },
    help: "Open connections; more are closed at once",
  },
  tlsCert: {
    flag: "tls-cert",
    environment: "QUIVER_TLS_CERT",
    default: undefined,
    parse: nonEmpty,
    help: "PEM file of the TLS certificate chain",
  },
  tlsKey: {
    flag: "tls-key",
    environment: "QUIVER_TLS_KEY",
    default: undefined,
    parse: nonEmpty,
    help: "PEM file of the TLS key",
  },
  tlsClientCa: {
    flag: "tls-client-ca",
    environment: "QUIVER_TLS_CLIENT_CA",
    default: undefined,
    parse: nonEmpty,
    help: "PEM file of the CA that must have signed the certificate of every client; without it clients need none",
  },
  secretsKeyFile: {
    flag: "secrets-key-file",
    environment: "QUIVER_SECRETS_KEY_FILE",
    default: undefined,
    parse: nonEmpty,
    help: "File with 32 random bytes in base64 or hex, which encrypt the secrets that signatures are checked with",
  },
  hosts: {
    flag: "hosts",
    environment: "QUIVER_HOSTS",
    default: [],
    parse: (text) => listOf(text.toLowerCase()),
    help: "Names by which a server without access keys may be called, separated by commas; * for all",
  },
  corsOrigins: {
    flag: "cors-origins",
    environment: "QUIVER_CORS_ORIGINS",
    default: [],
    parse: listOf,
    help: "Origins whose pages may call the server, separated by commas; * for all",
  },
  logLevel: {
    flag: "log-level",
    environment: "QUIVER_LOG_LEVEL",
    default: "info",
    parse: (text) => {
      const level = LOG_LEVELS.find((known) => known === text);
      if (!level) throw new Error(`must be one of ${LOG_LEVELS.join(", ")}`);
      return level;
    },
    help: "Least severe log lines that are written",
  },
  auditLog: {
    flag: "audit-log",
    environment: "QUIVER_AUDIT_LOG",
    default: undefined,
    parse: nonEmpty,
    help: "File to which every call is appended: who, what, on what, outcome; none unless given",
  },
  defaultBucket: {
    flag: "default-bucket",
    environment: "QUIVER_DEFAULT_BUCKET",
    default: "default",
    parse: (text) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text))
        throw new Error('must be 1 to 63 of letters, digits, ".", "_" and "-", the first a letter or digit');
      return text;
    },
    help: "Vector bucket of the indexes that clients of Pinecone and Moorcheh reach, which know no buckets",
  },
  moorchehMaxItems: limit(
    "moorcheh-max-items",
    "Vectors in the default bucket beyond which Moorcheh's on-prem clients may upload no new ones",
    100_000,
  ),
  region: {
    flag: "region",
    environment: "QUIVER_REGION",
    default: "us-east-1",
    parse: (text) => {
      if (!/^[a-z0-9-]{1,32}$/.test(text)) throw new Error('must be 1 to 32 of lower-case letters, digits and "-"');
      return text;
    },
    help: "Region that stands in ARNs",
  },
  account: {
    flag: "account",
    environment: "QUIVER_ACCOUNT",
    default: "000000000000",
    parse: (text) => {
      if (!/^\d{12}$/.test(text)) throw new Error("must be 12 digits");
      return text;
    },
    help: "Account that stands in ARNs",
  },
  maxVectorsPerServer: limit("max-vectors-per-server", "Vectors stored in all"),
  maxVectorsPerBucket: limit("max-vectors-per-bucket", "Vectors stored in one vector bucket"),
  maxVectorsPerIndex: limit("max-vectors-per-index", "Vectors stored in one index"),
  maxBytesPerServer: limit("max-bytes-per-server", "Bytes of keys, data, sparse values and metadata stored in all"),
  maxBytesPerBucket: limit("max-bytes-per-bucket", "The same in one vector bucket"),
  maxBytesPerIndex: limit("max-bytes-per-index", "The same in one index"),
  maxIndexesPerServer: limit("max-indexes-per-server", "Indexes in all"),
  maxIndexesPerBucket: limit("max-indexes-per-bucket", "Indexes in one vector bucket"),
  requestsPerSecond: limit("requests-per-second", "Requests a second in all"),
  requestsPerSecondPerBucket: limit("requests-per-second-per-bucket", "Requests a second for one vector bucket"),
  requestsPerSecondPerIndex: limit("requests-per-second-per-index", "Requests a second for one index"),
  vectorsPerSecond: limit("vectors-per-second", "Vectors written a second in all"),
  vectorsPerSecondPerBucket: limit("vectors-per-second-per-bucket", "Vectors written a second for one vector bucket"),
  vectorsPerSecondPerIndex: limit("vectors-per-second-per-index", "Vectors written a second for one index"),
};

/** An option that limits a number; its variable is named after its flag. */
function limit(flag: string, help: string, preset = 0): Option<number> {
  return {
    flag,
    environment: `QUIVER_${flag.toUpperCase().replaceAll("-", "_")}`,
    default: preset,
    parse: (text) => {
      if (!/^\d{1,15}$/.test(text)) throw new Error("must be a whole number of at most 15 digits, 0 for no limit");
      return Number(text);
    },
    help: `${help}; 0 for no limit`,
  };
}

const KEYS = Object.keys(OPTIONS) as (keyof Config)[];

/** Variables of the same prefix that are not configuration of the server. */
const OTHER_VARIABLES = [
  "QUIVER_CONFIG",
  "QUIVER_ADDON",
  "QUIVER_SIMD",
  "QUIVER_SECRETS_KEY",
  // Of the commands that call a server.
  "QUIVER_API_KEY",
  "QUIVER_TLS_CA",
  "QUIVER_TLS_CLIENT_CERT",
  "QUIVER_TLS_CLIENT_KEY",
];
const TEST_VARIABLES = "QUIVER_TEST_";

/**
 * Reads the configuration: defaults, then the JSON file named by --config or QUIVER_CONFIG, then the environment, then
 * flags. Throws INVALID_FIELD for an unknown key or a wrong value, naming where it was given.
 */
export function readConfig(args: readonly string[], environment: NodeJS.ProcessEnv): Config {
  const flags = readFlags(args);
  const variables = readEnvironment(environment);
  const file = readFile(flags.get("config") ?? environment.QUIVER_CONFIG);
  const chosen = KEYS.map((key) => {
    const { flag, environment: variable, default: value } = OPTIONS[key];
    const given =
      parseGiven(key, `--${flag}`, flags.get(flag)) ??
      parseGiven(key, variable, variables.get(variable)) ??
      parseGiven(key, `"${key}" in the configuration file`, file.get(key));
    return [key, given ? given.value : value] as const;
  });
  const config = Object.freeze(Object.fromEntries(chosen)) as unknown as Config;
  if ((config.tlsCert === undefined) !== (config.tlsKey === undefined)) {
    throw invalidConfig("--tls-cert and --tls-key", "must be given together");
  }
  if (config.tlsClientCa !== undefined && config.tlsCert === undefined) {
    throw invalidConfig("--tls-client-ca", "must be given together with --tls-cert and --tls-key");
  }
  if (config.backups !== undefined && !mayHoldBackups(config.data, config.backups)) {
    const problem = `must be outside of the data directory, or "backups" in it, got ${JSON.stringify(config.backups)}`;
    throw invalidConfig("--backups", problem);
  }
  return config;
}

/** False for the server's own files: it removes what it does not know in some of the directories within its data. */
function mayHoldBackups(data: string, backups: string): boolean {
  const way = relative(resolve(data), resolve(backups));
  return isAbsolute(way) || ["..", "backups"].includes(way.split(sep)[0] ?? "");
}

/** The lines of --help about options. */
export function describeOptions(): string {
  const rows = KEYS.map((key) => {
    const { flag, environment, default: value, help } = OPTIONS[key];
    const preset = value === undefined || `${value}` === "" ? "" : ` (default ${value})`;
    return { flag, environment, help: `${help}${preset}` };
  });
  const help = "JSON file with the long names below as keys, in camelCase";
  const all = [{ flag: "config", environment: "QUIVER_CONFIG", help }, ...rows];
  const [flagWidth, environmentWidth] = (["flag", "environment"] as const).map((column) =>
    Math.max(...all.map((row) => row[column].length)),
  );
  return all
    .map(
      (row) => `  --${row.flag.padEnd(flagWidth ?? 0)}  ${row.environment.padEnd(environmentWidth ?? 0)}  ${row.help}`,
    )
    .join("\n");
}

function parseGiven<Key extends keyof Config>(key: Key, where: string, text: string | undefined) {
  if (text === undefined) return undefined;
  try {
    return { value: OPTIONS[key].parse(text) };
  } catch (error) {
    throw invalidConfig(where, `${(error as Error).message}, got ${JSON.stringify(text)}`);
  }
}

function readFlags(args: readonly string[]): Map<string, string> {
  const known = ["config", ...KEYS.map((key) => OPTIONS[key].flag)];
  try {
    const options = Object.fromEntries(known.map((flag) => [flag, { type: "string" as const }]));
    const { values } = parseArgs({ args: [...args], options, allowPositionals: false });
    return new Map(Object.entries(values) as [string, string][]);
  } catch (error) {
    throw new QuiverError("INVALID_FIELD", `${(error as Error).message}; --help lists the options`);
  }
}

function readEnvironment(environment: NodeJS.ProcessEnv): Map<string, string> {
  const known = KEYS.map((key) => OPTIONS[key].environment);
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith("QUIVER_") || name.startsWith(TEST_VARIABLES) || OTHER_VARIABLES.includes(name)) continue;
    if (!known.includes(name))
      throw invalidConfig(`Environment variable ${name}`, "is unknown; --help lists the known ones");
    if (value !== undefined) given.set(name, value);
  }
  return given;
}

function readFile(path: string | undefined): Map<string, string> {
  if (path === undefined) return new Map();
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw invalidConfig(`Configuration file "${path}"`, `cannot be read as JSON: ${(error as Error).message}`);
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw invalidConfig(`Configuration file "${path}"`, "must be a JSON object");
  }
  const given = new Map<string, string>();
  for (const [key, value] of Object.entries(content)) {
    if (!(KEYS as string[]).includes(key))
      throw invalidConfig(`"${key}" in "${path}"`, `is unknown, known are ${KEYS.join(", ")}`);
    given.set(key, Array.isArray(value) ? value.join(",") : String(value));
  }
  return given;
}

function invalidConfig(what: string, problem: string): QuiverError {
  return new QuiverError("INVALID_FIELD", `${what} ${problem}`);
}

/** A size such as 4GiB, 512MiB or 1073741824. */
function bytes(text: string, { min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }): number {
  const [, digits, unit = ""] = /^(\d{1,15})(KiB|MiB|GiB|TiB)?$/.exec(text) ?? [];
  const size = Number(digits) * 1024 ** ["", "KiB", "MiB", "GiB", "TiB"].indexOf(unit);
  if (size >= min && size <= max) return size;
  const most = max === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${max / MIB}MiB`;
  throw new Error(`must be bytes such as 1073741824 or 1GiB, at least ${min / MIB}MiB${most}`);
}

function listOf(text: string): string[] {
  return text.split(",").map((item) => nonEmpty(item.trim()));
}

function nonEmpty(text: string): string {
  if (text === "") throw new Error("must not be empty");
  return text;
}
