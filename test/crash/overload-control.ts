// A server that must not pass, to show that the test can fail. Takes the options of src/main.ts, and in
// QUIVER_TEST_CONTROL what is wrong with it: it admits every call, or its event loop is held up now and then.
import { readConfig } from "../../src/config.ts";
import { openLog } from "../../src/log.ts";
import { buildServer } from "../../src/server.ts";

const HELD_MS = 150;
const BETWEEN_MS = 300;

const log = openLog({ level: "error", to: "stderr" });
const many = Number.MAX_SAFE_INTEGER;
const unlimited = { seats: { read: many, search: many, write: many, stream: many }, clientShare: 1 };
const control = process.env.QUIVER_TEST_CONTROL;
const parts = control === "unlimited" ? { admission: unlimited } : {};
const server = await buildServer(readConfig(process.argv.slice(2), process.env), log, parts);
if (control === "held") setInterval(hold, BETWEEN_MS);
process.stdout.write(`A control of Quiver at ${await server.listen()}\n`);

function hold(): void {
  for (const end = performance.now() + HELD_MS; performance.now() < end; );
}
