import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { findProgram, run } from "../support/command.ts";
import { startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const root = resolve(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
const tlsGuide = readFileSync(join(root, "docs/guides/tls.md"), "utf8");
/** What `npm run -s quiver --` runs, wherever it is called. */
const QUIVER = `"${process.execPath}" "${join(root, "src/main.ts")}"`;
const DOCUMENTED_HOST = "127.0.0.1:8080";

test("the curl and grpcurl calls of the README work one after the other", async (t) => {
  const { url } = await startServer(t);
  const snippets = codeBlocks(readme, "sh").map((code) => code.replaceAll(DOCUMENTED_HOST, new URL(url).host));
  const curl = snippets.find((code) => code.startsWith("curl")) ?? "";
  assert.equal(curl.match(/^curl /gm)?.length, 4);
  const answers = await run("sh", ["-ec", curl.replaceAll("curl -H", "curl --fail-with-body -sS -H")]);
  assert.match(answers, /"putCount":"1".*"key":"dune".*"year":1965/);
  const grpcurl = snippets.find((code) => code.startsWith("grpcurl")) ?? "";
  if (!findProgram(t, "grpcurl", "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest")) return;
  assert.match(await run("sh", ["-ec", grpcurl]), /"key": "dune"/);
});

test("the TypeScript of the README works", async (t) => {
  const { url } = await startServer(t);
  const [code = ""] = codeBlocks(readme, "ts");
  // Inside the project, so that the client's package is found.
  const file = join(root, `readme-snippet-${process.pid}.ts`);
  t.after(() => rmSync(file, { force: true }));
  writeFileSync(file, code.replaceAll(`http://${DOCUMENTED_HOST}`, url));
  assert.match(await run(process.execPath, [file], { cwd: root }), /^dune \{ year: 1965 \}/);
});

test("the certificate that the guide to TLS makes is one that curl and the commands believe", async (t) => {
  if (!findProgram(t, "openssl", "apt-get install openssl")) return;
  const code = codeBlocks(tlsGuide, "sh").find((each) => each.startsWith("openssl")) ?? "";
  const [make = "", ask = ""] = code.split(/^(?=curl)/m);
  const cwd = temporaryDirectory();
  await run("sh", ["-ec", `exec 2>&1; ${make}`], { cwd });
  const files = ["--tls-cert", join(cwd, "cert.pem"), "--tls-key", join(cwd, "key.pem")];
  const { url } = await startServer(t, files);
  const { port } = new URL(url);
  const asked = ask.replaceAll("8080", port).replace("curl", "curl -sS").replace("npm run -s quiver --", QUIVER);
  assert.match(asked, /keys list .*--tls-ca/);
  assert.equal(await run("sh", ["-ec", asked], { cwd }), "ok\n");
});

test("the demo takes an api key, and says in one sentence what a server refuses", async (t) => {
  if (!existsSync(join(root, "demo/node_modules/cli-progress")))
    return t.skip("the demo is not installed (npm run demo)");
  const { url } = await startServer(t);
  const create = async (role: string, apiKey = "") => {
    const env = { ...process.env, ...(apiKey && { QUIVER_API_KEY: apiKey }) };
    const args = [join(root, "src/main.ts"), "keys", "create", "--role", role, "--url", url];
    return (await run(process.execPath, args, { env })).trim();
  };
  const admin = await create("admin");
  const reader = await create("read-only", admin);
  const refusal = (env: NodeJS.ProcessEnv) =>
    run(process.execPath, [join(root, "demo/demo.ts"), "--url", url], { env: { ...process.env, ...env } }).then(
      () => assert.fail("It runs"),
      ({ code, stdout, stderr }) => [code, stdout, stderr],
    );
  const none = [1, "", "The server has access keys: put an api key into QUIVER_API_KEY\n"];
  assert.deepEqual(await refusal({}), none);
  const [code, , sentence] = await refusal({ QUIVER_API_KEY: reader });
  assert.equal(code, 1);
  assert.match(sentence, /^The server refuses: The access key does not allow CreateVectorBucket .*\n$/);
});

test("the guides keep an api key in a file, call with it, and set, read and delete a policy", async (t) => {
  if (!findProgram(t, "jq", "apt-get install jq")) return;
  const { url } = await startServer(t);
  const home = temporaryDirectory();
  const guide = (name: string) => readFileSync(join(root, `docs/guides/${name}.md`), "utf8");
  const [policy = ""] = codeBlocks(guide("policies"), "json");
  writeFileSync(join(home, "policy.json"), policy);
  const shell = (code: string) => {
    const here = code.replaceAll(DOCUMENTED_HOST, new URL(url).host).replaceAll("npm run -s quiver --", QUIVER);
    return run("bash", ["-ec", here.replaceAll(/ keys \w+/g, `$& --url ${url}`)], {
      cwd: home,
      env: { ...process.env, HOME: home },
    });
  };
  await shell(`curl -sS -H 'content-type: application/json' ${url}/quiver.v1.BucketService/CreateVectorBucket \
    -d '{"vectorBucketName": "papers"}'`);
  const access = codeBlocks(guide("access"), "sh").filter((code) => code.includes("~/.quiver-api-key"));
  const [create = "", list = "", curl = ""] = access;
  await shell(create);
  const [key] = readFileSync(join(home, ".quiver-api-key"), "utf8").match(/^qk_QK\w+\n$/) ?? [];
  assert.ok(key);
  assert.match(await shell(list), /^qk_QK.*\nQK.*(admin|read-only).*\nQK/);
  assert.match(await shell(curl), /"vectorBucketName":"papers"/);
  for (const file of [".quiver-api-key", ".quiver-header"]) assert.equal(statSync(join(home, file)).mode & 0o77, 0);

  const [calls = ""] = codeBlocks(guide("policies"), "sh");
  assert.equal(await shell(calls), `{}${policy}\n{}`);
});

test("the README's links lead to files and folders", () => {
  const targets = [...readme.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, target = ""]) => target);
  assert.ok(targets.length > 3);
  assert.deepEqual(
    targets.filter((target) => !existsSync(join(root, target))),
    [],
  );
});

function codeBlocks(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(([, code]) => code ?? "");
}
