// A server without admission control, to show what it is for. Takes the options of src/main.ts.
import { readConfig } from "../../src/config.ts";
import { openLog } from "../../src/log.ts";
import { buildServer } from "../../src/server.ts";

const log = openLog({ level: "error", to: "stderr" });
const many = Number.MAX_SAFE_INTEGER;
const server = await buildServer(readConfig(process.argv.slice(2), process.env), log, {
  admission: { seats: { read: many, search: many, write: many, stream: many }, clientShare: 1 },
});
process.stdout.write(`Quiver without admission control at ${await server.listen()}\n`);
