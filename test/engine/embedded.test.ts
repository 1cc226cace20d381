import { openEmbeddedEngine } from "../../src/engine/embedded/embedded-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { engineSuite } from "./suite.ts";

engineSuite("embedded", async (t) => {
  // Registered before the directory: what is registered first runs first.
  t.after(() => engine.close());
  const path = temporaryDirectory(t);
  const open = () =>
    openEmbeddedEngine({
      path,
      onBackgroundError: (message, error) => {
        throw new Error(message, { cause: error });
      },
    });
  let engine: Engine = await open();
  return {
    get engine() {
      return engine;
    },
    async restart() {
      await engine.close();
      engine = await open();
    },
  };
});
