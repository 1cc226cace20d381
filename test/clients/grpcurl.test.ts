import assert from "node:assert/strict";
import { test } from "node:test";
import { findProgram, run } from "../support/command.ts";
import { startServer } from "../support/server.ts";
import { tour } from "./tour.ts";

test("grpcurl lists, describes and calls with nothing but reflection", async (t) => {
  const grpcurl = findProgram(t, "grpcurl", "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest");
  if (!grpcurl) return;
  const { url } = await startServer(t);
  const { host } = new URL(url);
  assert.match(await run(grpcurl, ["-plaintext", host, "list"]), /^quiver\.v1\.VectorService$/m);
  assert.match(
    await run(grpcurl, ["-plaintext", host, "describe", "quiver.v1.QueryVectorsRequest"]),
    /uint32 top_k = 9;/,
  );
  await tour("grpcurl", async (service, method, request) => {
    const args = [
      "-plaintext",
      "-emit-defaults",
      "-d",
      JSON.stringify(request),
      host,
      `quiver.v1.${service}/${method}`,
    ];
    return JSON.parse(await run(grpcurl, args));
  });
});
