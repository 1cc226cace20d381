import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { createCa, createCertificate, type Pair, writePair } from "../support/certificates.ts";
import { createClients, PROTOCOLS } from "../support/protocols.ts";
import { failureOf } from "../support/resources.ts";
import { ServerProcess, startServer } from "../support/server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const main = resolve(import.meta.dirname, "../../src/main.ts");

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command as a user does; the exit code, and what it printed. */
function quiver(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args], { env: { ...process.env, ...env } }, (error, out, err) =>
      done({ code: Number(error?.code ?? 0), out, err }),
    );
  });
}

const keys = (args: readonly string[], env?: Readonly<Record<string, string>>) => quiver(["keys", ...args], env);

/** What a command that must succeed printed: the api key and its id. */
async function issued(args: readonly string[], env?: Readonly<Record<string, string>>) {
  const { code, out, err } = await keys(args, env);
  assert.equal(code, 0, err);
  const [, id = ""] = /^qk_(QK[A-Z2-7]{18})_[A-Za-z0-9]{40}\n$/.exec(out) ?? assert.fail(out);
  assert.equal(err.includes(out.trim()), false, "the api key is on standard error, too");
  return { apiKey: out.trim(), id, err };
}

const clientsOf = (url: string, apiKey: string) => {
  const clients = createClients((PROTOCOLS.gRPC as NonNullable<typeof PROTOCOLS.gRPC>)(url));
  return { list: () => clients.buckets.listVectorBuckets({}, { headers: { "api-key": apiKey } }) };
};

test("the first access key is created before the first start, and the server knows it", async (t) => {
  const data = join(temporaryDirectory(), "data");
  const first = await keys(["create", "--role", "read-only", "--data", data]);
  assert.deepEqual([first.code, first.out], [1, ""]);
  assert.match(first.err, /^quiver: The first access key must be of the role admin/);
  const { apiKey, err } = await issued(["create", "--role", "admin", "--name", "it is me", "--data", data]);
  assert.match(err, /^QK\S+ {2}admin {2}everywhere {2}never expires {2}not used yet {2}"it is me"\n/);
  const server = await ServerProcess.start(data);
  t.after(() => server.kill());
  await clientsOf(server.url, apiKey).list();
  await failureOf(clientsOf(server.url, `${apiKey}a`).list(), Code.Unauthenticated, "CREDENTIALS_INVALID");
  const locked = await keys(["list", "--data", data]);
  assert.deepEqual([locked.code, locked.out], [3, ""]);
  assert.match(locked.err, /^quiver: .*a server uses it: call it with --url instead\n$/);
});

test("access keys of a running server are created, listed, rotated and deleted, with an api key from file or environment", async (t) => {
  const { url } = await startServer(t);
  const boss = await issued(["create", "--role", "admin", "--url", url]);
  const file = join(temporaryDirectory(), "api-key");
  writeFileSync(file, `${boss.apiKey}\n`);
  const fromFile = ["--url", url, "--api-key-file", file];
  const scope = ["--bucket", "a*", "--index", "i", "--namespace", ""];
  const reader = await issued(["create", "--role", "read-only", ...scope, "--expires", "30d", ...fromFile]);
  assert.match(reader.err, /^QK\S+ {2}read-only {2}a\*\/i\/__default__ {2}expires 20\S+Z {2}not used yet\n/);
  await clientsOf(url, reader.apiKey).list();

  const env = { QUIVER_API_KEY: boss.apiKey };
  const rotated = await issued(["rotate", reader.id, "--overlap", "1h", "--url", url], env);
  assert.equal(rotated.id, reader.id);
  assert.match(rotated.err, / old secret until 20\S+Z\n/);
  for (const { apiKey } of [reader, rotated]) await clientsOf(url, apiKey).list();
  const last = await issued(["rotate", reader.id, "--url", url], env);
  await failureOf(clientsOf(url, rotated.apiKey).list(), Code.Unauthenticated, "CREDENTIALS_INVALID");
  await clientsOf(url, last.apiKey).list();

  const listed = await keys(["list", "--url", url], env);
  const ids = listed.out.split("\n").map((line) => line.split(" ")[0]);
  assert.deepEqual(ids, [...[boss.id, reader.id].toSorted(), ""]);
  const json = await keys(["list", "--json", "--url", url], env);
  const { accessKeys } = JSON.parse(json.out) as { accessKeys: { accessKeyId: string; role: string }[] };
  assert.deepEqual(
    accessKeys.map(({ accessKeyId, role }) => `${accessKeyId} ${role}`),
    [`${boss.id} ACCESS_ROLE_ADMIN`, `${reader.id} ACCESS_ROLE_READ_ONLY`].toSorted(),
  );

  const deleted = await keys(["delete", reader.id, ...fromFile]);
  assert.deepEqual(deleted, { code: 0, out: "", err: `Deleted ${reader.id}\n` });
  await failureOf(clientsOf(url, last.apiKey).list(), Code.Unauthenticated, "CREDENTIALS_INVALID");
  const refused = await keys(["delete", boss.id, ...fromFile]);
  assert.deepEqual([refused.code, refused.out], [1, ""]);
  assert.match(refused.err, /^quiver: .*the last one of the role admin/);
  const without = await keys(["list", "--url", url]);
  assert.deepEqual([without.code, without.out], [1, ""]);
  assert.match(without.err, /^quiver: The call brings no credentials/);
});

test("lost access keys are replaced, and all of them deleted, while the server does not run", async () => {
  const data = temporaryDirectory();
  const lost = await issued(["create", "--role", "admin", "--data", data]);
  const writer = await issued(["create", "--role", "read-write", "--data", data]);
  const one = await keys(["delete", lost.id, "--data", data]);
  assert.equal(one.code, 0, one.err);
  assert.match(one.err, /No administrator that never expires is left/);
  const found = await issued(["create", "--role", "admin", "--data", data]);
  const back = await issued(["rotate", found.id, "--data", data]);
  assert.equal(back.id, found.id);
  for (const { id } of [found, writer]) assert.equal((await keys(["delete", id, "--data", data])).code, 0);
  const { accessKeys } = JSON.parse((await keys(["list", "--json", "--data", data])).out) as { accessKeys: unknown[] };
  assert.deepEqual(accessKeys, []);
  const again = await issued(["create", "--role", "admin", "--data", data]);
  const end = await keys(["delete", again.id, "--data", data]);
  assert.match(end.err, /No access key is left: a server on these data lets everybody in/);
});

test("an access key that signs needs the secrets key, also where no server runs", async () => {
  const data = temporaryDirectory();
  const file = join(temporaryDirectory(), "secrets-key");
  writeFileSync(file, randomBytes(32).toString("base64"));
  const signing = ["create", "--role", "admin", "--allow-signing", "--data", data];
  const refused = await keys(signing);
  assert.deepEqual([refused.code, refused.out], [1, ""]);
  assert.match(refused.err, /^quiver: The server has no secrets key/);
  const made = await keys([...signing, "--secrets-key-file", file, "--json"]);
  assert.equal(made.code, 0, made.err);
  const answer = JSON.parse(made.out) as {
    accessKey: { allowSigning: boolean };
    secretAccessKey: string;
    apiKey: string;
  };
  assert.equal(answer.accessKey.allowSigning, true);
  assert.ok(answer.apiKey.endsWith(`_${answer.secretAccessKey}`));
  const listed = await keys(["list", "--data", data], { QUIVER_SECRETS_KEY_FILE: file });
  assert.match(listed.out, / {2}signs\n$/);
  const wrong = await keys(["list", "--data", data], { QUIVER_SECRETS_KEY: randomBytes(32).toString("hex") });
  assert.deepEqual([wrong.code, wrong.out], [2, ""]);
  assert.match(wrong.err, /QUIVER_SECRETS_KEY/);
});

test("wrong calls are one sentence, show no api key, and make nothing", async () => {
  const directory = temporaryDirectory();
  const none = join(directory, "none");
  const empty = join(temporaryDirectory(), "empty");
  writeFileSync(empty, "two words");
  const calls: [string[], RegExp][] = [
    [[], /What shall be done/],
    [["make"], /What shall be done/],
    [["create"], /--role must be one of read-only, read-write, admin\n/],
    [["create", "--role", "root"], /--role must be one of .*, got "root"/],
    [
      ["create", "--role", "admin", "--expires", "soon", "--data", none],
      /--expires must be a time in s, m, h or d, such as/,
    ],
    [
      ["create", "--role", "admin", "--expires", "0d", "--data", none],
      /--expires must be a time in s, m, h or d, such as/,
    ],
    [["create", "--role", "admin", "--api-key", "x"], /--help lists/],
    [["create", "--role", "admin", "me"], /--help lists/],
    [["create", "--role", "admin", "--data", none, "--url", "http://127.0.0.1:1"], /not both/],
    [["create", "--role", "admin", "--secrets-key-file", empty], /goes with --data/],
    [["rotate"], /Which access key/],
    [["rotate", "QK", "--overlap", "1w"], /--overlap must be a time in s, m, h or d, such as/],
    [["rotate", "QK", "--overlap", "10d"], /--overlap must be at most 7d, got "10d"/],
    [["delete", "", "--data", none], /Which access key/],
    [["delete", "QK", "--data", none], /There are no data/],
    [["list", "--data", directory], /There are no data/],
    [
      ["create", "--role", "admin", "--data", join(none, "data")],
      /Cannot make the data directory .* its parent is not there/,
    ],
    [["list", "--api-key-file", none], /Cannot read --api-key-file/],
    [["list", "--api-key-file", empty], /must hold one api key and nothing else/],
    [["list", "--url", "http://127.0.0.1:1"], /No Quiver server answers/],
  ];
  const ended = await Promise.all(calls.map(([args]) => keys(args)));
  for (const [i, { code, out, err }] of ended.entries()) {
    const [args, message] = calls[i] as (typeof calls)[number];
    assert.deepEqual([code, out], [2, ""], `${args}: ${err}`);
    assert.match(err, message);
    assert.equal(err.trimEnd().split("\n").length, 1, err);
  }
  assert.deepEqual([existsSync(none), readdirSync(directory)], [false, []]);
  const odd = await keys(["list"], { QUIVER_API_KEY: "secret\u00fc" });
  assert.equal(odd.code, 2);
  assert.equal(odd.err.includes("secret\u00fc"), false);
});

test("commands call a server that wants a certificate of the client, and say what is missing without it", async (t) => {
  const [ca, otherCa] = await Promise.all([createCa("CA"), createCa("other CA")]);
  const file = (content: string) => {
    const path = join(temporaryDirectory(), "file.pem");
    writeFileSync(path, content);
    return path;
  };
  const caFile = file(ca.cert);
  const present = ({ cert, key }: Pair) => ["--tls-client-cert", file(cert), "--tls-client-key", file(key)];
  const [own, foreign] = await Promise.all([createCertificate("client", ca), createCertificate("client", otherCa)]);
  const files = writePair(temporaryDirectory(), await createCertificate("server", ca));
  const { url } = await startServer(t, [...files, "--tls-client-ca", caFile]);
  const { url: plainUrl } = await startServer(t);

  const all = ["--url", url, "--tls-ca", caFile, ...present(own)];
  const boss = await issued(["create", "--role", "admin", ...all]);
  const env = { QUIVER_API_KEY: boss.apiKey };
  const named = { QUIVER_TLS_CA: caFile, QUIVER_TLS_CLIENT_CERT: file(own.cert), QUIVER_TLS_CLIENT_KEY: file(own.key) };
  const fine = [
    await keys(["list", ...all], env),
    await keys(["list", "--url", url], { ...env, ...named }),
    await quiver(["backup", "--json", ...all], env),
    await quiver(["verify", ...all], env),
  ];
  for (const { code, err } of fine) assert.deepEqual([code, err], [0, ""]);
  assert.match(`${JSON.parse(fine[2]?.out ?? "").backup.backupId}`, /^20\d{6}T/);

  const trusting = ["--url", url, "--tls-ca", caFile];
  const localhost = url.replace("127.0.0.1", "localhost");
  const refused: [string[], RegExp][] = [
    [["--url", url], /its certificate is not trusted: .* --tls-ca$/],
    [["--url", url, "--tls-ca", file(otherCa.cert)], /its certificate is not trusted: .* --tls-ca$/],
    [["--url", localhost, "--tls-ca", caFile], /its certificate is not for that name: .* --url/],
    [trusting, /it wants a certificate of the client: .* --tls-client-cert and --tls-client-key$/],
    [[...trusting, ...present(foreign)], /it may not accept the certificate of --tls-client-cert$/],
    [["--url", url.replace("https", "http")], /if it speaks TLS, say https:\/\//],
    [["--url", plainUrl.replace("http", "https")], /it does not speak TLS there: say http:\/\//],
  ];
  for (const [args, message] of refused) {
    const { code, err } = await keys(["list", ...args], env);
    assert.deepEqual([code, err.match(/^quiver: Cannot call .*\n$/g)?.length], [2, 1], err);
    assert.match(err.trimEnd(), message);
    assert.doesNotMatch(err, /SSL routines|--use-system-ca/);
  }
  const wrong: [string[], RegExp][] = [
    [["--tls-ca", file("x")], /--tls-ca ".*" must hold a certificate in PEM/],
    [["--tls-ca", "/nowhere/ca.pem"], /Cannot read --tls-ca "\/nowhere\/ca\.pem"/],
    [["--tls-client-cert", file(own.cert)], /must be given together/],
    [present({ cert: own.cert, key: own.cert }), /--tls-client-key ".*" must hold a private key/],
    [present({ cert: own.cert, key: foreign.key }), /--tls-client-key is not the key of/],
  ];
  for (const [args, message] of wrong) {
    const { code, err } = await keys(["list", ...args]);
    assert.equal(code, 2);
    assert.match(err, message);
  }
  const variable = await keys(["list"], { QUIVER_TLS_CA: "/nowhere/ca.pem" });
  assert.match(variable.err, /Cannot read QUIVER_TLS_CA "\/nowhere\/ca\.pem"/);
});

test("whoever stops reading the output ends no command with an error", async (t) => {
  const data = join(temporaryDirectory(), "data");
  for (let i = 0; i < 3; i++) await issued(["create", "--role", "admin", "--data", data]);
  const child = spawn(process.execPath, [main, "keys", "list", "--data", data], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill());
  // As `head` that has seen enough: nobody reads when the first line comes.
  child.stdout.destroy();
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    err += chunk;
  });
  assert.deepEqual([(await once(child, "close"))[0], err], [0, ""]);
});
