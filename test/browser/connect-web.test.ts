import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { findProgram } from "../support/command.ts";
import { startServer } from "../support/server.ts";

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
];

test("a Connect-Web page in Chromium creates, puts, queries and deletes across origins", async (t) => {
  const executablePath = findProgram(t, "chromium", "apt-get install chromium");
  if (!executablePath) return;
  const page = createServer();
  page.listen(0, "127.0.0.1");
  await once(page, "listening");
  t.after(() => page.close());
  const origin = `http://127.0.0.1:${(page.address() as AddressInfo).port}`;
  const bundle = await build({ entryPoints: [join(import.meta.dirname, "page.ts")], bundle: true, write: false });
  page.on("request", (request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? bundle.outputFiles[0]?.text : '<!doctype html><script defer src="/page.js"></script>');
  });
  const allowing = await startServer(t, ["--cors-origins", origin]);
  const refusing = await startServer(t);

  const browser = await chromium.launch({ executablePath, args: [...CHROMIUM_FLAGS, "--disable-sync"] });
  t.after(() => browser.close());
  const visit = async (url: string) => {
    const tab = await browser.newPage();
    await tab.goto(`${origin}/#${encodeURIComponent(url)}`);
    await tab.waitForFunction(() => document.body?.textContent);
    return (await tab.textContent("body")) ?? "";
  };
  assert.deepEqual(JSON.parse(await visit(allowing.url)), {
    near: ["orange", "red"],
    metadata: { warm: true },
    deleted: 1,
    left: ["orange"],
  });
  assert.match(await visit(refusing.url), /^failed: .*Failed to fetch/);

  // What needs no preflight reaches the server: it must see who asks, and do nothing.
  const planted = { method: "POST", body: "{}", mode: "no-cors" } as const;
  const probe = async (url: string) => {
    const tab = await browser.newPage();
    await tab.goto(`${origin}/#`);
    const seen = new Promise<number[]>((resolve) => {
      const statuses: number[] = [];
      tab.on("response", (response) => {
        if (response.url().startsWith(url) && statuses.push(response.status()) === 2) resolve(statuses);
      });
    });
    await tab.evaluate(
      async ([target, options]) => {
        await fetch(`${target}/quiver.v1.BucketService/CreateVectorBucket`, options).catch(() => undefined);
        await fetch(`${target}/readyz`, { mode: "no-cors" }).catch(() => undefined);
      },
      [url, planted] as const,
    );
    return seen;
  };
  assert.deepEqual(await probe(refusing.url), [403, 403]);
  const unchecked = await startServer(t, ["--cors-origins", "*"]);
  assert.deepEqual(await probe(unchecked.url), [415, 200]);
});
