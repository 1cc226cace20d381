import { QuiverError } from "../errors.ts";
import type { AccessKeyJson } from "../rpc/convert-access-key.ts";
import type { AccessKeyRequest } from "../service/access/access-keys.ts";
import { ROLES, type Role } from "../service/access/actions.ts";
import { LIMITS } from "../service/limits.ts";
import { readArguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { dataHolder, type KeyHolder, serverHolder } from "./key-holder.ts";
import { SERVER_FLAGS, SERVER_HELP, serverAccess } from "./server-access.ts";

const FLAGS = [...SERVER_FLAGS, "data", "secrets-key-file"] as const;
type Flags = { readonly [Flag in (typeof FLAGS)[number]]?: string };

/** Creates, lists, rotates and deletes access keys. */
export const keys: Command = {
  help: `Usage: quiver keys create --role <${ROLES.join("|")}> [options]
       quiver keys list [options]
       quiver keys rotate <access key id> [--overlap <time>] [options]
       quiver keys delete <access key id> [options]

Creates, lists, rotates and deletes the access keys of a running server, or of data that no server uses: the first access key
can be created there before the first start, and a lost one replaced. Prints the api key, this once only, on standard output,
and everything else on standard error.

Of create
  --role           What it allows
  --name           A name for people, at most 128 characters
  --bucket, --index, --namespace
                   Where it works; * at the end stands for any characters; everywhere unless given
  --expires        How long it works, such as 90d; for ever unless given
  --allow-signing  The secret may also sign requests; the server then keeps it, encrypted with its secrets key

Of rotate
  --overlap        How long the old secret still works, such as 90s, 30m, 24h or 7d, the most; not at all unless given

Of all
${SERVER_HELP}  --data           Instead of a server: a data directory that none uses
  --secrets-key-file
                   With --data: as the server's option of that name; else as in its environment
  --json           Prints what the server answers, as JSON, on standard output
`,
  async run([action, ...args]) {
    switch (action) {
      case "create":
        return create(args);
      case "list":
        return list(args);
      case "rotate":
        return rotate(args);
      case "delete":
        return remove(args);
      default:
        throw invalid("What shall be done? quiver keys create, list, rotate or delete");
    }
  },
};

async function create(args: readonly string[]): Promise<number> {
  const own = ["role", "name", "bucket", "index", "namespace", "expires"] as const;
  const { flags, switches } = readArguments(args, [...FLAGS, ...own], { switches: ["allow-signing", "json"] });
  const { bucket, index, namespace, expires } = flags;
  const scope = {
    ...(bucket !== undefined && { bucket }),
    ...(index !== undefined && { index }),
    ...(namespace !== undefined && { namespace }),
  };
  const request: AccessKeyRequest = {
    displayName: flags.name ?? "",
    role: parseRole(flags.role),
    scopes: Object.keys(scope).length === 0 ? [] : [scope],
    expiresAt: expires === undefined ? undefined : Date.now() + 1_000 * seconds("--expires", expires),
    allowSigning: switches["allow-signing"] ?? false,
  };
  const issued = await withHolder(flags, { create: true }, (holder) => holder.create(request));
  return show(issued, switches.json);
}

async function rotate(args: readonly string[]): Promise<number> {
  const { flags, switches, words } = readArguments(args, [...FLAGS, "overlap"], { words: 1, switches: ["json"] });
  const id = idIn(words);
  const overlapSeconds = flags.overlap === undefined ? 0 : seconds("--overlap", flags.overlap);
  const { accessKeyOverlapSecondsMax: max } = LIMITS;
  if (overlapSeconds > max) {
    throw invalid(`--overlap must be at most ${max / DAY_SECONDS}d, got ${JSON.stringify(flags.overlap)}`);
  }
  const issued = await withHolder(flags, { create: false }, (holder) => holder.rotate(id, overlapSeconds));
  return show(issued, switches.json);
}

async function list(args: readonly string[]): Promise<number> {
  const { flags, switches } = readArguments(args, FLAGS, { switches: ["json"] });
  const accessKeys = await withHolder(flags, { create: false }, all);
  if (switches.json) process.stdout.write(`${JSON.stringify({ accessKeys }, null, 2)}\n`);
  else for (const each of accessKeys) process.stdout.write(`${describe(each)}\n`);
  return 0;
}

async function remove(args: readonly string[]): Promise<number> {
  const { flags, words } = readArguments(args, FLAGS, { words: 1, switches: ["json"] });
  const id = idIn(words);
  const left = await withHolder(flags, { create: false }, async (holder) => {
    await holder.delete(id);
    return flags.data === undefined ? undefined : all(holder);
  });
  tell(`Deleted ${id}`);
  if (left?.length === 0) tell("No access key is left: a server on these data lets everybody in who reaches it");
  else if (left?.some(isLastingAdministrator) === false) {
    tell("No administrator that never expires is left: create one with quiver keys create --role admin --data");
  }
  return 0;
}

async function withHolder<T>(
  flags: Flags,
  { create: mayCreate }: { readonly create: boolean },
  work: (holder: KeyHolder) => Promise<T>,
): Promise<T> {
  const { data, "secrets-key-file": secretsKeyFile } = flags;
  const remote = [...SERVER_FLAGS.map((flag) => flags[flag])].some((value) => value !== undefined);
  if (data !== undefined && remote) throw invalid("Give --data, or how to call a server, not both");
  if (data === undefined && secretsKeyFile !== undefined) throw invalid("--secrets-key-file goes with --data alone");
  const holder =
    data === undefined
      ? serverHolder(serverAccess(flags, process.env))
      : await dataHolder(data, { create: mayCreate, secretsKeyFile });
  try {
    return await work(holder);
  } finally {
    await holder.close();
  }
}

async function all(holder: KeyHolder): Promise<AccessKeyJson[]> {
  const found: AccessKeyJson[] = [];
  for (let nextToken: string | undefined = ""; nextToken !== undefined; ) {
    const page = await holder.list(nextToken);
    found.push(...(page.accessKeys ?? []));
    nextToken = page.nextToken;
  }
  return found;
}

/** The api key alone on standard output, so that it can be put where it belongs without being shown. */
function show(issued: { readonly accessKey?: AccessKeyJson; readonly apiKey?: string }, json = false): number {
  if (json) {
    process.stdout.write(`${JSON.stringify(issued, null, 2)}\n`);
    return 0;
  }
  const { accessKey, apiKey } = issued;
  if (accessKey) tell(describe(accessKey));
  if (accessKey?.allowSigning)
    tell("To sign: the access key id is the first word above, the secret what follows the last _");
  tell("The api key, which is never shown again:");
  process.stdout.write(`${apiKey}\n`);
  return 0;
}

function describe(accessKey: AccessKeyJson): string {
  const { accessKeyId, role = "", scopes = [], expireTime, lastUseTime, previousSecretExpireTime } = accessKey;
  const places = scopes.map(({ vectorBucketName = "*", indexName = "*", namespace = "*" }) =>
    [vectorBucketName, indexName, namespace === "" ? "__default__" : namespace].join("/"),
  );
  return [
    accessKeyId,
    role.replace("ACCESS_ROLE_", "").replace("_", "-").toLowerCase(),
    places.join(",") || "everywhere",
    expireTime === undefined ? "never expires" : `expires ${expireTime}`,
    lastUseTime === undefined ? "not used yet" : `used ${lastUseTime}`,
    ...(accessKey.allowSigning ? ["signs"] : []),
    ...(previousSecretExpireTime === undefined ? [] : [`old secret until ${previousSecretExpireTime}`]),
    ...(accessKey.displayName ? [JSON.stringify(accessKey.displayName)] : []),
  ].join("  ");
}

function isLastingAdministrator({ role, expireTime }: AccessKeyJson): boolean {
  return role === "ACCESS_ROLE_ADMIN" && expireTime === undefined;
}

function parseRole(text: string | undefined): Role {
  const role = ROLES.find((each) => each === text);
  if (role) return role;
  throw invalid(
    `--role must be one of ${ROLES.join(", ")}${text === undefined ? "" : `, got ${JSON.stringify(text)}`}`,
  );
}

function idIn([id]: readonly string[]): string {
  if (id !== undefined && id !== "") return id;
  throw invalid("Which access key? quiver keys list shows their ids");
}

const DAY_SECONDS = 86_400;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: DAY_SECONDS };

function seconds(flag: string, text: string): number {
  const [, digits, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const length = Number(digits) * (UNIT_SECONDS[unit] ?? Number.NaN);
  if (length > 0) return length;
  throw invalid(`${flag} must be a time in s, m, h or d, such as 90s, 30m, 24h or 7d, got ${JSON.stringify(text)}`);
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

function invalid(message: string): QuiverError {
  return new QuiverError("INVALID_FIELD", message);
}
