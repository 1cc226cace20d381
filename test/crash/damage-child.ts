/**
 * Opens one damaged data directory after the other with the whole server, and says what came of it. Where a file of a
 * backup is damaged, the backup is restored first, and what is opened is that.
 */
import { join } from "node:path";
import { readConfig } from "../../src/config.ts";
import { restoreBackup } from "../../src/engine/embedded/backup/restore.ts";
import { QuiverError } from "../../src/errors.ts";
import { openLog } from "../../src/log.ts";
import { buildServer } from "../../src/server.ts";
import { checkAnswers, type Verdict, verdictOfLoss } from "./damage-check.ts";
import type { DamageModel } from "./damage-model.ts";

export interface DamageCase {
  readonly directory: string;
  readonly model: DamageModel;
  /** Names of the damaged files. */
  readonly files: readonly string[];
}

const log = openLog({ level: "silent" });

async function run({ directory, model, files }: DamageCase): Promise<Verdict> {
  let server: Awaited<ReturnType<typeof buildServer>>;
  try {
    const data = await dataOf(directory, files);
    const config = readConfig(["--port", "0", "--data", data, "--log-level", "silent"], {});
    server = await buildServer(config, log);
  } catch (error) {
    return verdictOfStart(error, files);
  }
  try {
    return await checkAnswers(await server.listen(), model, files);
  } finally {
    await server.close();
  }
}

async function dataOf(directory: string, files: readonly string[]): Promise<string> {
  const backup = files.map((file) => /^backups\/[^/]+/.exec(file)?.[0]).find((path) => path !== undefined);
  if (backup === undefined) return directory;
  const restored = `${directory}-restored`;
  await restoreBackup(join(directory, backup), restored);
  return restored;
}

function verdictOfStart(error: unknown, files: readonly string[]): Verdict {
  const detail = (error as Error).message;
  if (!(error instanceof QuiverError) || error.reason !== "CORRUPTION") return { outcome: "other", detail };
  return verdictOfLoss("refused", detail, files);
}

process.on("message", (damageCase: DamageCase) => {
  run(damageCase).then(
    (verdict) => process.send?.(verdict),
    (error: unknown) => process.send?.({ outcome: "other", detail: String((error as Error).stack) }),
  );
});
process.once("disconnect", () => process.exit(0));
