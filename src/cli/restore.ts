import { resolve } from "node:path";
import { restoreBackup } from "../engine/embedded/backup/restore.ts";
import { assertMayUse } from "../engine/embedded/storage/assert-may-use.ts";
import { QuiverError } from "../errors.ts";
import { readArguments } from "./arguments.ts";
import type { Command } from "./command.ts";

/** Makes a data directory of a backup, and prints what is in it. */
export const restore: Command = {
  help: `Usage: quiver restore <backup directory> --data <directory>

Makes a data directory of a backup. Compares every checksum on the way, and leaves nothing behind when something is wrong.

  --data   The directory to make: empty or absent; its parent exists
`,
  async run(args) {
    const { flags, words } = readArguments(args, ["data"], { words: 1 });
    const [backup] = words;
    if (backup === undefined)
      throw new QuiverError("INVALID_FIELD", "Which backup? quiver restore <backup directory> --data <directory>");
    if (flags.data === undefined) throw new QuiverError("INVALID_FIELD", "Into which directory? Say so with --data");
    const data = resolve(flags.data);
    await assertMayUse(data);
    const { id, lsn, files } = await restoreBackup(resolve(backup), data);
    process.stdout.write(
      `restored  ${id}\ndata      ${data}\nfiles     ${files.length} (all of the backup)\nlsn       ${lsn}\n`,
    );
    return 0;
  },
};
