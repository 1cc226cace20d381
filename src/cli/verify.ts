import { resolve } from "node:path";
import { verifyBackup } from "../engine/embedded/backup/restore.ts";
import { verifyUnopened } from "../engine/embedded/verify/verify-files.ts";
import type { Verification } from "../engine/engine.ts";
import { QuiverError } from "../errors.ts";
import { readArguments } from "./arguments.ts";
import { callServer } from "./call-server.ts";
import type { Command } from "./command.ts";
import { openData } from "./data-directory.ts";
import { EXIT_CODES } from "./exit-codes.ts";
import { SERVER_FLAGS, SERVER_HELP, type ServerAccess, serverAccess } from "./server-access.ts";

/** What was read, in words, and what is wrong with it: a file, or "", an index as bucket/index, or "", and a sentence. */
interface Found {
  readonly read: string;
  readonly problems: readonly { readonly file: string; readonly index: string; readonly message: string }[];
}

/** Reads a data directory, what a running server has stored, or a backup, and prints what is wrong with it. */
export const verify: Command = {
  help: `Usage: quiver verify --data <directory>
       quiver verify --url <server>
       quiver verify <backup directory>

Reads everything, compares every checksum, and prints what is wrong: file, bucket/index, what. Exit code ${EXIT_CODES.ok}: nothing is; ${EXIT_CODES.damaged}: something is.

  --data           A data directory that no server uses

Of a running server, whose --url must be given
${SERVER_HELP}`,
  async run(args) {
    const { flags, words } = readArguments(args, ["data", ...SERVER_FLAGS], { words: 1 });
    const given = [flags.data, flags.url, ...words].filter((each) => each !== undefined);
    if (given.length !== 1) {
      throw new QuiverError(
        "INVALID_FIELD",
        "Give one of --data <directory>, --url <server>, or the directory of a backup",
      );
    }
    const { read, problems } = await (flags.data !== undefined
      ? verifyData(resolve(flags.data))
      : flags.url !== undefined
        ? verifyServer(serverAccess(flags, process.env))
        : verifyDirectory(resolve(words[0] ?? "")));
    for (const { file, index, message } of problems) {
      process.stdout.write(`damaged  ${file || "-"}  ${index || "-"}  ${message}\n`);
    }
    process.stdout.write(problems.length === 0 ? `intact   ${read}\n` : `problems ${problems.length}\n`);
    return problems.length === 0 ? EXIT_CODES.ok : EXIT_CODES.damaged;
  },
};

async function verifyData(data: string): Promise<Found> {
  // What opening mends, such as a lost mark, is told, and not there to be found afterwards.
  const hint = "have that one verify it, with --url or AdminService/VerifyStorage";
  const opened = await openData(data, { onlyVerifies: true, hint }).catch((error: unknown) => {
    if (error instanceof QuiverError && error.reason === "CORRUPTION") return error;
    throw error;
  });
  if (opened instanceof QuiverError) return foundIn(await verifyUnopened(data, opened));
  try {
    return foundIn(await opened.verify({ ref: undefined, signal: new AbortController().signal }));
  } finally {
    await opened.close({ withinMs: 0 });
  }
}

function foundIn({ problems, files, vectors }: Verification): Found {
  return {
    read: storeRead(files, vectors),
    problems: problems.map(({ file = "", index, error }) => ({
      file,
      index: index ? `${index.bucket}/${index.index}` : "",
      message: error.message,
    })),
  };
}

/** What an open RocksDB reads by itself, its manifest and its log, is not counted. */
function storeRead(files: number | string, vectors: number | string): string {
  return `${files} files (tables, CURRENT, ACKNOWLEDGED, saved graphs), ${vectors} vectors`;
}

interface VerifyStorageJson {
  readonly fileCount?: string;
  readonly vectorCount?: string;
  readonly problems?: readonly {
    readonly file?: string;
    readonly vectorBucketName?: string;
    readonly indexName?: string;
    readonly status?: { readonly message?: string };
  }[];
}

async function verifyServer(server: ServerAccess): Promise<Found> {
  const answer = (await callServer(server, "AdminService/VerifyStorage", {})) as VerifyStorageJson;
  const { fileCount = "0", vectorCount = "0", problems = [] } = answer;
  return {
    read: storeRead(fileCount, vectorCount),
    problems: problems.map(({ file = "", vectorBucketName, indexName, status }) => ({
      file,
      index: vectorBucketName ? `${vectorBucketName}/${indexName}` : "",
      message: status?.message ?? "",
    })),
  };
}

async function verifyDirectory(backup: string): Promise<Found> {
  const { manifest, problems } = await verifyBackup(backup);
  return {
    read: `${manifest.files.length} files (all of the backup)`,
    problems: problems.map(({ file, error }) => ({ file, index: "", message: error.message })),
  };
}
