import type { Command } from "./command.ts";

/** Every command by its name; no command serves. Its file is read only when it runs. */
const COMMANDS: ReadonlyMap<string, { readonly summary: string; readonly load: () => Promise<Command> }> = new Map([
  [
    "backup",
    { summary: "Have a running server make a backup", load: async () => (await import("./backup.ts")).backup },
  ],
  [
    "keys",
    { summary: "Create, list, rotate and delete access keys", load: async () => (await import("./keys.ts")).keys },
  ],
  [
    "restore",
    { summary: "Make a data directory of a backup", load: async () => (await import("./restore.ts")).restore },
  ],
  [
    "verify",
    { summary: "Read everything and tell what is damaged", load: async () => (await import("./verify.ts")).verify },
  ],
  [
    "supervise",
    {
      summary: "Serve, and start the server again when it crashes",
      load: async () => (await import("./supervise.ts")).supervise,
    },
  ],
]);

/** The command of that name; undefined: there is none. */
export async function loadCommand(name: string): Promise<Command | undefined> {
  return COMMANDS.get(name)?.load();
}

/** The lines of --help about commands. */
export function describeCommands(): string {
  const width = Math.max(...[...COMMANDS.keys()].map((name) => name.length));
  return [...COMMANDS].map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`).join("\n");
}
