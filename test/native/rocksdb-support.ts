import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { ABSENT, type Database, type Entries, type OpenOptions, openDatabase } from "../../native/rocksdb.ts";
import { WriteBatch } from "../../native/write-batch.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** A new database in a directory of its own; both are gone when the test ends. */
export async function openTestDatabase(
  t: TestContext,
  options: OpenOptions = {},
): Promise<{ db: Database; path: string }> {
  const opened: { db?: Database } = {};
  t.after(() => opened.db?.close());
  const path = temporaryDirectory();
  opened.db = await openDatabase(path, { createIfMissing: true, ...options });
  return { db: opened.db, path };
}

/** Runs `use` on the database in `path` and closes it. */
export async function withDatabase<Result>(path: string, use: (db: Database) => Promise<Result>): Promise<Result> {
  const db = await openDatabase(path);
  try {
    return await use(db);
  } finally {
    await db.close();
  }
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

/** A batch of puts into one column family. */
export function puts(columnFamily: number, entries: Iterable<readonly [string, string]>): Uint8Array {
  const batch = new WriteBatch();
  for (const [key, value] of entries) batch.put(columnFamily, bytes(key), bytes(value));
  return batch.bytes();
}

/** Keys and values as text; undefined where the value is absent. */
export function decode({ data, entries }: Entries): [string, string | undefined][] {
  const text = (at: number, length: number) => Buffer.from(data, at, length).toString();
  const decoded: [string, string | undefined][] = [];
  for (let i = 0; i < entries.length; i += 4) {
    const [keyAt = 0, keyLength = 0, valueAt = 0, valueLength = 0] = entries.subarray(i, i + 4);
    decoded.push([text(keyAt, keyLength), valueAt === ABSENT ? undefined : text(valueAt, valueLength)]);
  }
  return decoded;
}

/** Everything in one column family. */
export async function readAll(db: Database, columnFamily: number): Promise<[string, string | undefined][]> {
  return decode(await db.scan({ columnFamily, limit: 1_000_000, maxBytes: 2 ** 28 }));
}

/** Asserts for `assert.rejects` and `assert.throws`: an Error with this code and a message. */
export function failsWith(code: string): (error: unknown) => boolean {
  return (error) => {
    const is = error instanceof Error && (error as Error & { code?: unknown }).code === code && error.message !== "";
    if (!is) throw new Error(`Expected the code ${code}`, { cause: error });
    return true;
  };
}

/** The environment for programs other than node: the sanitizers that node may run with do not fit them. */
export function programEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, LD_PRELOAD: "" };
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs a task of rocksdb-child.ts in a process of its own. `onLine` sees what it prints, and may end it by the function
 * that it is given.
 */
export function runChild(
  task: string,
  path: string,
  options: { args?: string[]; fileSizeKiB?: number; onLine?: (line: string, kill: () => void) => void } = {},
): Promise<Ended> {
  const script = fileURLToPath(new URL("rocksdb-child.ts", import.meta.url));
  const command = [process.execPath, "--expose-gc", script, task, path, ...(options.args ?? [])];
  if (options.fileSizeKiB) {
    const limit = `ulimit -f ${options.fileSizeKiB}; exec env "$@"`;
    command.unshift("bash", "-c", limit, "bash", `LD_PRELOAD=${process.env.LD_PRELOAD ?? ""}`);
  }
  const [program = "", ...args] = command;
  const env = options.fileSizeKiB ? programEnvironment() : process.env;
  const child = spawn(program, args, { cwd: path, env, stdio: ["ignore", "pipe", "pipe"] });
  const ended: Ended = { code: null, signal: null, stdout: "", stderr: "" };
  let unfinished = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    ended.stdout += text;
    const lines = (unfinished + text).split("\n");
    unfinished = lines.pop() ?? "";
    for (const line of lines) options.onLine?.(line, () => child.kill("SIGKILL"));
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    ended.stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ ...ended, code, signal }));
  });
}

/** The files of a directory with what is in them. */
export function contentOf(path: string): Map<string, string> {
  return new Map(readdirSync(path).map((name) => [name, readFileSync(join(path, name), "latin1")]));
}

/** The names of the methods that the interfaces of a file in native/ list. */
export function methodsOf(file: string): string[] {
  const source = readFileSync(new URL(`../../native/${file}`, import.meta.url), "utf8");
  return [...source.matchAll(/^ {2}(\w+)\(.*;$/gm)].map(([, name]) => name as string);
}
