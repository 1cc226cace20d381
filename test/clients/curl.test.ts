import { test } from "node:test";
import { startServer } from "../support/server.ts";
import { tour } from "./tour.ts";

test("plain HTTP/1.1 with JSON does the tour", async (t) => {
  const { url } = await startServer(t);
  await tour("http", async (service, method, request) => {
    const answer = await fetch(`${url}/quiver.v1.${service}/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  });
});
