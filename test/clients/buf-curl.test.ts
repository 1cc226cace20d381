import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { run } from "../support/command.ts";
import { startServer } from "../support/server.ts";
import { tour } from "./tour.ts";

const buf = resolve(import.meta.dirname, "../../node_modules/.bin/buf");

for (const protocol of ["connect", "grpc", "grpcweb"]) {
  test(`buf curl speaks ${protocol} with nothing but reflection`, async (t) => {
    const { url } = await startServer(t);
    const options = ["curl", "--protocol", protocol, "--http2-prior-knowledge", "--emit-defaults"];
    await tour(protocol, async (service, method, request) => {
      const target = `${url}/quiver.v1.${service}/${method}`;
      return JSON.parse(await run(buf, [...options, "--data", JSON.stringify(request), target]));
    });
  });
}

test("buf curl lists the services", async (t) => {
  const { url } = await startServer(t);
  const services = await run(buf, ["curl", "--http2-prior-knowledge", "--list-services", url]);
  assert.match(services, /^quiver\.v1\.VectorService$/m);
  assert.match(services, /^grpc\.health\.v1\.Health$/m);
});
