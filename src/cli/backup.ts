import { readArguments } from "./arguments.ts";
import { callServer } from "./call-server.ts";
import type { Command } from "./command.ts";
import { SERVER_FLAGS, SERVER_HELP, serverAccess } from "./server-access.ts";

/** Has a running server make a backup, and prints what it made. */
export const backup: Command = {
  help: `Usage: quiver backup [options]

Has a running server make a backup of everything, and waits until it is complete and verified.

${SERVER_HELP}  --name           A name for people, at most 128 characters
  --json           Prints what the server answers, as JSON
`,
  async run(args) {
    const { flags, switches } = readArguments(args, [...SERVER_FLAGS, "name"], { switches: ["json"] });
    const server = serverAccess(flags, process.env);
    const answer = await callServer(server, "AdminService/CreateBackup", { displayName: flags.name });
    if (switches.json) {
      process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
      return 0;
    }
    const { backupId, path, sizeBytes, lsn } = (answer as { backup: Readonly<Record<string, string>> }).backup;
    process.stdout.write(`backup  ${backupId}\npath    ${path}\nbytes   ${sizeBytes}\nlsn     ${lsn ?? 0}\n`);
    return 0;
  },
};
