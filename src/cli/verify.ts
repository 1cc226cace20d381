import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { verifyBackup } from "../engine/embedded/backup/restore.ts";
import { openEmbeddedEngine } from "../engine/embedded/embedded-engine.ts";
import { verifyUnopened } from "../engine/embedded/verify/verify-files.ts";
import type { Verification } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";
import { readArguments } from "./arguments.ts";
import { callServer } from "./call-server.ts";
import type { Command } from "./command.ts";
import { EXIT_CODES } from "./exit-codes.ts";

/** Files that a data directory has some of, damaged or not. */
const STORED = /^CURRENT$|\.(sst|log)$/;

/** What was read, and what is wrong with it: a file, or "", and a sentence. */
interface Found {
  readonly files: number | string;
  readonly problems: readonly { readonly file: string; readonly message: string }[];
}

/** Reads a data directory, what a running server has stored, or a backup, and prints what is wrong with it. */
export const verify: Command = {
  help: `Usage: quiver verify --data <directory>
       quiver verify --url <server>
       quiver verify <backup directory>

Reads everything, compares every checksum, and prints what is wrong. Exit code ${EXIT_CODES.ok}: nothing is; ${EXIT_CODES.damaged}: something is.

  --data   A data directory that no server uses
  --url    A running server, which goes on answering
`,
  async run(args) {
    const { flags, words } = readArguments(args, ["data", "url"], { words: 1 });
    const given = [flags.data, flags.url, ...words].filter((each) => each !== undefined);
    if (given.length !== 1) {
      throw new QuiverError(
        "INVALID_FIELD",
        "Give one of --data <directory>, --url <server>, or the directory of a backup",
      );
    }
    const { files, problems } = await (flags.data !== undefined
      ? verifyData(resolve(flags.data))
      : flags.url !== undefined
        ? verifyServer(flags.url)
        : verifyDirectory(resolve(words[0] ?? "")));
    for (const { file, message } of problems) process.stdout.write(`damaged  ${file || "-"}  ${message}\n`);
    process.stdout.write(problems.length === 0 ? `intact   ${files} files\n` : `problems ${problems.length}\n`);
    return problems.length === 0 ? EXIT_CODES.ok : EXIT_CODES.damaged;
  },
};

async function verifyData(data: string): Promise<Found> {
  // Opening would make a new one where there is none.
  const names = existsSync(data) ? readdirSync(data) : [];
  if (!names.some((name) => STORED.test(name)))
    throw new QuiverError("INVALID_FIELD", `There are no data in "${data}"`);
  // What opening mends, such as a lost mark or a saved graph of no use, is not there to be found afterwards.
  const tell = (message: string) => void process.stderr.write(`quiver: ${message}\n`);
  const opened = await openEmbeddedEngine({ path: data, onWarning: tell, onBackgroundError: tell }).catch(
    (error: unknown) => {
      const reason = error instanceof QuiverError && error.reason;
      if (reason === "CORRUPTION") return error as QuiverError;
      if (reason !== "STORAGE_LOCKED") throw error;
      const hint = "a server uses it: have that one verify it, with --url or AdminService/VerifyStorage";
      throw new QuiverError("STORAGE_LOCKED", `Cannot verify "${data}": ${hint}`);
    },
  );
  if (opened instanceof QuiverError) return foundIn(await verifyUnopened(data, opened));
  try {
    return foundIn(await opened.verify({ ref: undefined, signal: new AbortController().signal }));
  } finally {
    await opened.close({ withinMs: 0 });
  }
}

function foundIn({ problems, files }: Verification): Found {
  return { files, problems: problems.map(({ file = "", error }) => ({ file, message: error.message })) };
}

async function verifyServer(url: string): Promise<Found> {
  const answer = (await callServer(url, "AdminService/VerifyStorage", {})) as {
    readonly fileCount?: string;
    readonly problems?: readonly { readonly file?: string; readonly status?: { readonly message?: string } }[];
  };
  const problems = answer.problems ?? [];
  return {
    files: answer.fileCount ?? 0,
    problems: problems.map(({ file = "", status }) => ({ file, message: status?.message ?? "" })),
  };
}

async function verifyDirectory(backup: string): Promise<Found> {
  const { manifest, problems } = await verifyBackup(backup);
  return {
    files: manifest.files.length,
    problems: problems.map(({ file, error }) => ({ file, message: error.message })),
  };
}
