import { resolve } from "node:path";
import { describeCommands, loadCommand } from "./cli/commands.ts";
import { endOnSignals } from "./cli/end-on-signals.ts";
import { exitCodeOf } from "./cli/exit-codes.ts";
import { describeOptions, readConfig } from "./config.ts";
import { QuiverError } from "./errors.ts";
import { isLoopback } from "./http/loopback.ts";
import { openLog } from "./log.ts";
import { VERSION } from "./version.ts";

/** Where the demo looks for a server unless told otherwise. */
const DEMO_URL = "http://127.0.0.1:8080";

const HELP = `Quiver ${VERSION}: a self-hosted vector store

Usage: npm start -- [options]               serves
       npm run quiver -- <command> --help   tells about a command

Commands
${describeCommands()}

Options of the server
${describeOptions()}
  --help, --version
`;

async function main(args: readonly string[]): Promise<void> {
  // Data, backups and logs are for this user only, whatever writes them.
  process.umask(0o077);
  const [first] = args;
  if (first !== undefined && !first.startsWith("-")) return runCommand(first, args.slice(1));
  if (args.includes("--help")) return void process.stdout.write(HELP);
  if (args.includes("--version")) return void process.stdout.write(`${VERSION}\n`);
  const config = readConfig(args, process.env);
  const log = openLog({ level: config.logLevel, to: "stderr" });
  // Most commands do without it, and start in a fraction of its time.
  const { buildServer } = await import("./server.ts");
  const server = await buildServer(config, log);
  const url = await server.listen().catch(async (error: unknown) => {
    await server.close();
    throw error;
  });
  // Before it says that it serves: whoever reads that may end it at once.
  endOnSignals(server, log);
  if (config.tlsCert !== undefined) process.on("SIGHUP", server.reloadTls);
  // The demo has neither an api key nor a certificate to believe in.
  const demoRuns = server.isOpen && isLoopback(config.host) && config.tlsCert === undefined;
  const next = demoRuns ? `  next    npm run demo${url === DEMO_URL ? "" : ` -- --url ${url}`}\n` : "";
  process.stdout.write(`Quiver ${VERSION} serves gRPC, gRPC-Web and Connect at ${url}
  data    ${resolve(config.data)}
  access  ${server.isOpen ? "open to everyone who reaches this address: there are no access keys" : "with an access key"}
${next}`);
}

async function runCommand(name: string, args: readonly string[]): Promise<void> {
  const command = await loadCommand(name);
  if (!command) throw new QuiverError("INVALID_FIELD", `There is no command "${name}"; --help lists the commands`);
  if (args.includes("--help")) return void process.stdout.write(command.help);
  process.exitCode = await command.run(args);
}

/** What the system did not allow with a file, whatever was to be done with it. */
function accessDenied(error: unknown): QuiverError | undefined {
  const { code, path, syscall } = error as NodeJS.ErrnoException;
  if (path === undefined || (code !== "EACCES" && code !== "EPERM")) return undefined;
  return new QuiverError("INVALID_FIELD", `The user of this process may not ${syscall} "${path}" (${code})`);
}

/** The message, and that of its cause where it says more. */
function sentenceOf(error: QuiverError): string {
  const cause = error.cause instanceof Error ? error.cause.message : "";
  return cause === "" || error.message.includes(cause) ? error.message : `${error.message} (${cause})`;
}

// Whoever reads the output may stop early, as `head` does: what is left to do is done nevertheless, with its exit code.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

main(process.argv.slice(2)).catch((error: unknown) => {
  // What a person can mend is one line; anything else is a defect and shows where it comes from.
  const told = accessDenied(error) ?? error;
  const shown = told instanceof QuiverError ? sentenceOf(told) : (told as Error).stack;
  process.stderr.write(`quiver: ${shown}\n`);
  process.exit(exitCodeOf(told));
});
