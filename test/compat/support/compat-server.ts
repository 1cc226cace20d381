import type { TestContext } from "node:test";
import { readConfig } from "../../../src/config.ts";
import { openLog } from "../../../src/log.ts";
import { buildServer, type ServerParts } from "../../../src/server.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** A server in this process, on a free port and a temporary directory, that ends with the test; with a clock of its own if need be. */
export async function startCompatServer(
  t: Pick<TestContext, "after">,
  args: readonly string[] = [],
  parts: ServerParts = {},
): Promise<string> {
  const config = readConfig(["--port", "0", "--data", temporaryDirectory(), "--log-level", "error", ...args], {});
  const server = await buildServer(config, openLog({ level: config.logLevel }), parts);
  t.after(() => server.close());
  return server.listen();
}
