import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { startConnectProxy } from "../compat/support/connect-proxy.ts";
import { runPythonCode, WITH_PYTHON } from "../compat/support/python.ts";
import { run } from "../support/command.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const root = resolve(import.meta.dirname, "../..");
const guide = readFileSync(join(root, "docs/guides/other-clients.md"), "utf8");
/** What `npm run -s quiver --` runs, wherever it is called. */
const QUIVER = `"${process.execPath}" "${join(root, "src/main.ts")}"`;

interface Snippet {
  /** The heading above it. */
  readonly vendor: string;
  readonly language: string;
  readonly code: string;
}

interface Credentials {
  readonly apiKey: string;
  readonly accessKeyId: string;
  readonly secret: string;
}

const ANY: Credentials = { apiKey: "any", accessKeyId: "any", secret: "any" };
const ON_PREM = "from moorcheh import";

const SNIPPETS: readonly Snippet[] = guide.split(/^## /m).flatMap((section) => {
  const vendor = section.slice(0, section.indexOf("\n"));
  const blocks = section.matchAll(/^```(\w+)\n(.*?)^```/gms);
  return [...blocks].map(([, language = "", code = ""]) => ({ vendor, language, code }));
});
const PROGRAMS = SNIPPETS.filter(({ language }) => language !== "sh");

/** What the programs of the guide print, in its order. */
const PRINTED: readonly (readonly [vendor: string, language: string, printed: RegExp])[] = [
  ["Amazon S3 Vectors", "js", /^\[ \{ (distance: 0, key: 'a'|key: 'a', distance: 0) \} \]\n$/],
  ["Amazon S3 Vectors", "python", /^\[\{'distance': 0.0, 'key': 'b'\}\]\n$/],
  ["Pinecone", "js", /id: 'a'.*score: 1,.*metadata: \{ year: 2026 \}/s],
  ["Pinecone", "python", /id='b', score=1.0/],
  ["Pinecone", "python", /id='b', score=1.0/],
  ["Pinecone", "python", /'id': 'b'.*'score': 1.0/s],
  ["Alibaba Cloud OSS vectors", "python", /^\[\{'key': 'c', 'distance': 0\}\]\n$/],
  ["Moorcheh", "python", /^\[\{'id': 'a', 'score': 1, .*'metadata': \{'source': 'demo'\}/],
  ["Moorcheh", "python", /^\[\{'id': 'b', 'score': 1, .*'metadata': \{'source': 'demo'\}/],
];

test(
  "what the guide to other clients shows prints what it says, on a server without access keys",
  WITH_PYTHON,
  async (t) => {
    const { url } = await startServer(t);
    for (const [index, printed] of (await everyOutput(t, url, ANY, PROGRAMS)).entries())
      assert.match(printed, PRINTED[index]?.[2] ?? assert.fail("More programs than are known"));
    assert.deepEqual(
      PROGRAMS.map(({ vendor, language }) => [vendor, language]),
      PRINTED.map(([vendor, language]) => [vendor, language]),
    );
  },
);

test(
  "with the access keys that the guide to other clients makes, all but the on-prem client print the same",
  WITH_PYTHON,
  async (t) => {
    const shell = SNIPPETS.filter(({ language }) => language === "sh").map(({ code }) => code);
    const [admin = "", sendsKey = "", start = "", signs = ""] = shell;
    assert.equal(shell.length, 4);
    const env = {
      QUIVER_SECRETS_KEY: await run("sh", ["-ec", start.replace("npm start", 'printf %s "$QUIVER_SECRETS_KEY"')]),
    };
    const server = await ServerProcess.start(temporaryDirectory(), [], { env });
    t.after(() => server.kill());
    const create = `${admin}${sendsKey}${signs}`
      .replaceAll("npm run -s quiver --", QUIVER)
      .replaceAll(" keys create", `$& --url ${server.url}`);
    const [apiKey = "", signing = ""] = (await run("sh", ["-ec", create])).split("\n");
    const [, accessKeyId = "", secret = ""] = /^qk_(QK\w+)_(\w+)$/.exec(signing) ?? [];
    const programs = PROGRAMS.filter(({ code }) => !code.includes(ON_PREM));
    assert.equal(programs.length, PROGRAMS.length - 1);
    const outputs = await everyOutput(t, server.url, { apiKey, accessKeyId, secret }, programs);
    for (const [index, program] of programs.entries()) {
      const [, , printed = assert.fail("More programs than are known")] = PRINTED[PROGRAMS.indexOf(program)] ?? [];
      assert.match(outputs[index] ?? "", printed);
    }
    const [onPrem = assert.fail()] = PROGRAMS.filter(({ code }) => code.includes(ON_PREM));
    await assert.rejects(everyOutput(t, server.url, ANY, [onPrem]), /on-prem client sends none/);
  },
);

test(
  "older clients of Pinecone do what the guide shows with the calls that it names for them",
  WITH_PYTHON,
  async (t) => {
    const { url } = await startServer(t);
    const [js = assert.fail(), python = assert.fail()] = PROGRAMS.filter(({ vendor }) => vendor === "Pinecone");
    const before7 = changed(
      changed(js.code, 'pinecone.index({ name: "papers", host })', 'pinecone.index("papers", host)'),
      /upsert\(\{ records: (\[.*\]) \}\)/,
      "upsert($1)",
    );
    for (const [index, name] of ["@pinecone-database/pinecone", "pinecone-6"].entries()) {
      const code = before7.replaceAll('"papers"', `"papers-${index}"`).replace("@pinecone-database/pinecone", name);
      assert.match(await runJavaScript(addressed(code, url, ANY)), /id: 'a'.*score: 1,/s);
    }
    const before9 = changed(python.code, 'client.index(name="articles")', 'client.Index(name="articles")');
    assert.match(
      await runPythonCode(addressed(before9, url, ANY), {}, "venv-pinecone-grpc"),
      /'id': 'b'.*'score': 1.0/s,
    );
    for (const call of ['pinecone.index("papers", host)', "index.upsert([...])", 'client.Index(name="articles")'])
      assert.ok(guide.includes(`\`${call}\``), call);
  },
);

async function everyOutput(t: TestContext, url: string, credentials: Credentials, programs: readonly Snippet[]) {
  const outputs: string[] = [];
  for (const { language, code } of programs) {
    const here = addressed(code, url, credentials);
    outputs.push(await (language === "js" ? runJavaScript(newest(here)) : runPythonProgram(t, here, url)));
  }
  return outputs;
}

function newest(code: string): string {
  return code.replace("@pinecone-database/pinecone", "pinecone-8");
}

async function runPythonProgram(t: TestContext, code: string, url: string): Promise<string> {
  if (code.includes("from pinecone.grpc")) return runPythonCode(code, {}, "venv-pinecone-grpc");
  if (!code.includes("articles.localhost")) return runPythonCode(code);
  // Where that name does not resolve, a proxy does what a line in /etc/hosts would.
  const proxy = await startConnectProxy(t, Number(new URL(url).port));
  const proxied = changed(code, 'grpc_scheme="http"', `grpc_scheme="http", proxy_url="${proxy}"`);
  return runPythonCode(proxied, { NO_PROXY: "", no_proxy: "" });
}

/** In the folder of the clients, so that they are found; the one of Pinecone under its own name there is LangChain's, an older one. */
function runJavaScript(code: string): Promise<string> {
  return run(process.execPath, ["--input-type=module", "--eval", code], { cwd: join(root, "test/compat") });
}

function addressed(code: string, url: string, { apiKey, accessKeyId, secret }: Credentials): string {
  const { port } = new URL(url);
  return code
    .replaceAll(/(localhost|127\.0\.0\.1):8080/g, `$1:${port}`)
    .replaceAll("<api key>", apiKey)
    .replaceAll("<access key id>", accessKeyId)
    .replaceAll("<secret>", secret);
}

function changed(code: string, from: string | RegExp, to: string): string {
  const after = code.replace(from, to);
  assert.notEqual(after, code);
  return after;
}
